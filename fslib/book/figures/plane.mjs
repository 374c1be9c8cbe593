// Chapters 3 and 6: which class does each point of the plane belong to?
//
// Drag the support points and the query, change the ruler, and see the regions move.

import {
  cosineDistance, euclidean, inverseCovariance, mahalanobis, mean, nearest as nearestExample, prototypical, softmax,
  squaredEuclidean,
} from "./compare.mjs";
import { COLORS, INK, NAMES, mark, prototype, star, svg, tag } from "./element.mjs";
import { field } from "./field.mjs";
import { playground } from "./playground.mjs";

const METRICS = {
  euclidean: "Euclidean",
  squared_euclidean: "squared Euclidean",
  cosine: "cosine",
  mahalanobis: "Mahalanobis, fitted to the classes",
};
const NEAREST = { mean: "class mean", example: "example" };
const SUPPORTS = {
  three: [
    [[-1.9, 1.0], [-1.2, 0.4], [-2.2, 0.1]],
    [[1.0, 1.5], [2.0, 0.9], [0.7, 0.9]],
    [[0.1, -1.6], [1.0, -1.0], [-0.5, -0.9]],
  ],
  // A class of two groups, with another class between them.
  modes: [
    [[-2.3, 0.5], [-1.9, -0.2], [-2.1, -0.7], [2.3, 0.4], [1.9, -0.1], [2.2, -0.8]],
    [[0.4, 0.4], [0.8, -0.1], [0.5, -0.6]],
  ],
};
export const defaults = ({ preset } = {}) => ({
  preset: Object.hasOwn(SUPPORTS, preset) ? preset : "three",
  support: Object.hasOwn(SUPPORTS, preset) ? SUPPORTS[preset] : SUPPORTS.three,
  query: [0.3, 0.2],
  metric: "euclidean",
  nearest: "mean",
  temperature: 1,
});

/** Minus the distance from a point to each class: to its mean, or to its nearest example. */
export function scores(point, { support, metric, nearest }) {
  const inverse = metric === "mahalanobis" ? inverseCovariance(support) : null;
  const distance = {
    euclidean, squared_euclidean: squaredEuclidean, cosine: cosineDistance,
    mahalanobis: (a, b) => mahalanobis(a, b, inverse),
  }[metric];
  return (nearest === "mean" ? prototypical : nearestExample)(support, point, distance);
}

export const probabilities = (point, state) => softmax(scores(point, state).map((score) => score / state.temperature));

function build(figure) {
  const plane = field("Support points and a query in the plane", { width: 6.4, height: 4.4, unit: 70 });
  const { said } = figure;
  figure.body.append(
    tag("div", { className: "bar" },
      figure.choice("Distance", "metric"),
      figure.choice("to the nearest", "nearest"),
      figure.slider("Temperature", "temperature", { min: 0.1, max: 4, step: 0.1 }, (v) => v.toFixed(1))),
    plane.element,
    said.element,
    tag("p", { className: "quiet", textContent: "Drag the points, or choose one with Tab and move it with the arrow keys. Large pale marks are the class means, when those are compared; the star is the query." }));

  const means = figure.state.support.map((_, c) => plane.drawing.appendChild(svg("path", prototype(c))));
  const points = figure.state.support.map((examples, c) => examples.map((_, i) => plane.handle(
    `Example ${i + 1} of the ${NAMES[c]}`, COLORS[c], () => figure.state.support[c][i],
    (place) => figure.set({ support: figure.state.support.map((all, k) => all.map((p, j) => (k === c && j === i ? place : p))) }))));
  const query = plane.handle("The query", INK, () => figure.state.query, (place) => figure.set({ query: place }));

  return (now) => {
    plane.paint((place) => probabilities(place, now));
    now.support.forEach((examples, c) => {
      means[c].setAttribute("d", now.nearest === "mean" ? mark(c, ...plane.toDrawing(mean(examples)), 12) : "");
      examples.forEach((point, i) => points[c][i].setAttribute("d", mark(c, ...plane.toDrawing(point), 7)));
    });
    query.setAttribute("d", star(...plane.toDrawing(now.query), 13));
    const shares = probabilities(now.query, now), values = scores(now.query, now);
    const best = shares.indexOf(Math.max(...shares));
    said.say(
      tag("strong", { textContent: `The query is nearest to the ${NAMES[best]}. ` }),
      shares.map((p, c) => `${NAMES[c]}: distance ${(-values[c]).toFixed(2)}, probability ${(100 * p).toFixed(0)}\u00a0%`).join("; ") + ".");
  };
}

export default playground("metric-plane", defaults, build, { choices: { metric: METRICS, nearest: NEAREST, preset: SUPPORTS } });
