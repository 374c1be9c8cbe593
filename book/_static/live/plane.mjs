// Chapters 3 and 6: which class does each point of the plane belong to?
//
// Drag the support points and the query, change the ruler, and see the regions move.

import {
  cosineDistance, euclidean, inverseCovariance, mahalanobis, mean, softmax, squaredEuclidean,
} from "./compare.mjs";
import { COLORS, NAMES, choice, define, draggable, mark, onceAFrame, slider, svg, tag } from "./element.mjs";

const UNIT = 70, WIDTH = 6.4 * UNIT, HEIGHT = 4.4 * UNIT; // the plane is 6.4 × 4.4, its middle the origin
const toDrawing = ([x, y]) => [WIDTH / 2 + UNIT * x, HEIGHT / 2 - UNIT * y];
const toPlane = (x, y) => [(x - WIDTH / 2) / UNIT, (HEIGHT / 2 - y) / UNIT];

const METRICS = {
  euclidean: "Euclidean",
  squared_euclidean: "squared Euclidean",
  cosine: "cosine",
  mahalanobis: "Mahalanobis, fitted to the classes",
};
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
export const DEFAULTS = {
  preset: "three", support: null, query: [0.3, 0.2], metric: "euclidean", nearest: "mean", temperature: 1,
};

/** Minus the distance from a point to each class: to its mean, or to its nearest example. */
export function scores(point, { support, metric, nearest }) {
  const inverse = metric === "mahalanobis" ? inverseCovariance(support) : null;
  const distance = {
    euclidean, squared_euclidean: squaredEuclidean, cosine: cosineDistance,
    mahalanobis: (a, b) => mahalanobis(a, b, inverse),
  }[metric];
  return support.map((examples) =>
    -Math.min(...(nearest === "mean" ? [mean(examples)] : examples).map((one) => distance(point, one))));
}

export const probabilities = (point, state) => softmax(scores(point, state).map((score) => score / state.temperature));

export function render({ model, el }) {
  if (!model.get("support")) model.set("support", SUPPORTS[model.get("preset")]);
  const state = () => Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, model.get(key)]));
  const set = (key, value) => {
    model.set(key, value);
    model.save_changes();
  };
  const canvas = tag("canvas", { width: 128, height: 88, attributes: { "aria-hidden": "true" } });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "Support points and a query in the plane" });
  const said = tag("output", { attributes: { "aria-live": "polite" } });
  el.append(
    tag("div", { className: "bar" },
      choice("Distance", Object.entries(METRICS), model.get("metric"), (value) => set("metric", value)),
      choice("to the nearest", [["mean", "class mean"], ["example", "example"]], model.get("nearest"), (value) => set("nearest", value)),
      slider("Temperature", { min: 0.1, max: 4, step: 0.1 }, model.get("temperature"), (value) => set("temperature", value), (v) => v.toFixed(1))),
    tag("div", { className: "plane" }, canvas, drawing),
    said,
    tag("p", { className: "quiet", textContent: "Drag the points, or choose one with Tab and move it with the arrow keys. Large hollow marks are class means; the cross is the query." }));

  const inside = (x, y) => toPlane(Math.min(WIDTH - 8, Math.max(8, x)), Math.min(HEIGHT - 8, Math.max(8, y)));
  const means = model.get("support").map((_, c) => drawing.appendChild(svg("path", { fill: "#fff", "fill-opacity": 0.6, stroke: COLORS[c], "stroke-width": 3 })));
  const points = model.get("support").map((examples, c) => examples.map((_, i) => {
    const node = svg("path", { fill: COLORS[c], stroke: "#fff", "stroke-width": 1.5, tabindex: 0, role: "button", "aria-label": `Example ${i + 1} of the ${NAMES[c]}` });
    draggable(node, drawing, () => toDrawing(model.get("support")[c][i]), (x, y) => {
      set("support", model.get("support").map((all, k) => all.map((p, j) => (k === c && j === i ? inside(x, y) : p))));
    });
    return drawing.appendChild(node);
  }));
  const query = drawing.appendChild(svg("path", { fill: "#000", stroke: "#fff", "stroke-width": 1.5, tabindex: 0, role: "button", "aria-label": "The query" }));
  draggable(query, drawing, () => toDrawing(model.get("query")), (x, y) => set("query", inside(x, y)));

  function paint() {
    const now = state();
    regions(canvas, now);
    now.support.forEach((examples, c) => {
      means[c].setAttribute("d", now.nearest === "mean" ? mark(c, ...toDrawing(mean(examples)), 12) : "");
      examples.forEach((point, i) => points[c][i].setAttribute("d", mark(c, ...toDrawing(point), 7)));
    });
    query.setAttribute("d", mark(4, ...toDrawing(now.query), 10));
    const shares = probabilities(now.query, now), values = scores(now.query, now);
    const best = shares.indexOf(Math.max(...shares));
    said.replaceChildren(
      tag("strong", { textContent: `The query is nearest to the ${NAMES[best]}. ` }),
      shares.map((p, c) => `${NAMES[c]}: distance ${(-values[c]).toFixed(2)}, probability ${(100 * p).toFixed(0)} %`).join("; ") + ".");
  }
  const repaint = onceAFrame(paint);
  for (const key of Object.keys(DEFAULTS)) model.on(`change:${key}`, repaint);
  paint();
  return () => Object.keys(DEFAULTS).forEach((key) => model.off(`change:${key}`, repaint));
}

/** Paint each place in the mixture of the classes' colours that its probabilities say. */
function regions(canvas, state) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const colors = COLORS.map((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
  for (let row = 0, at = 0; row < canvas.height; row++) {
    for (let column = 0; column < canvas.width; column++, at += 4) {
      const place = toPlane(((column + 0.5) / canvas.width) * WIDTH, ((row + 0.5) / canvas.height) * HEIGHT);
      const shares = probabilities(place, state);
      for (let i = 0; i < 3; i++) {
        const mixed = shares.reduce((total, share, c) => total + share * colors[c][i], 0);
        image.data[at + i] = 255 - 0.45 * (255 - mixed);
      }
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

export default { render };
if (globalThis.customElements && !customElements.get("metric-plane")) define("metric-plane", render, DEFAULTS);
