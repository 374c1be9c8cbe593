// The embedding network of the book, Conv-4, as it runs in this page.
//
// Four times the same block: a convolution with 3 × 3 windows, ReLU, and the largest of each 2 × 2
// square. Each block halves the picture, 28 → 14 → 7 → 3 → 1, and in the end 64 numbers are left.
// Batch norm is not here: once training is over it only scales and shifts each channel, so
// `python -m fslib.book.export` has multiplied it into the weights.

const CHANNELS = 64;
const WEIGHTS = (9 + 1) * CHANNELS + 3 * (9 * CHANNELS + 1) * CHANNELS;

/** Read what `python -m fslib.book.export` wrote: weights (3, 3, inputs, 64) and biases (64) in float16, four times. */
export function readConv4(buffer) {
  const [wanted, found] = [2 * WEIGHTS, buffer.byteLength].map((bytes) => bytes.toLocaleString("en-GB"));
  if (found !== wanted) {
    throw new Error(`This is not the network: a Conv-4 as fslib.book.export writes it has ${wanted} bytes, but this has ${found}.`);
  }
  const numbers = floats(buffer);
  if (!numbers.every(Number.isFinite)) throw new Error("This is not the network: some of its weights are no numbers.");
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
  const window = { values: new Float64Array(9 * inputs), numbers: new Int32Array(9 * inputs) };
  for (let y = 0; y < 2 * half; y++) {
    for (let x = 0; x < 2 * half; x++) {
      const { values, numbers } = window, count = look(picture, side, inputs, y, x, window);
      const to = (Math.floor(y / 2) * half + Math.floor(x / 2)) * outputs;
      for (let output = 0; output < outputs; output += 4) { // four sums at a time stay in registers, and that is fast
        let a = biases[output], b = biases[output + 1], c = biases[output + 2], d = biases[output + 3];
        for (let i = 0; i < count; i++) {
          const value = values[i], from = numbers[i] * outputs + output;
          a += value * weights[from];
          b += value * weights[from + 1];
          c += value * weights[from + 2];
          d += value * weights[from + 3];
        }
        pooled[to + output] = Math.max(pooled[to + output], a);
        pooled[to + output + 1] = Math.max(pooled[to + output + 1], b);
        pooled[to + output + 2] = Math.max(pooled[to + output + 2], c);
        pooled[to + output + 3] = Math.max(pooled[to + output + 3], d);
      }
    }
  }
  return pooled;
}

/**
 * Note the values around a pixel that are not zero, and their numbers, 0 … 9 · inputs − 1; give how many there are.
 * Most are zero: paper, or what ReLU cut off.
 */
function look(picture, side, inputs, y, x, { values, numbers }) {
  let count = 0;
  for (let place = 0; place < 9; place++) {
    const row = y + Math.floor(place / 3) - 1, column = x + (place % 3) - 1;
    if (row < 0 || row >= side || column < 0 || column >= side) continue; // beyond the edge all is zero
    const pixel = (row * side + column) * inputs;
    for (let input = 0; input < inputs; input++) {
      if (picture[pixel + input] === 0) continue;
      values[count] = picture[pixel + input];
      numbers[count++] = place * inputs + input;
    }
  }
  return count;
}

/** Numbers from a file of float16, which few browsers read by themselves. */
export const floats = (buffer) => Float32Array.from(new Uint16Array(buffer), half);

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}
