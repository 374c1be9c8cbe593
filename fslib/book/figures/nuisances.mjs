// Chapter 12: turn down what tells the weight of a letter, and see its faces merge. What does it help, and what remains?

import { dot, squaredEuclidean } from "./compare.mjs";
import { floats } from "./conv4.mjs";
import { DOTS, WIDTH, album, dots } from "./dots.mjs";
import { COLORS, PAPER, mark, svg, tag } from "./element.mjs";
import data from "./nuisances_data.mjs";
import { playground } from "./playground.mjs";

const { names, each, values, faces } = data;
const COUNT = names.length * each, DIMENSIONS = 64;
const NETWORKS = { pixels: "raw pixels", untrained: "untrained Conv-4", prototypical: "Prototypical Network", supcon: "SupCon network" };
const TURNED = { weight: "weight", family: "family", slant: "slant", character: "the character" };
const PLURAL = { weight: "weights", family: "families", slant: "slants" };
const MOST = 1.5; // of the slider
const HEIGHT = 380, MARGIN = 16; // of the drawing, and around the marks in it
export const DEFAULTS = { network: "prototypical", turned: "weight", level: 1 };

const indices = [...Array(COUNT).keys()];
const character = (i) => Math.floor(i / each), face = (i) => i % each;
const marked = (turned) => (turned in values ? turned : "weight"); // the attribute that is read
const value = (attribute, i) => faces[attribute][face(i)];

/** What make_nuisances.py wrote, float16: of each network its pictures, and of each thing to turn what `turn` takes. */
export function readScenes(buffer) {
  const numbers = floats(buffer), ranks = Object.keys(TURNED).map((key) => (values[key] ?? names).length - 1);
  let at = 0;
  const take = (count) => Array.from({ length: count }, () => Array.from(numbers.subarray(at, (at += DIMENSIONS))));
  const scene = () => ({
    points: take(COUNT),
    ...Object.fromEntries(Object.keys(TURNED).map((key, k) =>
      [key, { means: take(values[key]?.length ?? 0), moves: take(ranks[k]), reads: take(ranks[k]), plane: take(2) }])),
  });
  const scenes = Object.fromEntries(Object.keys(NETWORKS).map((network) => [network, scene()]));
  if (at !== numbers.length) throw new Error(`These are not the pictures of five characters: ${numbers.length} numbers.`);
  return scenes;
}

/** A point with what is turned at a level: x ↦ x − (1 − level) Σ move (read · x), at 0 without, at 1 as it is. */
export function turn(point, { moves, reads }, level) {
  const turned = [...point];
  moves.forEach((move, k) => {
    const less = (1 - level) * dot(reads[k], point);
    for (let i = 0; i < turned.length; i++) turned[i] -= less * move[i];
  });
  return turned;
}

const offers = { // which pictures are offered to another one, of which it finds the nearest
  face: () => (i, j) => face(i) !== face(j),
  across: (attribute) => (i, j) => (character(i) === character(j)) !== (value(attribute, i) === value(attribute, j)),
};

/**
 * Of how many pictures the nearest one is of the same character: of all in another `face`, and `across` values, where its
 * own character is offered in other values of the attribute, and the others in its own. And of how many the value can be
 * `read`, as that of the nearest training mean.
 */
export function counts(scene, turned, level) {
  const attribute = marked(turned), own = attribute === turned;
  const points = scene.points.map((point) => turn(point, scene[turned], level));
  const apart = points.map((a) => points.map((b) => squaredEuclidean(a, b)));
  const finds = (offered) => indices.filter((i) => {
    const others = indices.filter((j) => offered(i, j));
    return character(others.reduce((best, j) => (apart[i][j] < apart[i][best] ? j : best))) === character(i);
  }).length;
  // The means of what is turned itself meet at the origin. Divided by the level, their scores stay apart until they are there.
  const means = scene[attribute].means.map((mean) => (own ? mean : turn(mean, scene[turned], level)));
  const score = (point, mean) => dot(point, mean) - ((own ? level : 1) * dot(mean, mean)) / 2;
  const read = (i) => means.reduce((best, mean, v) => (score(points[i], mean) > score(points[i], means[best]) ? v : best), 0);
  return {
    face: finds(offers.face()), across: finds(offers.across(attribute)),
    read: indices.filter((i) => read(i) === value(attribute, i)).length,
  };
}

/** The counts that come by chance. */
export function chances(turned) {
  const attribute = marked(turned);
  const share = (offered) => {
    const others = indices.filter((j) => offered(0, j)); // alike for all pictures
    return COUNT * others.filter((j) => character(j) === character(0)).length / others.length;
  };
  return { face: share(offers.face()), across: share(offers.across(attribute)), read: COUNT / values[attribute].length };
}

const mean = (places) => [0, 1].map((axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length);

/** Where the pictures are in the plane at a level, around their mean. */
function places({ points, ...scene }, turned, level) {
  const all = points.map((point) => scene[turned].plane.map((axis) => dot(axis, turn(point, scene[turned], level)))), centre = mean(all);
  return all.map((place) => place.map((x, axis) => x - centre[axis]));
}

/** From the plane to the drawing, which has room for the pictures at every level. */
function toDrawing(scene, turned) {
  const all = [0, 1, MOST].flatMap((level) => places(scene, turned, level));
  const farthest = [0, 1].map((axis) => Math.max(...all.map((place) => Math.abs(place[axis]))));
  const scale = Math.min((WIDTH / 2 - MARGIN) / farthest[0], (HEIGHT / 2 - MARGIN) / farthest[1]);
  return ([x, y]) => [WIDTH / 2 + scale * x, HEIGHT / 2 - scale * y];
}

/** An arrow along some places, as the `d` of an SVG path. */
function arrow(ends) {
  const [[x, y], [toX, toY]] = ends.slice(-2), length = Math.hypot(toX - x, toY - y), head = Math.min(9, length / 2) / (length || 1);
  const side = (turn) => [toX + head * (turn * (toY - y) - (toX - x)), toY - head * (turn * (toX - x) + (toY - y))];
  return [ends, [side(0.7), [toX, toY], side(-0.7)]].map((points) => `M${points.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L")}`).join("");
}

/** How a mark of a character shows the value of the attribute: hollow the first, full the last, pale one between them. */
const look = (c, v, count) => ({ stroke: COLORS[c], "stroke-width": 2, fill: v ? COLORS[c] : PAPER, "fill-opacity": v && v < count - 1 ? 0.35 : 1 });
const set = (element, attributes) => Object.entries(attributes).forEach(([key, to]) => element.setAttribute(key, to));

const pictures = album(data);

/** A picture of each character in the first face of each value, beside its mark. */
function legend(attribute) {
  const cell = (c, v, name) => svg("svg", { viewBox: "0 0 64 42", role: "img", "aria-label": `${names[c]}, ${name}` },
    svg("path", { d: mark(c, 11, 21, 6), ...look(c, v, values[attribute].length) }),
    pictures.picture(c * each + faces[attribute].indexOf(v), { x: 22, y: 1, width: 40, height: 40, style: "height: 40px" }));
  return [
    ...values[attribute].map((name) => tag("span", { textContent: name, className: "quiet" })),
    ...names.flatMap((_, c) => values[attribute].map((name, v) => cell(c, v, name)))];
}

const ROWS = {
  face: () => "find their character in another face",
  across: (attribute) => `find it across ${PLURAL[attribute]}`,
  read: (attribute) => `let their ${attribute} be read`,
};
const percent = (level) => `${Math.round(100 * level)}\u00a0%`;

function build(figure) {
  const { said, scenes } = figure;
  const line = (attributes) => svg("path", { fill: "none", "stroke-linecap": "round", "stroke-linejoin": "round", "pointer-events": "none", "aria-hidden": "true", ...attributes });
  const arrows = names.map((_, c) => [line({ stroke: PAPER, "stroke-width": 6 }), line({ stroke: COLORS[c], "stroke-width": 3 })]);
  const signs = indices.map((i) => ({
    sign: svg("path", { d: mark(character(i), 0, 0, 5.2) }), color: COLORS[character(i)],
    name: [names[character(i)], ...Object.keys(values).map((attribute) => values[attribute][value(attribute, i)])].join(", "),
  }));
  const plane = dots(`${COUNT} pictures of ${names.length} characters in the plane`, pictures, signs, { height: HEIGHT, over: arrows.flat() });
  const marks = tag("div", { className: "plane legend" }), rows = tag("tbody"), captions = [0, 1].map(() => tag("p", { className: "quiet" }));
  figure.body.append(
    tag("div", { className: "bar" },
      figure.choice("Seen by", "network"),
      figure.choice("Turn", "turned"),
      figure.slider("Level", "level", { min: 0, max: MOST, step: 0.05 }, percent)),
    tag("div", { className: "parts" }, tag("div", { className: "plane" }, plane.drawing), marks),
    said.element,
    tag("table", {},
      tag("caption", { className: "hidden", textContent: "What the pictures find, and what can be read from them" }),
      tag("thead", {}, tag("tr", {}, ...[`of ${COUNT} pictures`, "now", "at 100\u00a0%", "by chance"].map((text, i) =>
        tag("th", { textContent: text, className: ["", "number", "number was", "number chance"][i], attributes: { scope: "col" } })))),
      rows),
    captions[0],
    tag("details", {}, tag("summary", { className: "quiet", textContent: "How it is made" }), captions[1]));

  let before = {};
  return (now) => {
    const scene = scenes[now.network], attribute = marked(now.turned), count = values[attribute].length;
    if (before.turned !== now.turned) {
      marks.replaceChildren(...legend(attribute));
      marks.style.setProperty("--values", count);
      signs.forEach(({ sign }, i) => set(sign, look(character(i), value(attribute, i), count)));
      explanation(now.turned).forEach((text, i) => (captions[i].textContent = text));
    }
    before = now;
    const spots = places(scene, now.turned, now.level).map(toDrawing(scene, now.turned));
    plane.move(spots);
    arrows.forEach((lines, c) => {
      const ends = values[attribute].map((_, v) => mean(spots.filter((_, i) => character(i) === c && value(attribute, i) === v)));
      lines.forEach((one) => one.setAttribute("d", arrow(ends)));
    });
    const [found, whole, chance] = [counts(scene, now.turned, now.level), counts(scene, now.turned, 1), chances(now.turned)];
    rows.replaceChildren(...Object.entries(ROWS).map(([key, label]) => tag("tr", {},
      tag("th", { attributes: { scope: "row" } }, label(attribute), bar(found[key], whole[key], chance[key])),
      ...[found[key], whole[key], chance[key]].map((text) => tag("td", { className: "number", textContent: text })))));
    said.say(...sentence(now, found, whole, chance));
  };
}

/** What the figure says: of what is turned how much of it is left, and what becomes of the other. */
function sentence({ turned, level }, found, whole, chance) {
  const attribute = marked(turned), was = (key) => (level === 1 ? "." : `; at ${percent(1)} it was ${whole[key]}.`);
  return turned === "character"
    ? [tag("strong", { textContent: `The character at ${percent(level)}: ${found.face} of ${COUNT} pictures find theirs in another face, by chance ${chance.face}. ` }),
      `The ${attribute} can be read from ${found.read}${was("read")}`]
    : [tag("strong", { textContent: `The ${attribute} at ${percent(level)}: it can be read from ${found.read} of ${COUNT} pictures, by chance from ${chance.read}. ` }),
      `${found.across} find their character across ${PLURAL[attribute]}${was("across")}`];
}

/** How to read the figure, and how it is made. */
function explanation(turned) {
  const attribute = marked(turned), [first, ...others] = values[attribute];
  return [
    `An arrow leads from the mean of a character's ${first} pictures to ${others.map((name) => `that of its ${name} ones`).join(" and ")}. ` +
    `Across ${PLURAL[attribute]}, a picture's own character is offered in another ${attribute} only, and the others in its own. ` +
    "Point at a mark, touch it, or choose one with Tab and the arrow keys, to see its picture.",
    (turned === "character"
      ? "Turned are the four directions between the means of these five characters. "
      : `Turned is what LEACE takes away so that no linear classifier reads the ${attribute}; it is fitted on the training characters. `) +
    `The ${attribute} is read as that of the nearest of the ${others.length + 1} means of the training characters. All is counted in all dimensions. ` +
    "The plane shows the two directions in which the means of the five characters lie farthest apart, and over them " +
    (others.length > 1 ? `the two in which the ${PLURAL[attribute]} do.` : `that from ${first} to ${others[0]}, rising to the right.`),
  ];
}

/** A bar as long as a count, with a line where it was and a dotted one where chance is. */
function bar(now, whole, chance) {
  const at = (count) => `${(100 * count) / COUNT}%`;
  return tag("div", { className: "track", attributes: { "aria-hidden": "true" } },
    tag("span", { className: "fill", style: { width: at(now) } }),
    tag("span", { className: "was", style: { left: at(whole) } }), tag("span", { className: "chance", style: { left: at(chance) } }));
}

const STYLE = `${DOTS}
  .parts { container-type: inline-size; }
  .legend { flex: 1 1 9rem; display: grid; grid-template-columns: repeat(var(--values), 1fr); align-content: space-evenly; gap: 0.2rem; padding: 0.3rem; }
  .legend span { align-self: center; text-align: center; font-size: 0.85em; line-height: 1.2; }
  @container (max-width: 27.7rem) { /* below the plane */
    .legend { grid-auto-flow: column; grid-template: repeat(var(--values), auto) / auto; grid-auto-columns: 1fr; }
  }
  .track { position: relative; height: 0.5rem; margin: 0.3rem 0; border-radius: 0.25rem; background: var(--ltc-line, #ccc); }
  .track span { position: absolute; top: -3px; bottom: -3px; }
  .track .fill { inset: 0 auto 0 0; border-radius: 0.25rem; background: var(--pst-color-primary, #3454c5); }
  .track :is(.was, .chance) { margin-left: -1px; border-left: 2px solid; }
  .track .chance { border-left-style: dotted; }
  thead :is(.was, .chance)::before { content: ""; margin-right: 0.3em; border-left: 2px solid; }
  thead .chance::before { border-left-style: dotted; }
  summary { margin-top: 0.6rem; cursor: pointer; }
  tbody td { vertical-align: bottom; line-height: 1; }
  @media (prefers-reduced-motion: no-preference) { .dots [role="option"] { transition: transform 120ms; } }
`;

export default playground("nuisance-slider", DEFAULTS, build, {
  choices: { network: NETWORKS, turned: TURNED }, files: ["nuisances.f16.bin"], style: STYLE,
  prepare: (figure) => (figure.scenes = readScenes(figure.bytes["nuisances.f16.bin"])),
});
