// Chapter 4: what a triplet loss sees. Drag the points, choose an anchor, change margin and mining.

import { euclidean } from "./compare.mjs";
import { COLORS, INK, PAPER, choice, draggable, mark, svg, tag } from "./element.mjs";
import { playground } from "./playground.mjs";

const UNIT = 80, WIDTH = 5.6 * UNIT, HEIGHT = 3.8 * UNIT;
const toDrawing = ([x, y]) => [UNIT * x, HEIGHT - UNIT * y];
const toPlane = (x, y) => [x / UNIT, (HEIGHT - y) / UNIT];

const MINING = {
  all: "all triplets",
  batch_hard: "batch-hard",
  semi_hard_band: "semi-hard, within the margin (FaceNet)",
  semi_hard_nearest: "semi-hard, nearest",
};
export const LABELS = [0, 0, 0, 1, 1, 1, 2, 2, 2];
const SINGULAR = ["Circle", "Square", "Triangle"];
const NAME = LABELS.map((label, i) => `${SINGULAR[label]} ${LABELS.slice(0, i + 1).filter((other) => other === label).length}`);
export const DEFAULTS = {
  points: [[1.1, 2.9], [1.9, 2.3], [1.5, 1.5], [2.7, 2.6], [3.9, 3.0], [3.6, 2.2], [2.5, 1.2], [3.3, 0.9], [4.3, 1.4]],
  anchor: 1,
  margin: 0.6,
  mining: "all",
};

/** Triplets [anchor, positive, negative] that a way of mining chooses, as fslib.mining does. */
export function mine(points, labels, mining, margin) {
  const all = [...labels.keys()];
  const distance = (i, j) => euclidean(points[i], points[j]);
  const positives = (a) => all.filter((i) => i !== a && labels[i] === labels[a]);
  const negatives = (a) => all.filter((i) => labels[i] !== labels[a]);
  const nearest = (a, others) => others.reduce((best, i) => (distance(a, i) < distance(a, best) ? i : best));
  const farthest = (a, others) => others.reduce((best, i) => (distance(a, i) > distance(a, best) ? i : best));
  if (mining === "batch_hard") {
    return all.filter((a) => positives(a).length && negatives(a).length)
      .map((a) => [a, farthest(a, positives(a)), nearest(a, negatives(a))]);
  }
  const pairs = all.flatMap((a) => positives(a).map((p) => [a, p]));
  return pairs.flatMap(([a, p]) => {
    const gap = (n) => distance(a, n) - distance(a, p);
    if (mining === "all") return negatives(a).map((n) => [a, p, n]);
    const beyond = negatives(a).filter((n) => gap(n) > 0);
    if (mining === "semi_hard_band") return beyond.filter((n) => gap(n) <= margin).map((n) => [a, p, n]);
    return beyond.length ? [[a, p, nearest(a, beyond)]] : [];
  });
}

/** What a triplet costs: max(0, d(a, p) − d(a, n) + m). */
export const cost = (points, [a, p, n], margin) =>
  Math.max(0, euclidean(points[a], points[p]) - euclidean(points[a], points[n]) + margin);

function build(figure) {
  figure.state.anchor = Math.trunc(Math.min(LABELS.length - 1, Math.max(0, figure.state.anchor)));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "A batch of embeddings in the plane" });
  const { said } = figure, makeAnchor = (i) => figure.set({ anchor: Number(i) });
  const chosen = choice("Anchor", NAME.map((name, i) => [String(i), name]), String(figure.state.anchor), makeAnchor);
  figure.body.append(
    tag("div", { className: "bar" },
      chosen,
      figure.choice("Mining", "mining"),
      figure.slider("Margin", "margin", { min: 0, max: 1.5, step: 0.05 }, (v) => v.toFixed(2))),
    tag("div", { className: "plane" }, drawing),
    said.element,
    tag("p", { className: "quiet", textContent: "Drag the points, or choose one with Tab and move it with the arrow keys. A double click, or Enter, makes a point the anchor, with a heavy rim. The dotted line is as far from the anchor as its farthest positive; where the shade ends, so does the margin. Lines lead to the positives and, dashed, to the negatives of its triplets that cost something." }));

  const moat = drawing.appendChild(svg("circle", { fill: "none", stroke: INK, "stroke-opacity": 0.14 }));
  const reach = drawing.appendChild(svg("circle", { fill: "none", stroke: INK, "stroke-width": 1.5, "stroke-dasharray": "2 4" }));
  const lines = drawing.appendChild(svg("g", { "stroke-width": 2 }));
  const nodes = LABELS.map((label, i) => {
    const node = svg("path", { fill: COLORS[label], tabindex: 0, role: "button" });
    draggable(node, drawing, () => toDrawing(figure.state.points[i]), (x, y) => {
      const inside = toPlane(Math.min(WIDTH - 10, Math.max(10, x)), Math.min(HEIGHT - 10, Math.max(10, y)));
      figure.set({ points: figure.state.points.map((point, j) => (j === i ? inside : point)) });
    }, () => makeAnchor(i), 2);
    return drawing.appendChild(node);
  });

  return ({ points, anchor, margin, mining }) => {
    const triplets = mine(points, LABELS, mining, margin);
    const costly = triplets.filter((triplet) => cost(points, triplet, margin) > 0);
    const mean = triplets.reduce((total, triplet) => total + cost(points, triplet, margin), 0) / (triplets.length || 1);
    const farthest = Math.max(...points.filter((_, i) => i !== anchor && LABELS[i] === LABELS[anchor]).map((p) => euclidean(points[anchor], p)));
    const [cx, cy] = toDrawing(points[anchor]);
    for (const [circle, r] of [[moat, UNIT * (farthest + margin / 2)], [reach, UNIT * farthest]]) {
      for (const [key, value] of Object.entries({ cx, cy, r })) circle.setAttribute(key, value);
    }
    moat.setAttribute("stroke-width", UNIT * margin);
    const here = costly.filter(([a]) => a === anchor);
    const line = (to, dashes) => {
      const [x2, y2] = toDrawing(points[to]);
      return svg("line", { x1: cx, y1: cy, x2, y2, stroke: COLORS[LABELS[to]], "stroke-dasharray": dashes });
    };
    lines.replaceChildren(
      ...[...new Set(here.map(([, p]) => p))].map((p) => line(p, "none")),
      ...[...new Set(here.map(([, , n]) => n))].map((n) => line(n, "6 4")));
    nodes.forEach((node, i) => {
      node.setAttribute("d", mark(LABELS[i], ...toDrawing(points[i]), i === anchor ? 10 : 8));
      node.setAttribute("stroke", i === anchor ? INK : PAPER);
      node.setAttribute("stroke-width", i === anchor ? 3 : 2);
      node.setAttribute("aria-label", i === anchor ? `${NAME[i]}, the anchor` : NAME[i]);
    });
    chosen.querySelector("select").value = String(anchor);
    said.say(
      tag("strong", { textContent: `${triplets.length} triplets are seen, ${costly.length} of them cost something; the mean loss is ${mean.toFixed(3)}. ` }),
      `Of the anchor's own, ${triplets.filter(([a]) => a === anchor).length} are seen and ${here.length} cost something.`);
  };
}

export default playground("margin-plane", DEFAULTS, build, { choices: { mining: MINING } });
