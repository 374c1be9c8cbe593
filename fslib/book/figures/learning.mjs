// The first page: an embedding while it is learned. Each point is an image of a character that is not trained on.

import { DOTS, HEIGHT, WIDTH, album, dots } from "./dots.mjs";
import { COLORS, PAPER, button, mark, slider, svg, tag, themed } from "./element.mjs";
import data from "./learning_data.mjs";
import { playground } from "./playground.mjs";

const { names, each, steps, nearest, dimensions } = data;
const COUNT = names.length * each;
const PLACES = Int8Array.from(atob(data.places), (byte) => byte.charCodeAt(0)); // hundredths: moment, image, x and y
const UNIT = 2; // of a hundredth, in the drawing
const PACE = 380; // milliseconds from moment to moment; a screen reader is told where it stops
const MORE = ["#EE7733", "#332288", "#44AA99", "#555555", "#33BBEE"].map((hue, i) => themed(COLORS.length + i, hue)); // for the hollow marks; of the same author as COLORS
export const DEFAULTS = { step: 0 };

/** Which of the moments is nearest to a number of tasks. */
export const moment = (tasks) =>
  steps.reduce((best, step, i) => (Math.abs(step - tasks) < Math.abs(steps[best] - tasks) ? i : best), 0);

/** Where each image is at a moment, in mean distances of an image from the centre. */
export const places = (at) =>
  Array.from({ length: COUNT }, (_, i) => [0, 1].map((axis) => PLACES[2 * (COUNT * at + i) + axis] / 100));

/** What the figure says of a moment. */
export const sentence = (at) => [
  steps[at] ? `After ${steps[at]} ${steps[at] === 1 ? "task" : "tasks"}, ` : "Before training, ",
  `${nearest[at]} of ${COUNT} images`,
  ` have an image of their own character as nearest neighbour, in all ${dimensions} dimensions.`,
];

const toDrawing = ([x, y]) => [WIDTH / 2 + 100 * UNIT * x, HEIGHT / 2 - 100 * UNIT * y];
const character = (i) => Math.floor(i / each);

const color = (c) => [...COLORS, ...MORE][c];

/** The mark of a character, around the origin: five full ones, then five hollow ones, each in its own colour. */
function sign(c, attributes = {}) {
  const hollow = c >= COLORS.length;
  const look = hollow ? { fill: PAPER, stroke: color(c), "stroke-width": 2.2 } : { fill: color(c), stroke: PAPER };
  return svg("path", { d: mark(c, 0, 0, hollow ? 4.6 : 5.4), ...look, ...attributes });
}

const images = album(data);

/** The first image of each character, beside its mark. */
const legend = () => tag("div", { className: "plane legend" }, ...names.map((name, c) =>
  svg("svg", { viewBox: "0 0 64 42", role: "img", "aria-label": name },
    sign(c, { transform: "translate(11 21) scale(1.2)" }), images.picture(c * each, { x: 22, y: 1, width: 40, height: 40, style: "height: 40px" }))));

function build(figure) {
  const { said } = figure;
  const at = moment(figure.state.step);
  figure.state.step = steps[at];
  const setting = slider("Training tasks", { min: 0, max: steps.length - 1, step: 1 }, at, (i) => figure.set({ step: steps[i] }), (i) => steps[i]);
  const plane = points();
  figure.body.append(
    tag("div", { className: "bar" }, player(setting.querySelector("input")), setting),
    tag("div", { className: "parts" }, tag("div", { className: "plane" }, plane.drawing), legend()),
    said.element,
    tag("p", { className: "quiet", textContent: "Point at a mark, touch it, or choose one with Tab and the arrow keys, to see its image. " +
      "The plane is the same at every step, that of the first two principal components of the last embedding. Groups that overlap in it can lie apart " +
      "in other dimensions. At each step the embedding is centred and divided by the mean distance of its points from the centre." }));

  return (now) => {
    const here = moment(now.step), [when, count, rest] = sentence(here);
    plane.move(places(here).map(toDrawing));
    said.say(tag("strong", { textContent: when + count }), rest);
  };
}

/** A button that moves a slider on, place by place, until it is pressed again; at the end, from the start. */
function player(input) {
  let playing;
  const rest = () => {
    clearInterval(playing);
    playing = null;
    start.textContent = "Play";
  };
  const go = (value) => {
    input.value = value;
    input.dispatchEvent(new Event("input"));
    if (Number(input.value) >= Number(input.max)) rest();
  };
  const start = button("Play", () => {
    if (playing) return rest();
    start.textContent = "Pause";
    playing = setInterval(() => (input.isConnected ? go(Number(input.value) + 1) : rest()), PACE);
    if (input.value === input.max) go(0);
  });
  return start;
}

/** The drawing: a mark for each image. */
const points = () => dots(`The ${COUNT} images in the plane`, images, Array.from({ length: COUNT }, (_, i) => {
  const c = character(i);
  return { sign: sign(c), color: color(c), name: `${names[c]}, image ${(i % each) + 1} of ${each}` };
}));

const STYLE = `${DOTS}
  .legend { flex: 1 1 9rem; display: grid; grid-template-columns: repeat(auto-fit, minmax(3.6rem, 1fr)); align-content: space-evenly; gap: 0.2rem; padding: 0.3rem; }
  .bar input { width: 9.5rem; }
  @media (prefers-reduced-motion: no-preference) { .dots [role="option"] { transition: transform ${PACE}ms linear; } }
`;

export default playground("learning-player", DEFAULTS, build, { style: STYLE });
