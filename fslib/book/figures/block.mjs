// Chapter 5: be the attention block. Weigh two channels, and ask of what that gains: is it attention, or is it scale?
//
// The plane shows the features before the block, so weights and temperature move nothing but borders and colours.

import { prototypical, softmax, voices } from "./compare.mjs";
import { COLORS, INK, NAMES, PAPER, WRONG, mark, slider, svg, tag, wrong } from "./element.mjs";
import { decided, field } from "./field.mjs";
import { playground } from "./playground.mjs";

const HALO = 46; // radius, in the drawing, of the halo of a query that sends all of the gradient
const CHANNEL = { tells: "tells classes apart", clutter: "is clutter" };
export const FEATURES = { // an example of each class, and queries of each class
  tells: {
    support: [[-4.0, 2.3], [3.7, 1.4], [-0.2, -3.9]],
    query: [
      [[-3.9, 4.5], [-5.1, 0.6], [-2.7, 2.9], [-3.6, 0.0]],
      [[3.9, 3.9], [1.0, 1.4], [-0.2, -0.4], [-0.1, 1.9]],
      [[-2.5, -2.2], [0.8, -3.1], [-5.2, -4.0], [0.5, -1.9]],
    ],
  },
  clutter: {
    support: [[-6.8, -3.5], [-1.2, -0.9], [3.1, -0.5]],
    query: [
      [[-6.1, 2.3], [-4.3, 3.0], [-4.6, -0.1], [-4.8, 4.1]],
      [[-0.6, 1.6], [0.0, 3.7], [-0.8, -2.2], [0.3, 0.7]],
      [[3.7, 0.9], [5.3, -0.9], [5.1, 0.6], [3.6, 4.0]],
    ],
  },
};
const COUNT = FEATURES.tells.query.flat().length;
function features(asked) {
  const channel = Object.hasOwn(FEATURES, asked) ? asked : "tells";
  return { channel, ...FEATURES[channel] };
}

export const defaults = ({ channel } = {}) => ({ ...features(channel), weights: [1, 1], temperature: 1 });

/** Probability of each class at a point: weights, then minus squared distances over the temperature, then a softmax. */
export function probabilities(point, { support, weights, temperature }) {
  const block = (features) => features.map((value, channel) => weights[channel] * value);
  return softmax(prototypical(support.map((one) => [block(one)]), block(point)).map((score) => score / temperature));
}

/**
 * The loss of a query, minus the logarithm of the probability of its class, and the gradient that goes down to the
 * network: in each channel 2 w² (Σ p c − c of its class) / temperature, with the sum over all classes' examples c.
 */
export function lesson(point, label, state) {
  const shares = probabilities(point, state), { support, weights, temperature } = state;
  const gradient = weights.map((weight, channel) => {
    const expected = shares.reduce((total, share, c) => total + share * support[c][channel], 0);
    return (2 * weight ** 2 * (expected - support[label][channel])) / temperature;
  });
  return { loss: -Math.log(Math.max(shares[label], Number.MIN_VALUE)), gradient, right: shares[label] === Math.max(...shares) };
}

/** Of all queries: what each is taught, its part of the length of all gradients, and what the table says of them. */
export function lessons(state) {
  const all = state.query.flatMap((points, label) => points.map((point) => lesson(point, label, state)));
  const lengths = all.map(({ gradient }) => Math.hypot(...gradient)), total = lengths.reduce((a, b) => a + b);
  const parts = lengths.map((length) => length / (total || 1));
  return {
    all, parts,
    right: all.filter(({ right }) => right).length,
    loss: all.reduce((sum, { loss }) => sum + loss, 0) / all.length,
    teachers: total ? voices(parts) : 0,
  };
}

const LEAST = 0.05, HOTTEST = 6; // weight, and power of two of the temperature

function build(figure) {
  const limited = (value, low, high) => Math.min(high, Math.max(low, value));
  figure.state.weights = figure.state.weights.map((weight) => limited(weight, LEAST, 1));
  figure.state.temperature = 2 ** Math.round(limited(Math.log2(figure.state.temperature) || 0, 0, HOTTEST));
  const plane = field("Examples and queries by the values of two channels", { width: 16, height: 11, unit: 28, cells: 8 });
  const rows = tag("tbody"), { said } = figure;
  const weigh = (channel) => slider(`Weight of channel ${channel + 1}`, { min: LEAST, max: 1, step: 0.05 }, figure.state.weights[channel],
    (value) => figure.set({ weights: figure.state.weights.map((weight, i) => (i === channel ? value : weight)) }), (v) => v.toFixed(2));
  figure.body.append(
    tag("div", { className: "bar" },
      weigh(0), weigh(1),
      slider("Temperature", { min: 0, max: HOTTEST, step: 1 }, Math.log2(figure.state.temperature), (power) => figure.set({ temperature: 2 ** power }), (power) => String(2 ** power)),
      figure.choice("Channel 2", "channel", features)),
    plane.element,
    said.element,
    tag("table", {},
      tag("caption", { className: "hidden", textContent: "The queries, with and without weights and temperature" }),
      tag("thead", {}, tag("tr", {}, ...["with", `right of ${COUNT}`, "mean loss", "queries that teach"].map((text, i) =>
        tag("th", { textContent: text, className: i ? "number" : "", attributes: { scope: "col" } })))),
      rows),
    tag("p", { className: "quiet", textContent: "Channel 1 runs across, channel 2 up. Full marks are examples, one of each class; hollow marks are queries, crossed where they are answered wrong. The area of a halo is the query's part of the gradient, and its hand points to where a step would move the query. Drag the marks, or choose one with Tab and move it with the arrow keys." }));

  const each = (draw) => figure.state.query.flatMap((points, c) => points.map((_, i) => draw(c, i)));
  const halos = each((c) => plane.drawing.appendChild(svg("circle", { fill: COLORS[c], "fill-opacity": 0.3, stroke: COLORS[c], "stroke-width": 1.5 })));
  const hands = each((c) => plane.drawing.appendChild(svg("path", { stroke: INK, "stroke-width": 2 })));
  const examples = figure.state.support.map((_, c) => plane.handle(
    `The example of the ${NAMES[c]}`, COLORS[c], () => figure.state.support[c],
    (place) => figure.set({ support: figure.state.support.map((p, k) => (k === c ? place : p)) })));
  const queries = each((c, i) => plane.handle(
    `Query ${i + 1} of the ${NAMES[c]}`, PAPER, () => figure.state.query[c][i],
    (place) => figure.set({ query: figure.state.query.map((all, k) => all.map((p, j) => (k === c && j === i ? place : p))) })));
  each((c) => c).forEach((c, i) => queries[i].setAttribute("stroke", COLORS[c]));
  const crosses = each(() => plane.drawing.appendChild(svg("path", WRONG)));

  return (now) => {
    plane.paint((place) => decided(probabilities(place, now)));
    now.support.forEach((example, c) => examples[c].setAttribute("d", mark(c, ...plane.toDrawing(example), 10)));
    const taught = lessons(now);
    each((c, i) => [c, now.query[c][i]]).forEach(([c, point], n) => {
      const [x, y] = plane.toDrawing(point), r = HALO * Math.sqrt(taught.parts[n]);
      const { gradient: [right, up], right: isRight } = taught.all[n], length = Math.hypot(right, up) || 1;
      for (const [key, value] of Object.entries({ cx: x, cy: y, r })) halos[n].setAttribute(key, value);
      hands[n].setAttribute("d", `M${x} ${y}l${(-r * right) / length} ${(r * up) / length}`);
      queries[n].setAttribute("d", mark(c, x, y, 6));
      crosses[n].setAttribute("d", isRight ? "" : wrong(x, y, 8));
    });
    const without = { ...now, weights: [1, 1] }, cold = { temperature: 1 };
    const table = { neither: { ...without, ...cold }, weights: { ...now, ...cold }, temperature: without, both: now };
    const results = Object.entries(table).map(([name, state]) => [name, lessons(state)]);
    rows.replaceChildren(...results.map(([name, { right, loss, teachers }]) => tag("tr", {},
      tag("th", { textContent: name, attributes: { scope: "row" } }),
      ...[right, loss.toFixed(2), teachers.toFixed(1)].map((text) => tag("td", { className: "number", textContent: text })))));
    said.say(
      tag("strong", { textContent: `The gradient comes as if from ${taught.teachers.toFixed(1)} of the ${COUNT} queries. ` }),
      explanation(now, taught.right, results[0][1].right));
  };
}

/** What weights and temperature do: only scale, or more. */
function explanation({ weights: [first, second], temperature }, right, plain) {
  if (first !== second) return `Unequal weights turn the decision boundaries: ${right} of ${COUNT} queries are right, with equal weights ${plain}. A temperature turns none.`;
  if (first === 1 && temperature === 1) return "Weights of 1 and a temperature of 1 change nothing.";
  const [weights, heat] = [`equal weights of ${first}`, `a temperature of ${temperature}`];
  const who = temperature === 1 ? `${weights} divide` : first === 1 ? `${heat} divides` : `${weights} and ${heat} together divide`;
  const by = Number((temperature / first ** 2).toPrecision(2));
  return `${who[0].toUpperCase()}${who.slice(1)} all squared distances by ${by}. Not one answer changes, only how sure it is.`;
}

export default playground("block-plane", defaults, build, { choices: { channel: CHANNEL } });
