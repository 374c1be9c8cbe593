// Pictures as marks in a plane. One may be chosen, by a pointer, a touch or keys, and then shows its picture.

import { ARROWS, PAPER, svg } from "./element.mjs";

export const WIDTH = 480; // of the drawing
export const HEIGHT = 460; // if nothing else is said
const SIDE = 28, SHOWN = 60; // of a picture, in its pixels and in the drawing
const NEAR = 20; // the farthest from a mark, in the drawing, at which a pointer means it

/** Pictures that are parts of one, so many in `each` row, a row for each character. */
export function album({ sprite, each, names }) {
  // But for the half pixel around it in which its neighbours shine through.
  const cut = (i) => `${SIDE * (i % each) + 0.5} ${SIDE * Math.floor(i / each) + 0.5} ${SIDE - 1} ${SIDE - 1}`;
  return {
    each,
    cut,
    picture: (i, attributes) =>
      svg("svg", { viewBox: cut(i), ...attributes }, svg("image", { href: sprite, width: SIDE * each, height: SIDE * names.length })),
  };
}

/**
 * The drawing, and `move(to)`, which puts its marks where they belong. `signs` are the marks of the pictures of the album
 * as they look around the origin, each with its `color` and its `name`. Arrow keys go to the next picture of a row, or
 * to the next row. What is `over` the marks should take no pointer.
 */
export function dots(label, { each, cut, picture: cutOut }, signs, { height = HEIGHT, over = [] } = {}) {
  const nodes = signs.map(({ sign, name }, i) => {
    for (const [key, value] of Object.entries({ tabindex: i ? -1 : 0, role: "option", "aria-selected": "false", "aria-label": name })) sign.setAttribute(key, value);
    return sign;
  });
  const picture = cutOut(0, { x: 0, y: 0, width: SHOWN, height: SHOWN, style: `height: ${SHOWN}px` });
  const frame = svg("rect", { x: -3, y: -3, width: SHOWN + 6, height: SHOWN + 6, rx: 4, fill: PAPER, "stroke-width": 2 });
  const shown = svg("g", { "pointer-events": "none", "aria-hidden": "true", visibility: "hidden" }, frame, picture);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "listbox", "aria-label": label, class: "dots" }, ...nodes, ...over, shown);
  let spots = [], chosen = null;

  const choose = (i) => {
    if (chosen !== null) nodes[chosen].setAttribute("aria-selected", "false");
    chosen = i;
    shown.setAttribute("visibility", i === null ? "hidden" : "visible");
    if (i === null) return;
    nodes.forEach((node, j) => node.setAttribute("tabindex", i === j ? 0 : -1));
    nodes[i].setAttribute("aria-selected", "true");
    picture.setAttribute("viewBox", cut(i));
    frame.setAttribute("stroke", signs[i].color);
    const [x, y] = spots[i], above = y - SHOWN - 16;
    shown.setAttribute("transform", `translate(${Math.min(WIDTH - SHOWN - 5, Math.max(5, x - SHOWN / 2))} ${above < 5 ? y + 16 : above})`);
  };
  const focused = () => {
    const i = nodes.indexOf(drawing.getRootNode().activeElement);
    return i < 0 ? null : i;
  };
  const under = (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const far = spots.map((spot) => Math.hypot(spot[0] - x, spot[1] - y)), least = Math.min(...far);
    return least < NEAR ? far.indexOf(least) : focused();
  };
  for (const kind of ["pointermove", "pointerdown"]) drawing.addEventListener(kind, (event) => choose(under(event)));
  drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(focused()));
  drawing.addEventListener("focusin", () => choose(focused()));
  drawing.addEventListener("focusout", () => choose(null));
  drawing.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction || focused() === null) return;
    event.preventDefault();
    nodes[(focused() + direction[0] + each * direction[1] + nodes.length) % nodes.length].focus();
  });
  return {
    drawing,
    move(to) {
      spots = to;
      nodes.forEach((node, i) => (node.style.transform = `translate(${spots[i].map((v) => `${v.toFixed(1)}px`).join(",")})`));
      if (chosen !== null) choose(chosen);
    },
  };
}

/** The look of the drawing, and of what stands beside it. */
export const DOTS = `
  .parts { display: flex; flex-wrap: wrap; gap: 0.75rem; align-items: stretch; }
  .parts > :first-child { flex: 4 1 18rem; }
  .plane image { filter: invert(calc(0.93 * var(--ltc-dark, 0))); }
  .dots [role="option"] { cursor: default; }
  .dots [aria-selected="true"] { stroke: currentColor; stroke-width: 2; }
`;
