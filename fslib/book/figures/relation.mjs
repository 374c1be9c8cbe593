// The relation module of the page: it looks at two embeddings side by side and says how well they belong
// together, a number between 0 and 1 (Sung et al., 2018).
//
// It has one hidden layer. `python -m fslib.book.export` has multiplied the batch norm into its weights.

import { floats } from "./conv4.mjs";

const DIM = 64, HIDDEN = 64;

/** Read what `python -m fslib.book.export` wrote: weights (64, 128) and biases (64), then weights (64) and a bias. */
export function readRelation(buffer) {
  const numbers = floats(buffer);
  if (numbers.length !== HIDDEN * (2 * DIM + 2) + 1) {
    throw new Error(`This is not the relation module: it has ${numbers.length} weights.`);
  }
  let at = 0;
  const take = (count) => numbers.subarray(at, (at += count));
  return { weights: take(HIDDEN * 2 * DIM), biases: take(HIDDEN), last: take(HIDDEN), bias: numbers.at(-1) };
}

/** How well a query belongs to a class, of which the prototype is given: between 0 and 1. */
export function relate({ weights, biases, last, bias }, prototype, query) {
  const pair = [...prototype, ...query];
  let score = bias;
  for (let unit = 0; unit < HIDDEN; unit++) {
    const row = weights.subarray(unit * pair.length, (unit + 1) * pair.length);
    const sum = pair.reduce((total, value, i) => total + value * row[i], biases[unit]);
    score += last[unit] * Math.max(0, sum);
  }
  return 1 / (1 + Math.exp(-score));
}
