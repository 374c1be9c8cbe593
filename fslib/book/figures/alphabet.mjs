// An alphabet of our own, to start from, in as many hands as one likes.
//
// Each character is given by a few points a stroke, in a square of 10 × 10; a smooth curve through them
// is drawn. Another hand bends the points a little, so that no two drawings are the same.

const CHARACTERS = [
  ["2,2 2,5 2,9", "2,3 6,1 8,4 5,6 2,5"],
  ["1,8 3,2 5,7 7,2 9,8"],
  ["5,1 5,5 5,9", "1,4 5,2 9,4", "3,9 5,7.6 7,9"],
  ["8,2 4,1 2,4 5,5 8,7 4,9 1,7.5"],
  ["2,2 8,2", "5,2 4,6 5,9 8,8", "6.5,5.5 8.5,5.5"],
  ["5,1 9,5 5,9 1,5 5,1", "5,4 5,6"],
  ["2,9 2,2 5,6 8,2 8,9"],
  ["1,5 3,2 5,5 7,8 9,5 7,2 5,5 3,8 1,5"],
  ["3,1 3,7 5,9 8,7", "3,4 7,3"],
  ["2,1 8,9", "8,1 5,5", "1.5,7 4,8.5"],
];

export const COUNT = CHARACTERS.length;

/** One drawing of a character in Omniglot's frame; the same hand, a whole number, draws it the same again. */
export function draw(character, hand) {
  const random = generator(1000 * character + hand);
  const [turn, slant, wide, high] = [0.2, 0.18, 0.14, 0.14].map((most) => most * (2 * random() - 1));
  return strokes(CHARACTERS[character], (pair) => {
    const [x, y] = pair.map((number) => number - 5 + 0.7 * (random() - 0.5));
    const [a, b] = [x * (1 + wide) + slant * y, y * (1 + high)];
    return [
      52 + 8 * (a * Math.cos(turn) - b * Math.sin(turn)),
      52 + 8 * (a * Math.sin(turn) + b * Math.cos(turn)),
    ];
  });
}

/** Strokes from texts as above: `move` puts each point, [x, y] in the square of 10 × 10, where it belongs. */
export const strokes = (texts, move) =>
  texts.map((text) => smooth(text.split(" ").map((pair) => move(pair.split(",").map(Number)))));

/** A curve through all points (Catmull and Rom, 1974), six steps from one to the next. */
function smooth(points, steps = 6) {
  const at = (i) => points[Math.min(points.length - 1, Math.max(0, i))];
  const curve = [points[0]];
  for (let i = 0; i < points.length - 1; i++) {
    for (let k = 1; k <= steps; k++) {
      const t = k / steps;
      curve.push([0, 1].map((axis) => {
        const [p, q, r, s] = [-1, 0, 1, 2].map((step) => at(i + step)[axis]);
        return q + (t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)))) / 2;
      }));
    }
  }
  return curve;
}

/** Numbers in [0, 1) that look random and repeat with the seed (Mulberry32). */
export function generator(seed) {
  let state = (seed * 2654435769) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A draw from the standard normal distribution (Box and Muller, 1958). */
export const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
