// Chapter 7: a ruler that was learned. Drag the examples: rings follow them, as far as the training reached.

import { prototypical, softmax } from "./compare.mjs";
import { COLORS, INK, NAMES, mark, svg, tag } from "./element.mjs";
import { field } from "./field.mjs";
import { playground } from "./playground.mjs";
import module from "./rings_weights.mjs";

const TRAINED = [0.5, 3]; // the radii of the rings that the relation module has seen
const PLACES = 180; // on each ring, for measuring
const RULERS = { relation: "the learned relation", distance: "the Euclidean distance" };
export const DEFAULTS = { support: [[-0.6, 0.6], [1.5, 1.1], [-1.3, -2.3]], ruler: "relation" };

/**
 * Relation scores of points with some examples, each between 0 and 1: a function from a point to its scores.
 * The first layer is linear, so what it makes of an example is needed once (equation 7.4).
 */
export function relation(examples) {
  const [first, second, last] = module.layers;
  const ofExamples = examples.map(([x, y]) => first.weights.map((row, i) => row[0] * x + row[1] * y + first.biases[i]));
  return ([x, y]) => {
    const ofPoint = first.weights.map((row) => row[2] * x + row[3] * y);
    return ofExamples.map((ofExample) => {
      const one = ofExample.map((value, i) => Math.max(0, value + ofPoint[i]));
      const two = linear(second, one).map((value) => Math.max(0, value));
      return 1 / (1 + Math.exp(-linear(last, two)[0]));
    });
  };
}

const linear = ({ weights, biases }, input) =>
  weights.map((row, i) => row.reduce((total, weight, j) => total + weight * input[j], biases[i]));

/** The two rulers: functions from examples to a function from a point to its scores. */
export const scores = { relation, distance: (examples) => (point) => prototypical(examples.map((one) => [one]), point) };

const radius = ([x, y]) => Math.hypot(x, y);

/**
 * Of the ring of example `c`, the circle through it: the part that each ruler calls by its class, and the part on
 * which its relation score is above ½.
 */
export function ownRing(examples, c) {
  const r = radius(examples[c]);
  const angles = Array.from({ length: PLACES }, (_, i) => (2 * Math.PI * i) / PLACES);
  const places = angles.map((angle) => [r * Math.cos(angle), r * Math.sin(angle)]);
  const [byDistance, byRelation] = [scores.distance, scores.relation].map((ruler) => places.map(ruler(examples)));
  const part = (all, holds) => all.filter(holds).length / PLACES;
  const called = (one) => one[c] === Math.max(...one);
  return { distance: part(byDistance, called), relation: part(byRelation, called), above: part(byRelation, (one) => one[c] > 0.5) };
}

function build(figure) {
  const plane = field("One example of each of three rings", { width: 12.4, height: 9, unit: 36, cells: 10 });
  const rows = tag("tbody"), { said } = figure;
  figure.body.append(
    tag("div", { className: "bar" }, figure.choice("Regions by", "ruler")),
    plane.element,
    said.element,
    tag("table", {},
      tag("caption", { className: "quiet", style: { "text-align": "left" }, textContent: "The part of its ring that each class gets" }),
      tag("thead", {}, tag("tr", {}, ...["class", "by distance", "by relation", "score > ½"].map((text, i) =>
        tag("th", { textContent: text, className: i ? "number" : "", attributes: { scope: "col" } })))),
      rows),
    tag("p", { className: "quiet", textContent: "Drag the examples, or choose one with Tab and move it with the arrow keys. A thin circle is the ring of an example, and between the dashed circles the relation was trained. Its regions are as strong in colour as its scores are high; where all are low, the plane stays empty." }));

  const circle = (attributes) => plane.drawing.appendChild(svg("circle", { ...attributes, fill: "none" }));
  const [cx, cy] = plane.toDrawing([0, 0]);
  const rings = DEFAULTS.support.map((_, c) => circle({ cx, cy, stroke: COLORS[c], "stroke-width": 1.5 }));
  const unit = plane.toDrawing([1, 0])[0] - cx;
  for (const r of TRAINED) circle({ cx, cy, r: unit * r, stroke: INK, "stroke-width": 1.5, "stroke-dasharray": "5 5" });
  const points = DEFAULTS.support.map((_, c) => plane.handle(
    `The example of the ${NAMES[c]}`, COLORS[c], () => figure.state.support[c],
    (place) => figure.set({ support: figure.state.support.map((p, k) => (k === c ? place : p)) })));

  return ({ support, ruler }) => {
    const compare = scores[ruler](support);
    plane.paint(ruler === "distance" ? (place) => softmax(compare(place)) : (place) => {
      const all = compare(place), total = Math.max(1, all.reduce((a, b) => a + b, 0));
      return all.map((score) => score / total);
    });
    support.forEach((example, c) => {
      rings[c].setAttribute("r", unit * radius(example));
      points[c].setAttribute("d", mark(c, ...plane.toDrawing(example), 8));
    });
    const percent = (part) => `${(100 * part).toFixed(0)}\u00a0%`;
    const own = support.map((_, c) => ownRing(support, c));
    rows.replaceChildren(...own.map((parts, c) => tag("tr", {},
      tag("th", { textContent: NAMES[c], attributes: { scope: "row" } }),
      ...["distance", "relation", "above"].map((key) => tag("td", { className: "number", textContent: percent(parts[key]) })))));
    const mean = (key) => percent(own.reduce((total, parts) => total + parts[key], 0) / own.length);
    const outside = [...support.keys()].filter((c) => radius(support[c]) < TRAINED[0] || radius(support[c]) > TRAINED[1]);
    said.say(
      tag("strong", { textContent: `The highest relation score is the right class's on ${mean("relation")} of the three rings, and above ½ on ${mean("above")}; the distance gets ${mean("distance")} right. ` }),
      outside.length === 0 ? "All examples stand where the relation was trained." : outside.map((c) =>
        `The example of the ${NAMES[c]} is ${radius(support[c]).toFixed(1)} from the middle, where the relation was never trained: its score is above ½ on ${percent(own[c].above)} of that ring.`).join(" "));
  };
}

export default playground("rings-plane", DEFAULTS, build, { choices: { ruler: RULERS } });
