// An alphabet in a file: what the pad saves and opens, and fslib.data.from_alphabets reads.
//
// It is JSON: the names of the characters, and of each the drawings, as strokes and as 28 × 28 bytes in base64, dark ink on
// white paper. The picture is what we make of the strokes, and who reads makes it again: so damage is noticed.

import { SIDE, centred, isDrawing, rasterize } from "./raster.mjs";
import { thinned } from "./share.mjs";

export const LARGEST = 5e6; // bytes; a full pad takes a tenth of a million
const FORMAT = "learning-to-compare alphabet", VERSION = 1;

/** A name as one may compare it: of the ways to write an accented letter, always the same. */
export const plain = (name) => name.normalize("NFC").trim();

/** The text of a file. `classes` are characters, each a name and its drawings. */
export function toText({ writer, centring, classes }) {
  const stored = classes.map(({ name, drawings }) => ({
    name: plain(name),
    drawings: drawings.map((drawing) => {
      const strokes = drawing.map((stroke) => thinned(stroke).map((point) => point.map((value) => Math.round(10 * value) / 10)));
      return { strokes, picture: btoa(String.fromCharCode(...picture(strokes, centring))) };
    }),
  }));
  return JSON.stringify({ format: FORMAT, version: VERSION, writer: plain(writer), centred: centring, classes: stored });
}

/** The alphabet of such a text. Throws an Error that says what is wrong. */
export function fromText(text) {
  const refused = new Error("This is not an alphabet that a drawing pad has saved, or it is damaged.");
  let content;
  try {
    content = JSON.parse(text);
    if (content.format !== FORMAT || !Number.isInteger(content.version) || content.version < 1) throw refused;
    if (content.version === VERSION && !isSound(content)) throw refused;
  } catch {
    throw refused;
  }
  if (content.version > VERSION) throw new Error("This was saved by a newer drawing pad; open it on the book's site, with the page loaded anew.");
  const classes = content.classes.map(({ name, drawings }) => ({ name: plain(name), drawings: drawings.map(({ strokes }) => strokes) }));
  return { writer: plain(content.writer), centring: content.centred, classes };
}

/** Whether an alphabet has all that belongs to it, and each picture is that of its strokes. */
function isSound({ writer, centred: centring, classes }) {
  const names = classes.map(({ name }) => plain(name));
  const alike = (text, ours) => text.length === ours.length && ours.every((value, i) => Math.abs(value - text.charCodeAt(i)) <= 1); // which is rounding
  return typeof writer === "string" && typeof centring === "boolean" && names.every(Boolean) && new Set(names).size === names.length
    && classes.flatMap(({ drawings }) => drawings).every(({ strokes, picture: stored }) =>
      isDrawing(strokes) && strokes.length > 0 && alike(atob(stored), picture(strokes, centring)));
}

/** A drawing as the network sees it, as greys: 0 is ink and 255 paper. */
const picture = (strokes, centring) => Array.from(rasterize(centring ? centred(strokes) : strokes), (ink) => Math.round(255 * (1 - ink)));
