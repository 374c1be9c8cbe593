// Chapter 2: draw episodes, one or a thousand, and see how far to trust their mean.
//
// The classes are clouds in the plane around centres that each episode draws anew.

import { generator, normal } from "./alphabet.mjs";
import { prototypical } from "./compare.mjs";
import { COLORS, button, mark, svg, tag } from "./element.mjs";
import { playground } from "./playground.mjs";

const UNIT = 55, WIDTH = 8 * UNIT, HEIGHT = 5.4 * UNIT;
const toDrawing = ([x, y]) => [WIDTH / 2 + UNIT * x, HEIGHT / 2 - UNIT * y];
const QUERIES = 5; // of each class
const SCALE = 300; // pixels of the accuracy axis
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
  const most = 10000;
  for (const key of ["way", "shot", "drawn"]) figure.state[key] = Math.round(figure.state[key]);
  figure.state.drawn = Math.min(most, Math.max(1, figure.state.drawn));
  const more = (count) => () => figure.set({ drawn: Math.min(most, figure.state.drawn + count) });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const scale = svg("svg", { viewBox: "-20 0 345 46", "aria-hidden": "true", width: 345 });
  const { said } = figure;
  figure.body.append(
    tag("div", { className: "bar" },
      figure.slider("Way", "way", { min: 2, max: 5, step: 1 }),
      figure.slider("Shot", "shot", { min: 1, max: 10, step: 1 }),
      figure.slider("Noise", "noise", { min: 0.1, max: 1, step: 0.1 }, (v) => v.toFixed(1))),
    tag("div", { className: "bar" }, tag("span", { textContent: "Draw" }), ...[1, 10, 100, 1000].map((count) => button(`${count} more`, more(count)))),
    tag("div", { className: "plane" }, drawing),
    said.element,
    scale,
    tag("p", { className: "quiet", textContent: "The last episode: large marks are prototypes, full marks examples, hollow marks queries; a query answered wrong is crossed. Below, each bar counts episodes of one accuracy, and the line with ends is the interval of the mean." }));

  const began = JSON.stringify(settingsOf(figure.state));
  let known = { settings: began, accuracies: [] }; // what was drawn already
  return (state) => {
    const settings = settingsOf(state);
    if (known.settings !== JSON.stringify(settings)) {
      known = { settings: JSON.stringify(settings), accuracies: [] };
      figure.set({ drawn: 1 }); // of other settings, begin anew
    }
    const { way, shot } = settings, { drawn } = figure.state;
    while (known.accuracies.length < drawn) known.accuracies.push(episode(settings, known.accuracies.length).accuracy);
    const accuracies = known.accuracies.slice(0, drawn);
    const last = episode(settings, drawn - 1);
    plane(drawing, last);
    axis(scale, accuracies, way * QUERIES);
    const percent = (fraction, digits = 0) => `${(100 * fraction).toFixed(digits)}\u00a0%`;
    const { mean, half } = summary(accuracies);
    drawing.setAttribute("aria-label", `An episode with ${way} classes and ${shot} examples of each: ${percent(last.accuracy)} of its queries are right`);
    said.say(
      tag("strong", { textContent: `Episode ${drawn}: ${percent(last.accuracy)} right. ` }),
      drawn < 30
        ? `${drawn === 1 ? "One episode says" : `${drawn} episodes say`} little: draw at least 30 for an interval.`
        : `Mean of ${drawn} episodes: ${percent(mean, 1)} ± ${percent(half, 1)}.`);
  };
}

const settingsOf = ({ way, shot, noise }) => ({ way, shot, noise });

function plane(drawing, { support, query }) {
  drawing.replaceChildren(
    ...support.map((examples, c) => {
      const middle = [0, 1].map((axis) => examples.reduce((total, point) => total + point[axis], 0) / examples.length);
      return svg("path", { d: mark(c, ...toDrawing(middle), 13), fill: `${COLORS[c]}44`, stroke: COLORS[c], "stroke-width": 2 });
    }),
    ...support.flatMap((examples, c) => examples.map((point) =>
      svg("path", { d: mark(c, ...toDrawing(point), 6), fill: COLORS[c], stroke: "#fff" }))),
    ...query.flatMap(({ point, label, answer }) => {
      const [x, y] = toDrawing(point);
      const shape = svg("path", { d: mark(label, x, y, 5), fill: "#fff", stroke: COLORS[label], "stroke-width": 1.8 });
      const cross = svg("path", { d: `M${x - 7} ${y - 7}l14 14m0 -14l-14 14`, stroke: "#222", "stroke-width": 1.5 });
      return answer === label ? [shape] : [shape, cross];
    }));
}

/** How many episodes had each accuracy, and the interval of the mean once there are enough. */
function axis(scale, accuracies, queries) {
  const counts = Array(queries + 1).fill(0);
  for (const accuracy of accuracies) counts[Math.round(accuracy * queries)]++;
  const most = Math.max(...counts), width = SCALE / (queries + 1);
  const bars = counts.map((count, i) => svg("rect", {
    x: (i / queries) * SCALE - width / 2, y: 30 - (26 * count) / most, width: 0.8 * width, height: (26 * count) / most, fill: COLORS[0], opacity: 0.7,
  }));
  const text = (x, label) => svg("text", { x, y: 44, "font-size": 11, "text-anchor": "middle", fill: "currentColor" }, label);
  const { mean, half } = summary(accuracies);
  const interval = accuracies.length < 30 ? [] : [svg("path", {
    d: `M${SCALE * (mean - half)} 8v10m0 -5H${SCALE * (mean + half)}m0 -5v10`, stroke: COLORS[1], "stroke-width": 2.5, fill: "none",
  })];
  scale.replaceChildren(...bars, svg("path", { d: `M0 30.5H${SCALE}`, stroke: "currentColor" }), ...interval,
    text(0, "0\u00a0%"), text(SCALE / 2, "50\u00a0%"), text(SCALE, "100\u00a0%"));
}

export default playground("episode-player", DEFAULTS, build);
