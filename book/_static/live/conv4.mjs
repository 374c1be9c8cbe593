// The embedding network of the book, Conv-4, as it runs in this page.
//
// Four times the same block: a convolution with 3 × 3 windows, ReLU, and the largest of each 2 × 2
// square. Each block halves the picture, 28 → 14 → 7 → 3 → 1, and in the end 64 numbers are left.
// Batch norm is not here: once training is over it only scales and shifts each channel, so
// `python -m fslib.export` has multiplied it into the weights.

const CHANNELS = 64;

/** Read what `python -m fslib.export` wrote: weights (3, 3, inputs, 64) and biases (64) in float16, four times. */
export function readConv4(buffer) {
  const numbers = floats(buffer);
  if (numbers.length !== (9 + 1) * CHANNELS + 3 * (9 * CHANNELS + 1) * CHANNELS) {
    throw new Error(`This is not the network: it has ${numbers.length} weights.`);
  }
  let at = 0;
  const take = (count) => numbers.subarray(at, (at += count));
  return [1, CHANNELS, CHANNELS, CHANNELS].map((inputs) => ({
    weights: take(9 * inputs * CHANNELS),
    biases: take(CHANNELS),
  }));
}

/** Embed a picture, 28 × 28 numbers with ink = 1: the 64 numbers that stand for it. */
export function embed(network, picture) {
  let side = 28;
  for (const layer of network) {
    picture = block(picture, side, layer);
    side = Math.floor(side / 2);
  }
  return picture;
}

/** One block, (side, side, inputs) → (⌊side/2⌋, ⌊side/2⌋, outputs), the channels of a pixel side by side. */
function block(picture, side, { weights, biases }) {
  const inputs = picture.length / side ** 2, outputs = biases.length, half = Math.floor(side / 2);
  const pooled = new Float32Array(half * half * outputs); // of zeros, so that the maximum is a ReLU too
  const sums = new Float32Array(outputs);
  for (let y = 0; y < 2 * half; y++) {
    for (let x = 0; x < 2 * half; x++) {
      sums.set(biases);
      for (let window = 0; window < 9; window++) {
        const row = y + Math.floor(window / 3) - 1, column = x + (window % 3) - 1;
        if (row < 0 || row >= side || column < 0 || column >= side) continue; // beyond the edge all is zero
        const pixel = (row * side + column) * inputs;
        for (let input = 0; input < inputs; input++) {
          const value = picture[pixel + input];
          if (value === 0) continue; // most are: paper, or what ReLU cut off
          const from = (window * inputs + input) * outputs;
          for (let output = 0; output < outputs; output++) sums[output] += value * weights[from + output];
        }
      }
      const to = (Math.floor(y / 2) * half + Math.floor(x / 2)) * outputs;
      for (let output = 0; output < outputs; output++) {
        if (sums[output] > pooled[to + output]) pooled[to + output] = sums[output];
      }
    }
  }
  return pooled;
}

/** Numbers from a file of float16, which few browsers read by themselves. */
export const floats = (buffer) => Float32Array.from(new Uint16Array(buffer), half);

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}
