// Chapter 9: who suffers from a wrong label, and who from a class in two clumps? Three rulers, one support set.
//
// Touch an example to change its label, drag it, or draw others; the queries keep count.

import { generator, normal } from "./alphabet.mjs";
import { COLORS, INK, NAMES, PAPER, WRONG, allow, button, mark, svg, tag, wrong } from "./element.mjs";
import { decided, field } from "./field.mjs";
import { playground } from "./playground.mjs";
import { probabilities, scaleSlider } from "./votes.mjs";

const SHOTS = 5, QUERIES = 12, SPREAD = 0.45; // examples and queries of a class, and how far they stray
const METHODS = { mean: "Prototypes", votes: "Votes", nearest: "Nearest example" };
const CLUMPS = { one: "in one clump", two: "in two clumps" };
const CENTRES = { // of the clumps of each class
  one: [[[-1.5, 0.7]], [[1.5, 0.7]], [[0, -1.2]]],
  two: [[[-2, 0.6], [2, 0.6]], [[0, 0.8]], [[0, -1.2]]],
};
const SIZE = { width: 6.4, height: 4.4, unit: 70 };
const rightLabels = () => CENTRES.one.map((_, c) => Array(SHOTS).fill(c));
export function defaults(asked = {}) {
  const clumps = Object.hasOwn(CENTRES, asked.clumps) ? asked.clumps : "one";
  const number = Math.abs(Math.trunc(asked.number)) <= 1e4 ? Math.trunc(asked.number) : 2;
  return { clumps, number, support: draw({ clumps, number }).support, labels: rightLabels(), scale: 3, method: "mean" };
}

/** Examples and queries of each class, around its clumps in turn; the same number draws the same ones again. */
export function draw({ clumps, number }) {
  const random = generator(number);
  const around = ([x, y]) => [x + SPREAD * normal(random), y + SPREAD * normal(random)];
  const points = (count) => CENTRES[clumps].map((centres) => Array.from({ length: count }, (_, i) => around(centres[i % centres.length])));
  return { support: points(SHOTS), query: points(QUERIES) };
}

/** The support set as its labels say: the examples of each class that are called by its name. */
export const asLabelled = ({ support, labels }) =>
  support.map((_, c) => support.flatMap((examples, k) => examples.filter((_, i) => labels[k][i] === c)));

/** Which queries of each class a method answers right. */
export function answers(query, { method, scale, ...state }) {
  const ruler = { support: asLabelled(state), method, scale };
  return query.map((points, c) => points.map((point) => {
    const shares = probabilities(point, ruler);
    return shares.indexOf(Math.max(...shares)) === c;
  }));
}

function build(figure) {
  const named = (c) => figure.state.labels.flat().includes(c); // a link may leave a class without example
  if (!CENTRES.one.every((_, c) => named(c)) || figure.state.labels.flat().some((label) => !(label in CENTRES.one))) figure.state.labels = rightLabels();
  const drawOthers = (number) => figure.set({ number, support: draw({ ...figure.state, number }).support });
  const isLast = (label) => figure.state.labels.flat().filter((other) => other === label).length === 1;

  /** Call an example by the next class's name, unless it is the last that its class has. */
  function relabel(c, i) {
    const { labels } = figure.state, old = labels[c][i];
    if (isLast(old)) return;
    figure.set({ labels: labels.map((all, k) => all.map((label, j) => (k === c && j === i ? (old + 1) % labels.length : label))) });
  }

  /** Of the examples with a right label, the next one to get a wrong one: the classes take turns. */
  const nextRight = () => [...Array(CENTRES.one.length * SHOTS).keys()]
    .map((n) => [n % CENTRES.one.length, Math.floor(n / CENTRES.one.length)])
    .find(([c, i]) => figure.state.labels[c][i] === c && !isLast(c));

  const plane = field("", SIZE), title = tag("p", { style: { margin: "0 0 0.4rem" } });
  const { said } = figure;
  const small = Object.entries(METHODS).map(([method, name]) => {
    const regions = field(name, { ...SIZE, cells: 8 }), count = tag("span");
    regions.element.setAttribute("aria-hidden", "true");
    const choose = tag("button", { type: "button", style: { display: "flex", "flex-direction": "column", "align-items": "stretch", padding: "0.25rem", "font-size": "clamp(0.75rem, 3.6vw, 0.92rem)" }, onclick: () => figure.set({ method }) },
      regions.element, tag("span", { textContent: `${name} ` }), count);
    return { method, regions, count, choose };
  });
  const spoil = button("Make one label wrong", () => relabel(...nextRight()));
  const mend = button("Put all labels right", () => figure.set({ labels: rightLabels() }));
  figure.body.append(
    tag("div", { className: "bar" },
      figure.choice("Circles", "clumps", (clumps) => ({ support: draw({ ...figure.state, clumps }).support })),
      spoil, mend,
      button("Draw others", () => drawOthers(figure.state.number + 1)),
      scaleSlider("Scale of the votes", figure)),
    tag("div", { className: "bar", style: { display: "grid", "grid-template-columns": "repeat(3, minmax(0, 1fr))", "align-items": "stretch", gap: "0.5rem" } }, ...small.map(({ choose }) => choose)),
    title, plane.element,
    said.element,
    tag("p", { className: "quiet", textContent: "Touch an example, or choose one with Tab and press Enter, to call it by another name: a heavy rim marks a wrong label. Drag it, or move it with the arrow keys. Hollow marks are queries, crossed where the chosen method answers wrong." }));

  const each = (count, make) => CENTRES.one.map((_, c) => Array.from({ length: count }, (_, i) => make(c, i)));
  const hollow = each(QUERIES, (c) => plane.drawing.appendChild(svg("path", { fill: PAPER, stroke: COLORS[c], "stroke-width": 1.5 })));
  const crosses = plane.drawing.appendChild(svg("path", WRONG));
  const points = each(SHOTS, (c, i) => plane.handle("", COLORS[c], () => figure.state.support[c][i],
    (place) => figure.set({ support: figure.state.support.map((all, k) => all.map((p, j) => (k === c && j === i ? place : p))) }),
    () => relabel(c, i)));
  // Wrong labels and the chosen mark, painted once more on top: to reorder the marks would reorder their turns with Tab.
  const raised = plane.drawing.appendChild(svg("g", { "pointer-events": "none" }));

  const paint = (now) => {
    const { query } = draw(now), ruler = { ...now, support: asLabelled(now) };
    const results = small.map(({ method, regions, count, choose }) => {
      const right = answers(query, { ...now, method });
      regions.paint((place) => decided(probabilities(place, { ...ruler, method })));
      count.textContent = `${right.flat().filter(Boolean).length} of ${right.flat().length} right`;
      choose.setAttribute("aria-pressed", String(method === now.method));
      return right;
    });
    plane.paint((place) => decided(probabilities(place, ruler)));
    const chosen = results[small.findIndex(({ method }) => method === now.method)];
    let missed = "";
    query.forEach((ofClass, c) => ofClass.forEach((point, i) => {
      const [x, y] = plane.toDrawing(point);
      hollow[c][i].setAttribute("d", mark(c, x, y, 4.5));
      if (!chosen[c][i]) missed += wrong(x, y, 6);
    }));
    crosses.setAttribute("d", missed);
    now.support.forEach((examples, c) => examples.forEach((example, i) => {
      const label = now.labels[c][i];
      const look = label === c ? { stroke: PAPER, "stroke-width": 1.5 } : { stroke: INK, "stroke-width": 3 };
      const name = `Example ${i + 1} of the ${NAMES[c]}${label === c ? "" : `, labelled as one of the ${NAMES[label]}`}`;
      for (const [key, value] of Object.entries({ ...look, d: mark(label, ...plane.toDrawing(example), 7.5), fill: COLORS[label], "aria-label": name })) {
        points[c][i].setAttribute(key, value);
      }
    }));
    const wrongs = points.flatMap((all, c) => all.filter((_, i) => now.labels[c][i] !== c));
    raised.replaceChildren(...[...wrongs, ...points.flat().filter((one) => one.matches(":focus"))].map((one) =>
      svg("path", Object.fromEntries(["d", "fill", "stroke", "stroke-width"].map((key) => [key, one.getAttribute(key)])))));
    title.textContent = METHODS[now.method];
    plane.drawing.setAttribute("aria-label", `${METHODS[now.method]}: five examples of each of three classes in the plane`);
    const mislabelled = wrongs.length;
    allow(spoil, Boolean(nextRight()));
    allow(mend, mislabelled > 0);
    const counts = results.map((right) => right.flat().filter(Boolean).length);
    said.say(
      tag("strong", { textContent: `Of ${3 * QUERIES} queries the nearest prototype answers ${counts[0]} right, votes ${counts[1]}, the nearest example ${counts[2]}. ` }),
      `${mislabelled || "None"} of the ${3 * SHOTS} examples ${mislabelled > 1 ? "have" : "has"} a wrong label, and the circles come ${CLUMPS[now.clumps]}.`);
  };
  for (const moved of ["focusin", "focusout"]) plane.drawing.addEventListener(moved, () => figure.repaint());
  return paint;
}

export default playground("noise-plane", defaults, build, { choices: { clumps: CLUMPS, method: METHODS } });
