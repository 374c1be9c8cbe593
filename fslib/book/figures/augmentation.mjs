// Chapter 11: pull a character through warps and mixtures, and watch its embedding, and which character is nearest.

import { strokes } from "./alphabet.mjs";
import { euclidean } from "./compare.mjs";
import { embed, readConv4 } from "./conv4.mjs";
import { COLORS, INK, draggable, pixels, shade, star, svg, tag, toggle } from "./element.mjs";
import { playground } from "./playground.mjs";
import { FRAME, PEN, SIDE, rasterize } from "./raster.mjs";

const CHARACTERS = { // written as in alphabet.mjs; the support set is one upright picture of each
  A: ["5,1 2,9", "5,1 8,9", "3.2,6 6.8,6"],
  E: ["2.5,1 2.5,9", "2.5,1 7.8,1", "2.5,5 7,5", "2.5,9 7.8,9"],
  M: ["1.8,9 1.8,1", "1.8,1 5,6", "5,6 8.2,1", "8.2,1 8.2,9"],
  N: ["2,9 2,1", "2,1 8,9", "8,9 8,1"],
  W: ["1.2,1 3.2,9", "3.2,9 5,3", "5,3 6.8,9", "6.8,9 8.8,1"],
  Z: ["2,1 8,1", "8,1 2,9", "2,9 8,9"],
  b: ["2.5,1 2.5,9", "2.5,5.4 4.4,4 6.6,4.2 7.6,6.4 6.6,8.6 4.4,8.9 2.5,7.8"],
  d: ["7.4,1 7.4,9", "7.4,5.2 5.4,4 3.4,4.3 2.4,6.5 3.3,8.5 5.4,8.9 7.4,7.6"],
  p: ["2.5,9 2.5,1", "2.5,2.4 4.4,1.1 6.6,1.4 7.6,3.6 6.6,5.8 4.4,6 2.5,4.7"],
  q: ["7.4,9 7.4,1", "7.4,2.4 5.4,1.1 3.4,1.5 2.4,3.7 3.3,5.7 5.4,6 7.4,4.8"],
};
export const NAMES = Object.keys(CHARACTERS);
const MIXES = { none: "none", mixup: "MixUp", cutmix: "CutMix" };
const LIMITS = {
  turn: { min: -180, max: 180, step: 5 }, // degrees, against the clock
  slant: { min: -1, max: 1, step: 0.05 },
  scale: { min: 0.4, max: 1.4, step: 0.05 },
  thickness: { min: -0.5, max: 1, step: 0.05 }, // pixels of ink that are added on every side
  share: { min: 0, max: 1, step: 0.05 }, // λ, what is left of the character itself
};
const USUAL = { turn: 0, slant: 0, scale: 1, mirror: false, thickness: 0 };
export const DEFAULTS = { character: "b", ...USUAL, mix: "none", partner: "A", share: 0.5, box: [20, 20] };

const UNIT = 8, MIDDLE = (FRAME - 1) / 2; // of the square of 10 × 10, in the frame

/** A character as strokes: mirrored, slanted, scaled and turned, in this order, around the middle of the frame. */
export function warped(character, { mirror, slant, scale, turn }) {
  const angle = (turn * Math.PI) / 180, [cos, sin] = [scale * Math.cos(angle), scale * Math.sin(angle)];
  return strokes(CHARACTERS[character], ([right, down]) => {
    const y = UNIT * (down - 5), x = UNIT * (mirror ? 5 - right : right - 5) - slant * y;
    return [MIDDLE + cos * x + sin * y, MIDDLE + cos * y - sin * x];
  });
}

/** What the network sees: the warped character, mixed with the partner. */
export function picture(state) {
  const { character, thickness, mix, partner, share } = state;
  const own = rasterize(warped(character, state), PEN + (2 * thickness * FRAME) / SIDE);
  if (mix === "none") return own;
  const other = rasterize(warped(partner, USUAL));
  if (mix === "mixup") return own.map((ink, i) => share * ink + (1 - share) * other[i]);
  const { left, top, side } = pasted(state), within = (value, from) => value >= from && value < from + side;
  return own.map((ink, i) => (within(i % SIDE, left) && within(Math.floor(i / SIDE), top) ? other : own)[i]);
}

/** The box of a CutMix in pixels: a square of a part 1 − λ of the picture, around its place if the picture has room. */
export function pasted({ share, box }) {
  const side = Math.round(SIDE * Math.sqrt(1 - share));
  const [left, top] = box.map((middle) => Math.min(SIDE - side, Math.max(0, Math.round(middle - side / 2))));
  return { left, top, side };
}

/** The embedding of each character, upright. */
export const support = (network) =>
  Object.fromEntries(NAMES.map((name) => [name, Array.from(embed(network, rasterize(warped(name, USUAL))))]));

/** Distances of an embedding to all characters, and which is the nearest, of all and of all but its own. */
export function compare(embedding, examples, character) {
  const distances = Object.fromEntries(NAMES.map((name) => [name, euclidean(embedding, examples[name])]));
  const nearestOf = (names) => names.reduce((best, name) => (distances[name] < distances[best] ? name : best));
  return { distances, nearest: nearestOf(NAMES), other: nearestOf(NAMES.filter((name) => name !== character)) };
}

function build(figure) {
  const { network, examples, said, state } = figure;
  const view = seen(figure), plot = plane(), bars = columns(), follow = trail();
  const percent = (part) => `${Math.round(100 * part)}\u00a0%`, digits = (value) => value.toFixed(2);
  const partner = figure.choice("Partner", "partner"), share = figure.slider("Share λ", "share", LIMITS.share, percent);
  figure.body.append(
    tag("div", { className: "bar" },
      figure.choice("Character", "character"),
      toggle("Mirror", state.mirror, (mirror) => figure.set({ mirror })),
      figure.choice("Mixture", "mix"), partner),
    tag("div", { className: "bar sliders" },
      figure.slider("Turn", "turn", LIMITS.turn, (angle) => `${angle}°`),
      figure.slider("Slant", "slant", LIMITS.slant, digits),
      figure.slider("Scale", "scale", LIMITS.scale, percent),
      figure.slider("Thickness", "thickness", LIMITS.thickness, (by) => `${by > 0 ? "+" : ""}${digits(by)}\u00a0px`),
      share),
    tag("div", { className: "parts" }, view.element, plot.element, bars.element),
    said.element,
    tag("p", { className: "quiet", textContent: "In the plane: across, how far the embedding is from the example of its own character; up, how far from the nearest other. Below the dashed line the other is nearer. The trail follows the slider that you move. In a mixture, λ is the share of its own character. Drag a pasted box, or choose it with Tab and move it with the arrow keys." }));

  return (now) => {
    const ink = picture(now), found = compare(Array.from(embed(network, ink)), examples, now.character);
    partner.hidden = share.hidden = now.mix === "none";
    view.paint(ink, now);
    bars.paint(found, now.character);
    plot.paint(follow(now, [found.distances[now.character], found.distances[found.other]]), now.character);
    said.say(...sentences(now, found, compare(examples[now.character], examples, now.character)));
  };
}

/** Which character is nearest, and how far the embedding has moved, held against how far the next character is. */
function sentences({ character, mix, partner }, { distances, nearest }, { distances: between, other: next }) {
  const moved = distances[character], mixed = mix !== "none" && partner !== character;
  const whose = nearest === character ? "its own"
    : !mixed ? `no longer ${character}`
    : nearest === partner ? "which is mixed in" : `neither ${character} nor ${partner}`;
  return [
    tag("strong", { textContent: `The nearest example is ${nearest}, ${whose}. ` }),
    moved < 0.005 ? "The embedding has not moved."
      : `The embedding has moved by ${moved.toFixed(2)}, ${Math.round((100 * moved) / between[next])}\u00a0% of the distance between ${character} and the character next to it, ${next}.`,
  ];
}

/** The picture, large, and over it the pasted box. */
function seen(figure) {
  const fine = 6; // units of the drawing in a pixel, as an arrow key moves the box by one pixel
  const canvas = pixels(SIDE, SIDE, { attributes: { role: "img" } });
  const box = svg("rect", { fill: "transparent", stroke: COLORS[1], "stroke-width": 3, tabindex: 0, role: "application", "aria-label": "The pasted box" });
  const drawing = svg("svg", { viewBox: `0 0 ${fine * SIDE} ${fine * SIDE}` }, box);
  const middle = () => { // of the box as it lies
    const { left, top, side } = pasted(figure.state);
    return [left + side / 2, top + side / 2];
  };
  draggable(box, drawing, () => middle().map((value) => fine * value), (x, y) => figure.set({ box: [x / fine, y / fine] }));
  return {
    element: tag("figure", {}, tag("div", { className: "plane" }, canvas, drawing), tag("figcaption", { className: "quiet", textContent: "what the network sees" })),
    paint(ink, now) {
      shade(canvas, ink).setAttribute("aria-label", `${now.character}, as it is warped and mixed, in ${SIDE} by ${SIDE} pixels`);
      box.style.display = now.mix === "cutmix" ? "" : "none";
      const { left: x, top: y, side } = pasted(now);
      for (const [key, value] of Object.entries({ x, y, width: side, height: side })) box.setAttribute(key, fine * value);
    },
  };
}

const MOST = 7, WIDE = 200, EDGE = 20; // the largest distance in the plane; the drawing's width and its edge, in its own units
const drawn = (distance) => (WIDE * Math.min(distance, MOST)) / MOST;
const toDrawing = ([own, other]) => [drawn(own), WIDE - drawn(other)];
const color = ([own, other]) => COLORS[own < other ? 0 : 1];

/** The plane of two distances, with the trail of one slider and a star where it stands. */
function plane() {
  const line = svg("path", { fill: "none", stroke: INK, "stroke-opacity": 0.5 }), dots = svg("g"), query = svg("path", { fill: INK });
  const border = svg("path", { d: `M${toDrawing([0, 0])}L${toDrawing([MOST, MOST])}`, stroke: INK, "stroke-opacity": 0.6, "stroke-dasharray": "5 4" });
  const word = (x, y, anchor, textContent) => Object.assign(svg("text", { x, y, "text-anchor": anchor, fill: INK, "fill-opacity": 0.75, "font-size": 19 }), { textContent });
  const drawing = svg("svg", { viewBox: `${-EDGE} ${-EDGE} ${WIDE + 2 * EDGE} ${WIDE + 2 * EDGE}`, role: "img" }, border,
    word(-8, -3, "start", "own is nearer"), word(WIDE + 8, WIDE + 14, "end", "another is nearer"), line, dots, query);
  return {
    element: tag("figure", {}, tag("div", { className: "plane" }, drawing), tag("figcaption", { className: "quiet", textContent: "→ to its own, ↑ another" })),
    paint({ here, points }, character) {
      const places = points.map(toDrawing), [own, other] = here.map((distance) => distance.toFixed(2));
      line.setAttribute("d", `M${places.join("L")}`);
      dots.replaceChildren(...places.map(([cx, cy], i) => svg("circle", { cx, cy, r: 2.5, fill: color(points[i]) })));
      query.setAttribute("d", star(...toDrawing(here), 10));
      drawing.setAttribute("aria-label", `Distance to ${character}, its own: ${own}; to the nearest other: ${other}`);
    },
  };
}

/** Where the embedding is, and where it was at the other values of the slider that was moved last, in their order. */
function trail() {
  let before = {}, moved = "", here, points = new Map(); // by the slider's values
  return (now, place) => {
    const changed = String(Object.keys(now).filter((key) => JSON.stringify(now[key]) !== JSON.stringify(before[key])));
    if (changed && changed !== moved) {
      moved = changed;
      points = new Map(moved in LIMITS ? [[before[moved], here]] : []);
    }
    points.set(moved in LIMITS ? now[moved] : null, place); // one place where no slider was moved
    [before, here] = [now, place];
    return { here, points: [...points].sort(([a], [b]) => a - b).map(([, point]) => point) };
  };
}

/** A bar for each character: how far its example is. */
function columns() {
  const all = NAMES.map((name) => {
    const bar = tag("span", { className: "distance" }), number = tag("span", { className: "value" });
    const example = shade(pixels(SIDE, SIDE, { attributes: { "aria-hidden": "true" } }), rasterize(warped(name, USUAL)));
    return { name, bar, number, element: tag("li", {}, tag("span", { className: "hidden", textContent: name }), tag("span", { className: "example" }, example), bar, number) };
  });
  return {
    element: tag("figure", {}, tag("ul", {}, ...all.map(({ element }) => element)), tag("figcaption", { className: "quiet", textContent: "distance to each example; its own is blue" })),
    paint({ distances, nearest }, character) {
      for (const { name, bar, number, element } of all) {
        element.className = name === nearest ? "nearest" : "";
        number.textContent = distances[name].toFixed(1);
        bar.style.setProperty("--distance", distances[name]);
        bar.style.background = COLORS[name === character ? 0 : 1];
      }
    },
  };
}

const STYLE = `
  label[hidden] { display: none; }
  .sliders { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 0 1.5rem; }
  .sliders label:not([hidden]) { display: grid; grid-template-columns: 5.2rem minmax(0, 1fr) 4.2rem; }
  .sliders input { width: 100%; }
  .parts { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: end; }
  figure { flex: 1 1 8rem; max-width: 11rem; margin: 0; }
  figure:last-child { flex: 1 1 18rem; max-width: none; }
  figcaption { line-height: 1.3; text-align: center; font-size: 0.85em; margin-top: 0.2rem; }
  ul { display: flex; gap: 0.15rem; height: 9.6rem; list-style: none; margin: 0; padding: 0; }
  li { flex: 1 1 0; min-width: 0; display: flex; flex-direction: column-reverse; align-items: center; }
  li .value { min-width: 0; font-size: 0.8rem; }
  .example { display: flex; max-width: 2rem; border: 2px solid transparent; border-radius: 0.25rem; }
  .example canvas { width: 100%; }
  .distance { width: 70%; max-width: 1.4rem; height: calc(0.85rem * var(--distance)); border-radius: 0.2rem 0.2rem 0 0; opacity: 0.45; }
  .nearest { font-weight: 650; }
  .nearest .example { border-color: currentColor; }
  .nearest .distance { opacity: 1; }
`;

/** The network and the examples, once its file is here. */
function prepare(figure) {
  figure.network = readConv4(figure.bytes["conv4.f16.bin"]);
  figure.examples = support(figure.network);
}

const named = Object.fromEntries(NAMES.map((name) => [name, name]));
export default playground("augmentation-player", DEFAULTS, build, { choices: { character: named, partner: named, mix: MIXES }, files: ["conv4.f16.bin"], prepare, style: STYLE });
