// Chapter 1: move a character, and see what the pixels think of it, and what a trained network thinks.

import { COUNT, draw } from "./alphabet.mjs";
import { euclidean } from "./compare.mjs";
import { embed, readConv4 } from "./conv4.mjs";
import { COLORS, INK, button, svg, tag } from "./element.mjs";
import { playground } from "./playground.mjs";
import { FRAME, PEN, SIDE, rasterize } from "./raster.mjs";

const REACH = 30; // how far a character can be moved
export const DEFAULTS = { character: 1, right: 12, down: 0 };
const OTHERS = [...Array(COUNT).keys()];

const moved = (strokes, right, down) => strokes.map((stroke) => stroke.map(([x, y]) => [x + right, y + down]));

/** Distances from a character to itself, moved, and to the nearest other character, in the space of `look`. */
export function distances({ character, right, down }, look) {
  const here = look(rasterize(draw(character, 0)));
  const self = euclidean(here, look(rasterize(moved(draw(character, 0), right, down))));
  const others = OTHERS.filter((other) => other !== character)
    .map((other) => ({ other, distance: euclidean(here, look(rasterize(draw(other, 0)))) }));
  return { self, ...others.reduce((best, one) => (one.distance < best.distance ? one : best)) };
}

function build(figure) {
  figure.state.character = Math.abs(Math.trunc(figure.state.character)) % COUNT;
  const network = readConv4(figure.bytes["conv4.f16.bin"]);
  const rows = tag("tbody"), { said } = figure;
  const pictures = ["a character", "the same, moved", "the other that is nearest in pixels"].map(picture);
  const limits = { min: -REACH, max: REACH, step: 1 };
  const pixels = (v) => `${((v * SIDE) / FRAME).toFixed(1)} px`;
  figure.body.append(
    tag("div", { className: "bar" },
      figure.slider("Right", "right", limits, pixels),
      figure.slider("Down", "down", limits, pixels),
      button("Another character", () => figure.set({ character: (figure.state.character + 1) % COUNT }))),
    tag("div", { className: "pictures" }, ...pictures.map(({ element }) => element)),
    tag("p", { className: "quiet", textContent: "What leaves the frame is pale: no part of the picture that is compared." }),
    tag("table", {},
      tag("caption", { className: "hidden", textContent: "Distances from the character" }),
      tag("thead", {}, tag("tr", {}, ...["compared by", "to itself, moved", "to the nearest other"].map((text) => tag("th", { textContent: text, attributes: { scope: "col" } })))),
      rows),
    said.element);

  return (state) => {
    const spaces = {
      pixels: distances(state, Array.from),
      "a trained network": distances(state, (picture) => Array.from(embed(network, picture))),
    };
    const line = (strokes) => strokes.map((points) => `M${points.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L")}`).join("");
    const original = draw(state.character, 0);
    [original, moved(original, state.right, state.down), draw(spaces.pixels.other, 0)]
      .forEach((strokes, i) => pictures[i].draw(line(strokes)));
    rows.replaceChildren(...Object.entries(spaces).map(([name, { self, distance }]) => {
      const most = Math.max(self, distance);
      const bar = (value, color) => tag("td", {},
        tag("span", { style: { display: "inline-block", height: "0.75em", "border-radius": "0.2rem", background: color, width: `${(5 * value) / most}rem`, "margin-right": "0.5rem" } }),
        value.toFixed(2));
      return tag("tr", {}, tag("th", { textContent: name, attributes: { scope: "row" } }), bar(self, COLORS[0]), bar(distance, COLORS[1]));
    }));
    said.say(tag("strong", { textContent: Object.entries(spaces).map(([name, one]) => verdict(name, one)).join(" ") }));
  };
}

const verdict = (name, { self, distance }) => (self < distance
  ? `By ${name}, its own moved image is nearer than any other character.`
  : `By ${name}, another character is nearer than its own moved image.`);

/** A picture with its caption, and `draw(d)`, which puts ink on it; beyond its frame, as far as one can move, ink is pale. */
function picture(caption) {
  const look = { fill: "none", stroke: INK, "stroke-width": PEN, "stroke-linecap": "round", "stroke-linejoin": "round" };
  const inks = [svg("path", { ...look, "stroke-opacity": 0.25 }), svg("path", look)];
  const inside = svg("svg", { width: FRAME, height: FRAME, viewBox: `0 0 ${FRAME} ${FRAME}`, style: "height: auto" }, inks[1]);
  const frame = svg("rect", { width: FRAME, height: FRAME, rx: 4, fill: "var(--paper)", stroke: INK, "stroke-opacity": 0.6 });
  const side = FRAME + 2 * REACH;
  return {
    element: tag("figure", {},
      svg("svg", { viewBox: `${-REACH} ${-REACH} ${side} ${side}`, role: "img", "aria-label": caption }, frame, inks[0], inside),
      tag("figcaption", { className: "quiet", textContent: caption })),
    draw: (d) => inks.forEach((ink) => ink.setAttribute("d", d)),
  };
}

const STYLE = `
  .pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 10rem)); gap: 0.5rem; }
  figure { margin: 0; }
  figcaption { line-height: 1.3; text-align: center; }
`;

export default playground("shift-player", DEFAULTS, build, { files: ["conv4.f16.bin"], style: STYLE });
