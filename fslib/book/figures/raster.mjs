// From the strokes of a pen to what the network sees.
//
// A drawing is a list of strokes, a stroke a list of points [x, y] in Omniglot's frame of 105 × 105.
// We draw it with Omniglot's pen and shrink it by the filter that shrank the training pictures
// (fslib.data.to_input). All is plain arithmetic and nothing is read back from the screen, so every
// browser and every display gives the network the same picture.

export const FRAME = 105;
export const SIDE = 28;
export const PEN = 5; // how wide it draws
const USUAL_SIZE = 70; // the longer side of most drawings in Omniglot, or a little more

const FAR = 1e6; // where no pen goes

/** Whether something is a drawing: a list of strokes, each of at least one point. */
export function isDrawing(drawing) {
  const isPoint = (point) => Array.isArray(point) && point.length === 2 && point.every((value) => Number.isFinite(value) && Math.abs(value) < FAR);
  return Array.isArray(drawing) && drawing.every((stroke) => Array.isArray(stroke) && stroke.length > 0 && stroke.every(isPoint));
}

/** What the network sees of a drawing: 28 × 28 numbers, row by row, ink = 1 and paper = 0. */
export const rasterize = (strokes, pen = PEN) => shrink(ink(strokes, pen));

/** A drawing in the frame, 105 × 105: how much of each pixel the round pen covers. */
function ink(strokes, pen) {
  const picture = new Float32Array(FRAME * FRAME);
  const reach = pen / 2 + 0.5; // where the soft edge ends, half a pixel beyond the pen
  for (const stroke of strokes) {
    for (let i = 0; i < Math.max(1, stroke.length - 1); i++) {
      const [ax, ay] = stroke[i];
      const [bx, by] = stroke[Math.min(i + 1, stroke.length - 1)]; // a dot goes from itself to itself
      const [dx, dy] = [bx - ax, by - ay];
      const length2 = dx * dx + dy * dy || 1;
      const [left, right] = span(ax, bx, reach), [top, bottom] = span(ay, by, reach);
      for (let y = top; y <= bottom; y++) {
        for (let x = left; x <= right; x++) {
          const along = clamp(((x - ax) * dx + (y - ay) * dy) / length2, 0, 1);
          const distance = Math.hypot(x - ax - along * dx, y - ay - along * dy);
          const covered = clamp(reach - distance, 0, 1);
          if (covered > picture[y * FRAME + x]) picture[y * FRAME + x] = covered;
        }
      }
    }
  }
  return picture;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const span = (a, b, reach) => [
  clamp(Math.floor(Math.min(a, b) - reach), 0, FRAME),
  clamp(Math.ceil(Math.max(a, b) + reach), -1, FRAME - 1),
];

// Each of the 28 new pixels is a mean of old ones, weighted by a triangle as wide as two new pixels:
// the antialiased bilinear filter of Pillow.
const TRIANGLES = Array.from({ length: SIDE }, (_, i) => {
  const scale = FRAME / SIDE, centre = (i + 0.5) * scale;
  const first = Math.max(0, Math.floor(centre - scale + 0.5));
  const end = Math.min(FRAME, Math.floor(centre + scale + 0.5));
  const weights = [];
  for (let x = first; x < end; x++) weights.push(Math.max(0, 1 - Math.abs(x + 0.5 - centre) / scale));
  const total = weights.reduce((a, b) => a + b);
  return { first, weights: weights.map((weight) => weight / total) };
});

/** Shrink a picture from 105 × 105 to 28 × 28, first its rows, then its columns. */
export function shrink(picture) {
  const narrow = new Float32Array(FRAME * SIDE), small = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < FRAME; y++) {
    TRIANGLES.forEach(({ first, weights }, i) => {
      narrow[y * SIDE + i] = weights.reduce((sum, w, k) => sum + w * picture[y * FRAME + first + k], 0);
    });
  }
  for (let x = 0; x < SIDE; x++) {
    TRIANGLES.forEach(({ first, weights }, i) => {
      small[i * SIDE + x] = weights.reduce((sum, w, k) => sum + w * narrow[(first + k) * SIDE + x], 0);
    });
  }
  return small;
}

/** A drawing moved to the middle of the frame and brought to the usual size; a dot is only moved. */
export function centred(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const size = Math.max(right - left, bottom - top);
  const factor = size > PEN ? USUAL_SIZE / size : 1;
  const middle = (FRAME - 1) / 2;
  const move = ([x, y]) => [
    (x - (left + right) / 2) * factor + middle,
    (y - (top + bottom) / 2) * factor + middle,
  ];
  return strokes.map((stroke) => stroke.map(move));
}
