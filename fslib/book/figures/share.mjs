// A drawing board in a link: everything fits behind the # of the address, so nothing is sent anywhere.
//
// The text is base64 of bytes: a version, the ways and shots, then each drawing as its number of strokes
// and each stroke as its number of points and the points themselves, two bytes each, in half pixels.
// Then comes twice the number of the method, plus one where drawings are not centred; older links end before it.
// Two check bytes at the end tell a link that was cut or mistyped.

const VERSION = 1;
const LINK = /^#alphabet-([\w-]+)$/;
const MOST_POINTS = 255;

/** What goes behind the address: `#alphabet-…`. */
export function toHash({ ways, shots, support, query, method = 0, centring = true }) {
  const bytes = [VERSION, ways, shots];
  const drawings = [...support.slice(0, ways).flatMap((examples) => examples.slice(0, shots)), query];
  for (const drawing of drawings) {
    bytes.push(Math.min(drawing.length, 255));
    for (const stroke of drawing.slice(0, 255)) {
      const points = thinned(stroke);
      bytes.push(points.length, ...points.flat().map((number) => Math.min(255, Math.max(0, Math.round(2 * number)))));
    }
  }
  bytes.push(2 * method + !centring);
  const text = btoa(String.fromCharCode(...bytes, ...checksum(bytes)));
  return `#alphabet-${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** The board of a link, or null if the address holds none. Throws an Error that says so if it is damaged. */
export function fromHash(hash) {
  if (!hash.startsWith("#alphabet-")) return null;
  const damaged = new Error("This link is damaged, so its drawings cannot be shown. Ask for it again, or start afresh.");
  let bytes;
  try {
    bytes = [...atob(LINK.exec(hash)[1].replaceAll("-", "+").replaceAll("_", "/"))].map((c) => c.charCodeAt(0));
  } catch {
    throw damaged;
  }
  const check = bytes.splice(-2);
  const [version, ways, shots] = bytes.splice(0, 3);
  const sound = String(check) === String(checksum([version, ways, shots, ...bytes]));
  if (!sound || version !== VERSION || ways < 2 || ways > 10 || shots < 1 || shots > 5) throw damaged;
  const take = () => bytes.shift() ?? 0;
  const list = (item) => Array.from({ length: take() }, item);
  const drawing = () => list(() => list(() => [take() / 2, take() / 2])).filter((stroke) => stroke.length);
  const support = Array.from({ length: ways }, () => Array.from({ length: shots }, drawing));
  const query = drawing(), settings = take();
  return { ways, shots, support, query, method: settings >> 1, centring: settings % 2 === 0 };
}

/** Fletcher's two sums: they change when a byte is lost, changed or moved. */
function checksum(bytes) {
  let first = 1, second = 0;
  for (const byte of bytes) second = (second + (first = (first + byte) % 255)) % 255;
  return [first, second];
}

/** Leave out points that lie within a third of a pixel of the line from one that stays to the next that does. */
export function thinned(stroke) {
  if (stroke.length < 3) return stroke;
  const [ax, ay] = stroke[0], [dx, dy] = [0, 1].map((axis) => stroke.at(-1)[axis] - stroke[0][axis]);
  let farthest = 0, at = 0;
  for (let i = 1; i < stroke.length - 1; i++) {
    const [x, y] = stroke[i];
    const along = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    const away = Math.hypot(x - ax - along * dx, y - ay - along * dy); // beyond an end, from that end: a pen may turn back
    if (away > farthest) [farthest, at] = [away, i];
  }
  if (farthest < 1 / 3) return [stroke[0], stroke.at(-1)];
  const points = [...thinned(stroke.slice(0, at + 1)).slice(0, -1), ...thinned(stroke.slice(at))];
  if (points.length <= MOST_POINTS) return points;
  const step = points.length / MOST_POINTS; // a very long stroke: every so many points
  return Array.from({ length: MOST_POINTS }, (_, i) => points[Math.floor(i * step)]);
}
