// Chapter 8: who decides? Every example votes, with the attention that the query pays it.
//
// Drag the examples and the query, and turn the scale from everybody to the nearest alone.

import { nearest, prototypical, softmax, squaredEuclidean, voices } from "./compare.mjs";
import { COLORS, INK, NAMES, mark, slider, star, svg, tag } from "./element.mjs";
import { decided, field } from "./field.mjs";
import { playground } from "./playground.mjs";

const HALO = 46; // radius, in the drawing, of the halo of an example that gets all attention
const METHODS = { votes: "votes", mean: "the nearest prototype" };
export const DEFAULTS = {
  support: [ // the chapter's first figure: one square has lost its way among the circles
    [[-1.44, 0.8], [-1.83, 0.64], [-1.03, 0.44], [-0.51, -0.28], [-1.43, 0.43]],
    [[-1.25, 0.41], [1.8, 1.01], [1.26, -0.09], [1.04, 0.74], [1.11, 1.09]],
    [[0.22, -1.14], [0.63, -1.16], [0.05, -1.02], [0.27, -0.73], [-0.33, -1.06]],
  ],
  query: [-1.15, 0.1], scale: 10, method: "votes",
};

/** The attention to each example, class by class: a softmax over all of minus their squared distances, times the scale. */
export function attention(point, { support, scale }) {
  const all = softmax(support.flat().map((example) => -scale * squaredEuclidean(point, example)));
  let at = 0;
  return support.map((examples) => all.slice(at, (at += examples.length)));
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const softly = (compare) => (point, { support, scale }) => softmax(compare(support, point).map((score) => scale * score));
const PROBABILITIES = {
  votes: (point, state) => attention(point, state).map(sum),
  mean: softly(prototypical),
  nearest: softly(nearest),
};

/** Probability of each class at a point, by votes, by the nearest prototype or example, as `method` says. */
export const probabilities = (point, state) => PROBABILITIES[state.method](point, state);

const shown = (scale) => scale.toFixed(scale < 9.95 ? 1 : 0);

/** From everybody to the nearest alone, in equal steps of the logarithm. */
export function scaleSlider(label, figure) {
  const limits = { min: -0.52, max: 3, step: 0.04 };
  figure.state.scale = Math.min(10 ** limits.max, Math.max(10 ** limits.min, figure.state.scale));
  return slider(label, limits, Math.log10(figure.state.scale), (power) => figure.set({ scale: 10 ** power }), (power) => shown(10 ** power));
}

function build(figure) {
  const plane = field("Examples and a query in the plane", { width: 6.4, height: 4.4, unit: 70 });
  const rows = tag("tbody"), { said } = figure;
  figure.body.append(
    tag("div", { className: "bar" },
      scaleSlider("Scale", figure),
      figure.choice("Regions by", "method")),
    plane.element,
    said.element,
    tag("table", {},
      tag("caption", { className: "hidden", textContent: "Probabilities of the query" }),
      tag("thead", {}, tag("tr", {}, ...["class", "attention of its examples", "votes", "prototype"].map((text, i) =>
        tag("th", { textContent: text, className: i > 1 ? "number" : "", attributes: { scope: "col" } })))),
      rows),
    tag("p", { className: "quiet", textContent: "Drag the examples and the query, the star, or choose one with Tab and move it with the arrow keys. The area of a halo is the attention that the query pays to the example; in the table, each piece of a bar is one example." }));

  const halos = figure.state.support.map((examples, c) => examples.map(() =>
    plane.drawing.appendChild(svg("circle", { fill: COLORS[c], "fill-opacity": 0.3, stroke: COLORS[c], "stroke-width": 1.5 }))));
  const points = figure.state.support.map((examples, c) => examples.map((_, i) => plane.handle(
    `Example ${i + 1} of the ${NAMES[c]}`, COLORS[c], () => figure.state.support[c][i],
    (place) => figure.set({ support: figure.state.support.map((all, k) => all.map((p, j) => (k === c && j === i ? place : p))) }))));
  const query = plane.handle("The query", INK, () => figure.state.query, (place) => figure.set({ query: place }));

  return (now) => {
    plane.paint((place) => decided(probabilities(place, now)));
    const shares = attention(now.query, now);
    now.support.forEach((examples, c) => examples.forEach((example, i) => {
      const [cx, cy] = plane.toDrawing(example);
      points[c][i].setAttribute("d", mark(c, cx, cy, 7));
      for (const [key, value] of Object.entries({ cx, cy, r: HALO * Math.sqrt(shares[c][i]) })) halos[c][i].setAttribute(key, value);
    }));
    query.setAttribute("d", star(...plane.toDrawing(now.query), 13));
    const [votes, means] = ["votes", "mean"].map((method) => probabilities(now.query, { ...now, method }));
    const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;
    rows.replaceChildren(...shares.map((ofClass, c) => tag("tr", {},
      tag("th", { textContent: NAMES[c], attributes: { scope: "row" } }),
      tag("td", {}, bar(ofClass, COLORS[c])),
      ...[votes, means].map((all) => tag("td", { className: "number", textContent: percent(all[c]) })))));
    const best = (all) => NAMES[all.indexOf(Math.max(...all))];
    const count = voices(shares.flat()), examples = now.support.flat().length;
    const who = count > examples / 2 ? "everybody decides" : count < 1.5 ? "the nearest example decides alone" : "a few near examples decide";
    said.say(
      tag("strong", { textContent: `At scale ${shown(now.scale)}, ${who}. ` }),
      `The attention of the query is spread as if over ${count.toFixed(1)} of the ${examples} examples. `,
      best(votes) === best(means)
        ? `Votes and the nearest prototype agree that it is one of the ${best(votes)}.`
        : `By votes it is one of the ${best(votes)}, by the nearest prototype one of the ${best(means)}.`);
  };
}

/** A bar as long as a class's probability, in pieces as long as the attention that each of its examples gets. */
const bar = (shares, color) => tag("div", { style: { display: "flex", height: "0.85em", width: "100%", "min-width": "5rem" } },
  ...shares.map((share) => tag("span", { style: { width: `${100 * share}%`, background: color, "box-shadow": "inset -1px 0 var(--ltc-soft, #fff)" } })));

export default playground("votes-plane", DEFAULTS, build, { choices: { method: METHODS } });
