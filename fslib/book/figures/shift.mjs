// Chapter 1: move a character, and see what the pixels think of it, and what a trained network thinks.

import { COUNT, draw } from "./alphabet.mjs";
import { euclidean } from "./compare.mjs";
import { embed, readConv4 } from "./conv4.mjs";
import { COLORS, button, svg, tag } from "./element.mjs";
import { playground } from "./playground.mjs";
import { FRAME, PEN, SIDE, rasterize } from "./raster.mjs";

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
  const pictures = ["a character", "the same, moved", "the other that is nearest in pixels"].map((caption) => {
    const ink = svg("path", { fill: "none", stroke: "currentColor", "stroke-width": PEN, "stroke-linecap": "round", "stroke-linejoin": "round" });
    const frame = svg("svg", { viewBox: `0 0 ${FRAME} ${FRAME}`, width: 105, role: "img", "aria-label": caption }, ink);
    return { ink, figure: tag("figure", { style: { margin: "0", width: "7.5rem" } }, frame, tag("figcaption", { className: "quiet", textContent: caption })) };
  });
  for (const { figure } of pictures) figure.firstChild.setAttribute("style", "border:1px solid var(--ltc-quiet,#777);border-radius:.4rem;background:var(--pst-color-background,#fff)");
  const limits = { min: -30, max: 30, step: 1 };
  const pixels = (v) => `${((v * SIDE) / FRAME).toFixed(1)} px`;
  figure.body.append(
    tag("div", { className: "bar" },
      figure.slider("Right", "right", limits, pixels),
      figure.slider("Down", "down", limits, pixels),
      button("Another character", () => figure.set({ character: (figure.state.character + 1) % COUNT }))),
    tag("div", { className: "bar" }, ...pictures.map(({ figure }) => figure)),
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
      .forEach((strokes, i) => pictures[i].ink.setAttribute("d", line(strokes)));
    rows.replaceChildren(...Object.entries(spaces).map(([name, { self, distance }]) => {
      const most = Math.max(self, distance);
      const bar = (value, color) => tag("td", {},
        tag("span", { style: { display: "inline-block", height: "0.75em", "border-radius": "0.2rem", background: color, width: `${(5 * value) / most}rem`, "margin-right": "0.5rem" } }),
        value.toFixed(2));
      return tag("tr", {}, tag("th", { textContent: name, attributes: { scope: "row" } }), bar(self, COLORS[0]), bar(distance, COLORS[1]));
    }));
    const right = (one) => one.self < one.distance;
    const verdict = Object.entries(spaces).map(([name, one]) => `By ${name}, ${right(one) ? "it is still nearest to itself" : "another character is nearer than itself"}.`);
    said.say(tag("strong", { textContent: verdict.join(" ") }));
  };
}

export default playground("shift-player", DEFAULTS, build, { files: ["conv4.f16.bin"] });
