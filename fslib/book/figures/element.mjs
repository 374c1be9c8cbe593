// What the figures are made of: elements, controls, marks, and their look.

/** An HTML element. Properties are set as such, those under `attributes` as attributes. */
export function tag(name, { attributes = {}, style = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  for (const [key, value] of Object.entries(style)) element.style.setProperty(key, value);
  element.append(...children);
  return element;
}

/** An element of a drawing. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function button(label, onclick, attributes = {}) {
  const element = tag("button", { type: "button", textContent: label, attributes });
  element.onclick = () => element.getAttribute("aria-disabled") !== "true" && onclick();
  return element;
}

/** Let a button be pressed, or not. It keeps the focus, which a disabled one would lose. */
export const allow = (button, allowed) => button.setAttribute("aria-disabled", String(!allowed));

/** A labelled choice: options are [value, label] pairs. */
export function choice(label, options, value, onchange) {
  const select = tag("select", { onchange: () => onchange(select.value) });
  select.append(...options.map(([key, text]) => tag("option", { value: key, textContent: text, selected: key === value })));
  return tag("label", {}, `${label} `, select);
}

/** A labelled slider that shows its value. */
export function slider(label, { min, max, step }, value, onchange, show = String) {
  const shown = tag("span", { className: "value", textContent: show(value), attributes: { "aria-hidden": "true" } }); // no part of the name
  const input = tag("input", { type: "range", min, max, step, value });
  input.oninput = () => {
    shown.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
    onchange(Number(input.value));
  };
  input.setAttribute("aria-valuetext", shown.textContent);
  return tag("label", {}, `${label} `, input, shown);
}

/** What a playground says, `say(…)`: at once to the eye, and to a screen reader when it has not changed for a while. */
export function speech() {
  const shown = tag("p"), told = tag("output", { className: "hidden", attributes: { "aria-live": "polite" } });
  let telling;
  return {
    element: tag("div", {}, shown, told),
    say(...content) {
      shown.replaceChildren(...content);
      clearTimeout(telling);
      telling = setTimeout(() => (told.textContent = shown.textContent), PAUSE);
    },
  };
}

export const PAUSE = 400; // milliseconds of rest, before a screen reader is told

/** The same function at most once a frame, however often it is asked for. */
export function onceAFrame(paint) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  };
}

// As in fslib.book.plots: colours that readers of every kind of colour vision tell apart, and a shape for each.
export const HUES = ["#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377"];
export const themed = (number, hue) => `var(--ltc-class-${number}, ${hue})`; // in the dark, a page's style sheet has lighter ones
export const COLORS = HUES.map((hue, c) => themed(c, hue));
export const INK = "currentColor"; // of a drawing: dark on light, or the other way round
export const PAPER = "var(--paper)";
const SHAPES = ["circle", "square", "triangle", "diamond", "cross"];
export const NAMES = ["circles", "squares", "triangles", "diamonds", "crosses"];

/** The outline of a class's mark around a place, as the `d` of an SVG path. */
export function mark(kind, x, y, r) {
  switch (SHAPES[kind % SHAPES.length]) {
    case "circle": return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
    case "square": return `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`;
    case "triangle": return `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.1 * r}h${-2.4 * r}z`;
    case "diamond": return `M${x} ${y - 1.35 * r}l${1.35 * r} ${1.35 * r}l${-1.35 * r} ${1.35 * r}l${-1.35 * r} ${-1.35 * r}z`;
    default: {
      const a = r / 2.4, b = r - a;
      return `M${x - a} ${y - r}h${2 * a}v${b}h${b}v${2 * a}h${-b}v${b}h${-2 * a}v${-b}h${-b}v${-2 * a}h${b}z`;
    }
  }
}

// One mark a role, in all figures. A class has its colour and shape. A full mark is a support example, a small hollow one
// a query of a known class, a large pale one a prototype. A star is the one query that is asked about, and a thin cross
// over a query is a wrong answer.

/** A query whose class is asked for, as the `d` of an SVG path. */
export function star(x, y, r) {
  const corners = Array.from({ length: 10 }, (_, i) => {
    const angle = (Math.PI * i) / 5, far = i % 2 ? 0.5 * r : r;
    return `${x + far * Math.sin(angle)} ${y - far * Math.cos(angle)}`;
  });
  return `M${corners.join("L")}z`;
}

/** What lies over a query that is answered wrong, as the `d` of an SVG path. */
export const wrong = (x, y, r = 7) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;
export const WRONG = { fill: "none", stroke: INK, "stroke-width": 1.5, "pointer-events": "none" };

/** How a prototype looks, but for its place. */
export const prototype = (c) => ({ fill: PAPER, "fill-opacity": 0.6, stroke: COLORS[c], "stroke-width": 3 });

/**
 * Let a mark in a drawing be dragged by mouse, finger, pen or arrow keys.
 * `place()` tells where it is, in the drawing's own units, and `move(x, y)` puts it elsewhere. Where there is a `tap`,
 * it is called when the mark is touched so many `times` and not dragged, and by Enter and Space.
 */
export function draggable(node, drawing, place, move, tap, times = 1) {
  const at = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    return [point.x, point.y];
  };
  let began = null, dragged = false;
  node.style.touchAction = "none"; // which not all browsers heed inside of a drawing
  node.addEventListener("touchmove", (event) => event.preventDefault(), { passive: false });
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    node.focus({ preventScroll: true });
    node.setPointerCapture(event.pointerId);
    [began, dragged] = [[event.clientX, event.clientY], false];
  });
  node.addEventListener("pointermove", (event) => {
    if (!began) return;
    dragged ||= Math.hypot(event.clientX - began[0], event.clientY - began[1]) > SLACK;
    if (dragged) move(...at(event));
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (began = null));
  node.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (direction) {
      const [x, y] = place(), far = event.shiftKey ? 4 * STEP : STEP;
      move(x + far * direction[0], y + far * direction[1]);
    } else if (tap && (event.key === "Enter" || event.key === " ")) tap();
    else return;
    event.preventDefault();
  });
  if (!tap) return;
  node.addEventListener("click", ({ detail: count }) => { // of a pointer, after it went up, or of an assistive device: count 0
    if (!dragged && (count === 0 || count === times)) tap();
    dragged = false;
  });
}

const STEP = 6; // of an arrow key, in the drawing's units
const SLACK = 3; // pixels that a finger may tremble before it drags

export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const STYLE = `
  * { box-sizing: border-box; }
  .live {
    font: inherit; font-size: 0.92rem; line-height: 1.45; color: var(--pst-color-text-base, #1f2430);
    border: 1px solid var(--ltc-line, #ccc); border-radius: 0.6rem; padding: 1rem; margin: 1.25rem 0;
    background: var(--ltc-soft, #fff); /* in a notebook, light paper, also where that is dark */
    --paper: var(--pst-color-background, #fff);
  }
  .bar { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; margin-bottom: 0.75rem; }
  .bar:last-child { margin: 0.75rem 0 0; }
  .tools button { font-size: 0.85em; min-height: 1.9rem; }
  label { display: inline-flex; align-items: center; gap: 0.4rem; min-height: 2.2rem; max-width: 100%; }
  select { min-width: 0; }
  button, select {
    font: inherit; color: inherit; min-height: 2.2rem; padding: 0.15rem 0.7rem; border-radius: 0.4rem;
    border: 1px solid var(--ltc-quiet, #777); background: var(--pst-color-background, #fff); cursor: pointer;
  }
  button:hover:not([aria-disabled="true"]) { border-color: var(--pst-color-primary, #3454c5); color: var(--pst-color-primary, #3454c5); }
  button[aria-pressed="true"] { border-color: var(--pst-color-primary, #3454c5); box-shadow: inset 0 0 0 1px var(--pst-color-primary, #3454c5); }
  button[aria-disabled="true"] { opacity: 0.5; cursor: default; }
  input { accent-color: var(--pst-color-primary, #3454c5); }
  input[type="range"] { width: 7.5rem; }
  input[type="checkbox"] { width: 1.1rem; height: 1.1rem; margin: 0; }
  .value { font-variant-numeric: tabular-nums; min-width: 2.5em; }
  :focus-visible { outline: 3px solid var(--pst-color-primary, #3454c5); outline-offset: 2px; }
  svg { display: block; max-width: 100%; height: auto; touch-action: pan-y; user-select: none; }
  svg [tabindex] { cursor: grab; }
  .plane {
    position: relative; border: 1px solid var(--ltc-line, #ccc); border-radius: 0.5rem; overflow: hidden; background: var(--paper);
  }
  .plane canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
  .plane svg { position: relative; width: 100%; }
  p { margin: 0.6rem 0 0; }
  strong { font-weight: 650; }
  .quiet { color: var(--ltc-quiet, #5a6275); }
  .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.25rem 0.5rem 0.25rem 0; text-align: left; font-weight: inherit; }
  table { margin-bottom: 0.5rem; }
  thead th { color: var(--ltc-quiet, #5a6275); font-size: 0.85em; }
  .number { text-align: right; }
  @media (prefers-reduced-motion: no-preference) { .fill { transition: width 0.12s; } }
  @media print { .bar, .help, button { display: none; } }
`;
