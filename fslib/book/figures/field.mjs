// A piece of the plane: regions of classes, painted, under marks that the reader drags.

import { HUES, PAPER, draggable, svg, tag } from "./element.mjs";

const RGB = HUES.map((hue) => [1, 3, 5].map((at) => parseInt(hue.slice(at, at + 2), 16)));
const COVER = 0.45; // how much of the paper the colour of a sure class covers

/**
 * A field of `width` × `height` with the origin in its middle. One is `unit` long in the drawing, and as many as
 * `cells` places are painted along it.
 */
export function field(label, { width, height, unit, cells = 20 }) {
  const right = width * unit, bottom = height * unit;
  const canvas = tag("canvas", { width: width * cells, height: height * cells, attributes: { "aria-hidden": "true" } });
  const drawing = svg("svg", { viewBox: `0 0 ${right} ${bottom}`, role: "group", "aria-label": label });
  const toDrawing = ([x, y]) => [right / 2 + unit * x, bottom / 2 - unit * y];
  const toPlane = (x, y) => [(x - right / 2) / unit, (bottom / 2 - y) / unit];
  const inside = (x, y) => toPlane(Math.min(right - 8, Math.max(8, x)), Math.min(bottom - 8, Math.max(8, y)));
  return {
    element: tag("div", { className: "plane" }, canvas, drawing),
    drawing,
    toDrawing,

    /**
     * A mark that can be dragged: `place()` tells where it is in the plane, and `move(point)` puts it elsewhere.
     * `tap()`, if given, is what it does when it is only touched; without, it takes arrow keys and is no button.
     */
    handle(name, fill, place, move, tap) {
      const node = svg("path", { fill, stroke: PAPER, "stroke-width": 1.5, tabindex: 0, role: tap ? "button" : "application", "aria-label": name });
      draggable(node, drawing, () => toDrawing(place()), (x, y) => move(inside(x, y)), tap);
      return drawing.appendChild(node);
    },

    /** Paint each place in the classes' colours, mixed as `shares(place)` says; what they leave of 1 is left to the paper. */
    paint(shares) {
      const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
      for (let row = 0, at = 0; row < canvas.height; row++) {
        for (let column = 0; column < canvas.width; column++, at += 4) {
          const here = shares(toPlane(((column + 0.5) / canvas.width) * right, ((row + 0.5) / canvas.height) * bottom));
          const all = here.reduce((total, share) => total + share);
          for (let i = 0; i < 3; i++) image.data[at + i] = here.reduce((total, share, c) => total + share * RGB[c][i], 0) / all;
          image.data[at + 3] = 255 * COVER * all;
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}

/** Half of the colour is the winner's, so that borders show, however unsure the probabilities are on either side. */
export function decided(shares) {
  const winner = shares.indexOf(Math.max(...shares));
  return shares.map((share, c) => (share + (c === winner)) / 2);
}
