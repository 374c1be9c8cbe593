// Chapter 2: draw episodes, one or a thousand, and see how far to trust their mean.
//
// The classes are clouds in the plane around centres that each episode draws anew.

import { generator, normal } from "./alphabet.mjs";
import { mean, prototypical } from "./compare.mjs";
import { COLORS, INK, PAPER, WRONG, button, mark, prototype, svg, tag, wrong } from "./element.mjs";
import { playground } from "./playground.mjs";

const UNIT = 55, WIDTH = 8 * UNIT, HEIGHT = 5.4 * UNIT;
const toDrawing = ([x, y]) => [WIDTH / 2 + UNIT * x, HEIGHT / 2 - UNIT * y];
const QUERIES = 5; // of each class
const MOST = 10000, MOST_AT_ONCE = 1000; // episodes; and of those that a slider draws while it moves
const FEWEST = 30; // episodes for an interval
const AXIS = { width: 420, height: 118, above: 40 }; // of the histogram, and of the place above it for intervals
export const DEFAULTS = { way: 5, shot: 1, noise: 0.4, drawn: 1 };

/** Episode number `number`: the same settings and number give the same episode again. */
export function episode({ way, shot, noise }, number) {
  const random = generator(number);
  const around = ([x, y], spread) => [x + spread * normal(random), y + spread * normal(random)];
  const centres = Array.from({ length: way }, () => [4.8 * random() - 2.4, 3.4 * random() - 1.7]);
  const support = centres.map((centre) => Array.from({ length: shot }, () => around(centre, noise)));
  const query = centres.flatMap((centre, label) =>
    Array.from({ length: QUERIES }, () => ({ point: around(centre, noise), label })));
  for (const one of query) {
    const scores = prototypical(support, one.point);
    one.answer = scores.indexOf(Math.max(...scores));
  }
  return { support, query, accuracy: query.filter(({ label, answer }) => label === answer).length / query.length };
}

/** Mean of the accuracies and half-width of its 95 % interval, for so many that 1.96 will do. */
export function summary(accuracies) {
  const n = accuracies.length;
  const mean = accuracies.reduce((a, b) => a + b, 0) / n;
  const variance = accuracies.reduce((total, a) => total + (a - mean) ** 2, 0) / (n - 1);
  return { mean, half: 1.96 * Math.sqrt(variance / n) };
}

function build(figure) {
  for (const key of ["way", "shot", "drawn"]) figure.state[key] = Math.round(figure.state[key]);
  figure.state.drawn = Math.min(MOST, Math.max(1, figure.state.drawn));
  const more = (count) => () => figure.set({ drawn: Math.min(MOST, figure.state.drawn + count) });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const scale = svg("svg", { viewBox: `-16 0 ${AXIS.width + 32} ${AXIS.above + AXIS.height + 1}`, "aria-hidden": "true" });
  const { said } = figure;
  figure.body.append(
    tag("div", { className: "bar" },
      figure.slider("Way", "way", { min: 2, max: 5, step: 1 }),
      figure.slider("Shot", "shot", { min: 1, max: 10, step: 1 }),
      figure.slider("Noise", "noise", { min: 0.1, max: 1, step: 0.1 }, (v) => v.toFixed(1))),
    tag("div", { className: "bar" }, tag("span", { textContent: "Draw" }), ...[1, 10, 100, 1000].map((count) => button(`${count} more`, more(count)))),
    tag("div", { className: "plane" }, drawing),
    tag("p", { className: "quiet", textContent: "The last episode: full marks are examples, large pale marks the mean of each class, its prototype, and hollow marks queries, crossed where they are answered wrong." }),
    tag("div", { className: "plane histogram" }, scale,
      tag("div", { className: "ends", attributes: { "aria-hidden": "true" } }, ...[0, 0.5, 1].map((share) => tag("span", { textContent: percent(share) })))),
    said.element,
    tag("p", { className: "quiet", textContent: "Each bar counts the episodes of one accuracy. The heavy line with ends is the interval of their mean; the thin one is the interval before you moved the slider." }));

  const ofSettings = drawer();
  return (state) => {
    const settings = settingsOf(state), { way, shot } = settings, fresh = ofSettings.turn(settings);
    if (fresh && state.drawn > MOST_AT_ONCE) figure.set({ drawn: MOST_AT_ONCE });
    const { drawn } = figure.state, accuracies = ofSettings.draw(drawn), before = ofSettings.before();
    const last = episode(settings, drawn - 1), now = summary(accuracies);
    plane(drawing, last);
    histogram(scale, accuracies, way * QUERIES, { now: drawn < FEWEST ? null : now, before });
    drawing.setAttribute("aria-label", `An episode with ${way} classes and ${shot} examples of each: ${percent(last.accuracy)} of its queries are right`);
    said.say(
      tag("strong", { textContent: `Episode ${drawn}: ${percent(last.accuracy)} right. ` }),
      drawn < FEWEST
        ? `${drawn === 1 ? "One episode says" : `${drawn} episodes say`} little: draw at least ${FEWEST} for an interval.`
        : `Mean of ${drawn} episodes: ${spread(now)}.`,
      before && drawn >= FEWEST ? ` With ${before.setting} it was ${spread(before)}.` : "");
  };
}

const percent = (fraction, digits = 0) => `${(100 * fraction).toFixed(digits)}\u00a0%`;
const spread = ({ mean, half }) => `${percent(mean, 1)} ± ${percent(half, 1)}`;

/** Draws episodes, and keeps those of the present settings and the interval of the ones before. */
function drawer() {
  let settings = null, accuracies = [], moved = null, before = null;
  return {
    /** Turn to some settings; whether they are others than so far. What one slider passes on its way is not kept. */
    turn(others) {
      const changed = settings && Object.keys(settings).filter((key) => settings[key] !== others[key]);
      if (changed && !changed.length) return false;
      if (changed && String(changed) !== moved) {
        const setting = changed.map((key) => `${key} ${settings[key]}`).join(", ");
        before = accuracies.length < FEWEST ? null : { setting, ...summary(accuracies) };
        moved = String(changed);
      }
      [settings, accuracies] = [others, []];
      return Boolean(changed);
    },
    draw(count) {
      while (accuracies.length < count) accuracies.push(episode(settings, accuracies.length).accuracy);
      accuracies.length = count;
      return accuracies;
    },
    before: () => before,
  };
}

const settingsOf = ({ way, shot, noise }) => ({ way, shot, noise });

function plane(drawing, { support, query }) {
  drawing.replaceChildren(
    ...support.map((examples, c) => svg("path", { d: mark(c, ...toDrawing(mean(examples)), 13), ...prototype(c) })),
    ...support.flatMap((examples, c) => examples.map((point) =>
      svg("path", { d: mark(c, ...toDrawing(point), 6), fill: COLORS[c], stroke: PAPER }))),
    ...query.flatMap(({ point, label, answer }) => {
      const [x, y] = toDrawing(point);
      const shape = svg("path", { d: mark(label, x, y, 5), fill: PAPER, stroke: COLORS[label], "stroke-width": 1.8 });
      return answer === label ? [shape] : [shape, svg("path", { d: wrong(x, y), ...WRONG })];
    }));
}

/** How many episodes had each accuracy, and above it the intervals of the mean now and before. */
function histogram(scale, accuracies, queries, { now, before }) {
  const { width, height, above } = AXIS, bottom = above + height;
  const counts = Array(queries + 1).fill(0);
  for (const accuracy of accuracies) counts[Math.round(accuracy * queries)]++;
  const most = Math.max(...counts), step = width / (queries + 1);
  const bars = counts.map((count, i) => svg("rect", {
    x: (i / queries) * width - 0.4 * step, y: bottom - (height * count) / most, width: 0.8 * step, height: (height * count) / most, fill: COLORS[0], opacity: 0.6,
  }));
  const interval = (one, y, weight) => {
    const [from, to] = [one.mean - one.half, one.mean + one.half].map((edge) => width * Math.min(1, Math.max(0, edge)));
    return svg("path", { d: `M${from} ${y - 7}v14m0 -7H${to}m0 -7v14`, stroke: INK, "stroke-width": weight, fill: "none" });
  };
  const stripe = ({ mean, half }) => svg("rect", { x: width * (mean - half), y: 0, width: 2 * half * width, height: bottom, fill: COLORS[1], opacity: 0.45 });
  scale.replaceChildren(
    ...(now ? [stripe(now)] : []), ...bars, svg("path", { d: `M0 ${bottom + 0.5}H${width}`, stroke: INK }),
    ...(before ? [interval(before, 30, 1.5)] : []), ...(now ? [interval(now, 11, 3)] : []));
}

const STYLE = `
  .histogram { margin-top: 0.6rem; padding: 0.4rem; }
  .ends { display: flex; justify-content: space-between; font-size: 0.85em; }
`;

export default playground("episode-player", DEFAULTS, build, { style: STYLE });
