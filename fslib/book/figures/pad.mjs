// Draw your own alphabet: a network that has learned to compare learns it from one to five drawings.
//
// The pad holds a board, the drawings of a support set and a query, and shows what the network makes of it. The work is
// done elsewhere: raster.mjs turns strokes into pictures, conv4.mjs embeds them, compare.mjs and relation.mjs compare, and
// pad_files.mjs saves and opens.

import { COUNT, draw } from "./alphabet.mjs";
import { plain } from "./alphabet_file.mjs";
import { cosineSimilarity, matching, mean, prototypical, softmax } from "./compare.mjs";
import { embed, readConv4 } from "./conv4.mjs";
import { ARROWS, PAUSE, allow, button, choice, pixels, shade, svg, tag, toggle } from "./element.mjs";
import { filesOf } from "./pad_files.mjs";
import { playground } from "./playground.mjs";
import { FRAME, PEN, SIDE, centred, isDrawing, rasterize } from "./raster.mjs";
import { readRelation, relate } from "./relation.mjs";
import { fromHash, toHash } from "./share.mjs";

const FEWEST = { ways: 2, shots: 1 }, MOST = { ways: 10, shots: 5 };
const USUAL = { ways: 3, shots: 1 };
const MIDDLE = [52, 52]; // where the keyboard's pen begins
const FEW = 6; // examples that leave the new drawing in sight of the controls on a phone
const STEPS = 200; // that can be undone
const MATCHING_SCALE = 10; // as fslib.methods.MatchingNetwork has it
/** What a character is called: as its writer says, else by a letter. */
const nameOf = ({ names }, way) => plain(names[way]) || String.fromCharCode(65 + way);
const percent = (share) => (share > 0.995 ? ">\u00a099\u00a0%" : share < 0.005 ? "<\u00a01\u00a0%" : `${(100 * share).toFixed(0)}\u00a0%`);
const list = (names) => new Intl.ListFormat("en-GB").format(names);

// How each method compares: what it measures of a class, and which share of the answer it gives to it.
const METHODS = {
  prototypical: {
    name: "Prototypical Network",
    measure: "squared distance",
    share: "probability",
    answer: (name, _, share) => `The nearest prototype: ${name} (${share}).`,
    compare(support, query) {
      const scores = prototypical(support, query);
      return { measures: scores.map((score) => -score), shares: softmax(scores) };
    },
  },
  matching: {
    name: "Matching Network",
    measure: "highest cosine",
    share: "probability",
    answer: (name, _, share) => `Most of the attention: ${name} (${share}).`,
    compare(support, query) {
      const cosines = support.map((examples) => Math.max(...examples.map((one) => cosineSimilarity(query, one))));
      return { measures: cosines, shares: matching(support, query, MATCHING_SCALE) };
    },
  },
  relation: {
    name: "Relation Network",
    measure: "relation score",
    share: "share of all scores",
    answer: (name, score, share) => `The highest relation score: ${name} (${score.toFixed(2)}). Its share of all scores: ${share}.`,
    remark: "The relation module judges each character by itself, so scores need not sum to one. It was trained over the embedding of the Prototypical Network, which stayed as it was; usually the two are trained together.",
    compare(support, query, relation) {
      const scores = support.map((examples) => relate(relation, mean(examples), query));
      const total = scores.reduce((sum, score) => sum + score, 0);
      return { measures: scores, shares: scores.map((score) => score / total) };
    },
  },
};

// The board: what is drawn, with a place for every example that may be asked for ---------------------------

const places = (drawing) => Array.from({ length: MOST.ways }, (_, way) => Array.from({ length: MOST.shots }, (_, shot) => drawing(way, shot)));
const empty = () => places(() => []);

/** Ready-made characters in every place of the alphabet, each example in another hand. */
const filled = ({ ways, shots, support = empty() }) =>
  places((way, shot) => (way < ways && shot < shots ? draw(way % COUNT, shot) : support[way][shot]));

/** The state, from whatever is asked for: what is not a board, or not a setting, is replaced by the usual. */
export function defaults({ ways, shots, support, query, method, centring, names, writer } = {}) {
  const count = (value, key) => (Number.isInteger(value) && value >= FEWEST[key] && value <= MOST[key] ? value : USUAL[key]);
  const size = { ways: count(ways, "ways"), shots: count(shots, "shots") };
  const drawn = Array.isArray(support) && support.every((drawings) => Array.isArray(drawings) && drawings.every(isDrawing));
  return {
    ...size,
    support: drawn ? places((way, shot) => support[way]?.[shot] ?? []) : filled(size),
    query: isDrawing(query) ? query : [],
    method: Object.keys(METHODS).includes(method) ? method : "prototypical",
    centring: centring !== false,
    names: Array.from({ length: MOST.ways }, (_, way) => (typeof names?.[way] === "string" ? names[way] : "")),
    writer: typeof writer === "string" ? writer : "",
  };
}

const board = ({ ways, shots, support, query, names }) => ({ ways, shots, support, query, names });

/** The examples on a board, class by class, as far as there are any. */
const examples = ({ ways, shots, support }) =>
  support.slice(0, ways).map((drawings) => drawings.slice(0, shots).filter((drawing) => drawing.length));

/** The classes that stand on a board as they come ready-made: the ends of their strokes do, also after a link has rounded them. */
function readyMade({ ways, shots, support }) {
  const ends = (drawing) => drawing.flatMap((stroke) => [...stroke[0], ...stroke.at(-1)]);
  const alike = (a, b) => a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) < 0.5);
  return [...Array(ways).keys()].filter((way) =>
    support[way].slice(0, shots).some((drawing, shot) => alike(ends(drawing), ends(draw(way % COUNT, shot)))));
}

// Links ---------------------------------------------------------------------------------------------------

const write = ({ method, ...state }) => toHash({ ...state, method: Object.keys(METHODS).indexOf(method) });

/** The state of a link, or null where there is none. A damaged one leaves what is there now, and the pad says so. */
function read(hash, now = {}) {
  try {
    const linked = fromHash(hash);
    return linked && { ...linked, method: Object.keys(METHODS)[linked.method] };
  } catch {
    return now;
  }
}

/** What is wrong with a link, if anything is. */
function damage(hash) {
  try {
    fromHash(hash);
    return "";
  } catch (error) {
    return error.message;
  }
}

// The pad -------------------------------------------------------------------------------------------------

class Pad {
  constructor(figure) {
    this.figure = figure;
    Object.assign(figure.state, defaults(figure.state));
    this.history = figure.history ??= []; // of boards, the present one last; it stays when all is built anew
    this.remember(board(figure.state));
    this.stroke = null; // the one that a pointer draws, not on the board before it is done
    this.writing = null; // the square on which the keyboard's pen is down
    this.drawn = 0; // how many drawings were made for the reader
    this.build();
    this.alert.textContent = damage(figure.link);
  }

  get state() {
    return this.figure.state;
  }

  build() {
    this.alert = tag("p", { className: "says", attributes: { role: "alert" } });
    this.note = tag("p", { className: "quiet says", attributes: { role: "status" } });
    this.said = tag("output", { className: "hidden", attributes: { "aria-live": "polite" } });
    this.told = tag("output", { className: "hidden", attributes: { "aria-live": "polite" } });
    this.remark = tag("p", { className: "quiet help" });
    this.answering = tag("p", { className: "quiet help" });
    this.files = filesOf(this);
    this.figure.body.append(tag("section", { attributes: { "aria-label": "Draw your own alphabet" } },
      this.alert, this.settings(), this.tools(), this.note,
      this.columns = tag("div", { className: "columns" }, this.alphabet(), this.newDrawing()),
      this.comparison(),
      this.remark, this.answering, this.said, this.told,
      tag("p", { id: "keys", className: "quiet help", textContent: "Draw with mouse, finger or pen. With the keyboard: arrow keys move, Space lowers and lifts the pen, Delete wipes a drawing, Ctrl+Z takes back." }),
      this.files.element));
    this.figure.body.onkeydown = (event) => {
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.type === "text") return;
      event.preventDefault();
      this.undo();
    };
  }

  settings() {
    const count = (label, key) => choice(
      label, Array.from({ length: MOST[key] - FEWEST[key] + 1 }, (_, i) => [String(FEWEST[key] + i), String(FEWEST[key] + i)]),
      String(this.state[key]), (value) => this.change({ [key]: Number(value) }),
    );
    this.counts = { ways: count("Characters", "ways"), shots: count("Examples", "shots") };
    const methods = Object.entries(METHODS).map(([key, { name }]) => [key, name]);
    return tag("div", { className: "bar" }, ...Object.values(this.counts),
      choice("Compare by", methods, this.state.method, (method) => this.set({ method })));
  }

  tools() {
    this.undoButton = button("Undo", () => this.undo());
    this.centring = toggle("Centre and scale", this.state.centring, (centring) => this.set({ centring }));
    this.centring.title = "Move each drawing to the middle and give it the usual size";
    return tag("div", { className: "bar" },
      button("Ready-made characters", () => this.change({ support: filled(this.state) })),
      button("Draw one for me", () => this.drawOne()),
      this.undoButton,
      button("Clear all", () => this.change({ support: empty(), query: [] })),
      this.centring);
  }

  alphabet() {
    const put = (way, shot, drawing) => ({ support: this.state.support.map((drawings, w) => (w === way ? drawings.map((old, s) => (s === shot ? drawing : old)) : drawings)) });
    this.surfaces = places((way, shot) => this.surface((state) => `example ${shot + 1} of character ${nameOf(state, way)}`,
      (state) => state.support[way][shot], (drawing) => put(way, shot, drawing)));
    this.classes = this.surfaces.map((surfaces) =>
      tag("div", { className: "class", attributes: { role: "group" } },
        tag("span", { className: "name", attributes: { "aria-hidden": "true" } }),
        ...surfaces.map(({ element }) => element)));
    return tag("div", {}, tag("h3", { textContent: "Your alphabet" }), tag("div", { className: "classes" }, ...this.classes));
  }

  newDrawing() {
    this.query = this.surface(() => "the new drawing", (state) => state.query, (query) => ({ query }));
    this.query.element.classList.add("query");
    this.seen = pixels(SIDE, SIDE, { className: "seen", attributes: { role: "img", "aria-label": "The new drawing as the network sees it, 28 by 28 pixels" } });
    this.answer = tag("p", { className: "answer" });
    return tag("div", { className: "new" }, tag("h3", { textContent: "A new drawing" }),
      tag("div", { className: "pair" }, this.query.element,
        tag("figure", {}, this.seen, tag("figcaption", { className: "quiet", textContent: "what the network sees" }))),
      this.answer);
  }

  comparison() {
    const head = (...content) => tag("th", { attributes: { scope: "col" } }, ...content);
    this.measure = head();
    this.measure.className = "number";
    this.shareHead = head();
    this.rows = tag("tbody");
    return this.table = tag("table", {},
      tag("caption", { className: "hidden", textContent: "How the new drawing compares with each character" }),
      tag("thead", {}, tag("tr", {}, head(tag("span", { className: "hidden", textContent: "Character" })), head("64 numbers"), this.measure, this.shareHead)),
      this.rows);
  }

  /** Change the state. What was said of the one before is no longer true. */
  set(changes) {
    this.note.textContent = this.alert.textContent = "";
    this.figure.set(changes);
  }

  /** Change the board, so that it can be undone. */
  change(changes) {
    this.writing = null;
    const changed = { ...board(this.state), ...changes };
    if (this.remember(changed)) this.set(changed);
    this.figure.repaint();
  }

  /** Keep a board for Undo; tells whether it is another one than before. */
  remember(changed) {
    if (JSON.stringify(changed) === JSON.stringify(this.history.at(-1))) return false;
    this.history.push(changed);
    if (this.history.length > STEPS + 1) this.history.shift();
    return true;
  }

  undo() {
    this.writing = null;
    if (this.stroke) this.stroke = null;
    else if (this.history.length > 1) {
      this.history.pop();
      this.set(this.history.at(-1));
    }
    this.figure.repaint();
  }

  /** What a file keeps: the writer, and of each character its name and its drawings. */
  content() {
    const { writer, centring } = this.state, drawn = examples(this.state);
    return { writer, centring, classes: drawn.map((drawings, way) => ({ name: nameOf(this.state, way), drawings })) };
  }

  /** Show the alphabet of a file, and tell what of it did not fit. */
  open({ writer, centring, classes }) {
    const most = Math.max(...classes.map(({ drawings }) => drawings.length));
    const between = (count, key) => Math.min(MOST[key], Math.max(FEWEST[key], count));
    const names = Array.from({ length: MOST.ways }, (_, way) => classes[way]?.name ?? "");
    this.set({ writer, centring });
    this.change({
      ways: between(classes.length, "ways"), shots: between(most, "shots"), names, query: [],
      support: places((way, shot) => classes[way]?.drawings[shot] ?? []),
    });
    if (classes.length <= MOST.ways && most <= MOST.shots) return "";
    return ` The pad has room for ${MOST.ways} characters of ${MOST.shots} examples, so the others were left out.`;
  }

  /** Give the characters names, the first one the first. */
  rename(names) {
    this.change({ names: Array.from({ length: MOST.ways }, (_, way) => names[way] ?? "") });
  }

  /** One of the ready-made characters on the board as the new drawing, in a hand not seen before. */
  drawOne() {
    const { ways, shots } = this.state;
    const support = examples(this.state).flat().length ? this.state.support : filled(this.state);
    const known = readyMade({ ways, shots, support });
    if (!known.length) {
      this.note.textContent = "Only ready-made characters can be drawn for you, and all of these are your own.";
      return;
    }
    this.drawn++;
    this.change({ support, query: draw(known[this.drawn % known.length] % COUNT, MOST.shots + this.drawn) });
  }

  /** A square to draw in: `label(state)` names it, `get(state)` is its drawing, `put(drawing)` what changes with another one. */
  surface(label, get, put) {
    const ink = svg("path", { fill: "none", "stroke-width": PEN, "stroke-linecap": "round", "stroke-linejoin": "round", stroke: "currentColor" });
    const cursor = svg("circle", { r: 4, "stroke-width": 2 });
    const element = svg("svg", { viewBox: `0 0 ${FRAME} ${FRAME}`, class: "paper", tabindex: 0, role: "application", "aria-describedby": "keys" }, ink, cursor);
    const surface = { label, get, put, element, ink, cursor, pen: null }; // where the keyboard's pen is
    this.heedPointer(surface);
    this.heedKeys(surface);
    return surface;
  }

  heedPointer(surface) {
    const { element } = surface;
    const at = (event) => {
      const box = element.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * FRAME, ((event.clientY - box.top) / box.height) * FRAME];
    };
    const draws = (event) => this.stroke?.pointer === event.pointerId;
    element.addEventListener("pointerdown", (event) => {
      if (event.button || this.stroke) return; // one pointer at a time
      event.preventDefault();
      element.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      this.stroke = { surface, pointer: event.pointerId, points: [at(event)] };
      this.writing = surface.pen = null;
      this.figure.repaint();
    });
    element.addEventListener("pointermove", (event) => {
      if (!draws(event)) return;
      const events = event.getCoalescedEvents?.() ?? [];
      this.stroke.points.push(...(events.length ? events : [event]).map(at));
      this.figure.repaint();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, (event) => {
        if (!draws(event)) return;
        const { points } = this.stroke;
        this.stroke = null;
        this.change(surface.put([...surface.get(this.state), points]));
      });
    }
  }

  heedKeys(surface) {
    const { element } = surface;
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) surface.pen = MIDDLE;
      this.figure.repaint();
    });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (ARROWS[event.key]) this.movePen(surface, ARROWS[event.key], event.shiftKey ? 12 : 4);
      else if (event.key === " ") {
        if (!event.repeat) this.lowerOrLift(surface);
      } else if (event.key === "Delete" || event.key === "Backspace") this.change(surface.put([]));
      else return;
      event.preventDefault();
      this.figure.repaint();
    });
    element.addEventListener("blur", () => {
      this.writing = surface.pen = null;
      this.figure.repaint();
    });
  }

  /** The keyboard's pen moves, and draws if it is down. */
  movePen(surface, direction, far) {
    surface.pen = (surface.pen ?? MIDDLE).map((value, i) => Math.min(100, Math.max(5, value + far * direction[i])));
    if (this.writing === surface) {
      const drawing = surface.get(this.state);
      this.history.pop(); // for Undo, a stroke is one step
      this.change(surface.put([...drawing.slice(0, -1), [...drawing.at(-1), surface.pen]]));
      this.writing = surface;
    }
    this.tellPen(surface);
  }

  /** The keyboard's pen goes down, and begins a stroke, or up. */
  lowerOrLift(surface) {
    surface.pen ??= MIDDLE;
    const lifted = this.writing === surface;
    if (lifted) this.writing = null;
    else {
      this.change(surface.put([...surface.get(this.state), [surface.pen]]));
      this.writing = surface;
    }
    this.tellPen(surface);
  }

  /** Tell a screen reader where the keyboard's pen is, once it rests. */
  tellPen(surface) {
    clearTimeout(this.tellingPen);
    this.tellingPen = setTimeout(() => {
      if (!surface.pen) return;
      const [across, down] = surface.pen.map((value) => Math.round((100 * value) / FRAME));
      this.told.textContent = `Pen ${this.writing === surface ? "down" : "up"}, ${across}\u00a0% across, ${down}\u00a0% down.`;
    }, PAUSE);
  }

  /** The state as it shows: with the stroke that is being drawn. */
  shown() {
    if (!this.stroke) return this.state;
    const { surface, points } = this.stroke;
    return { ...this.state, ...surface.put([...surface.get(this.state), points]) };
  }

  /** What the network sees of a drawing, and what it makes of it; both remembered until the drawing changes. */
  look(surface, now) {
    const drawing = surface.get(now);
    const key = `${now.centring}${JSON.stringify(drawing)}`;
    const { network } = this.figure;
    if (surface.key !== key || surface.network !== network) {
      Object.assign(surface, { key, network });
      surface.picture = drawing.length ? rasterize(now.centring ? centred(drawing) : drawing) : null;
      surface.embedding = surface.picture && Array.from(embed(network, surface.picture));
    }
    return surface.embedding;
  }

  /** The classes that have an example, the query, and how the chosen method compares them. */
  compare(now) {
    const embedded = this.surfaces.slice(0, now.ways).map((surfaces) =>
      surfaces.slice(0, now.shots).map((surface) => this.look(surface, now)).filter(Boolean));
    const named = embedded.map((examples, way) => ({ name: nameOf(now, way), examples })).filter(({ examples }) => examples.length);
    const query = this.look(this.query, now);
    const support = named.map(({ examples }) => examples);
    if (!query || named.length < 2) return { named, query };
    return { named, query, ...METHODS[now.method].compare(support, query, this.figure.relation) };
  }

  paint() {
    const now = this.shown();
    for (const [key, label] of Object.entries(this.counts)) label.querySelector("select").value = String(now[key]);
    this.centring.querySelector("input").checked = now.centring;
    const names = this.classes.map((_, way) => nameOf(now, way));
    this.files.paint(now, names.slice(0, now.ways));
    this.surfaces.forEach((surfaces, way) => {
      this.classes[way].hidden = way >= now.ways;
      this.classes[way].setAttribute("aria-label", `Character ${names[way]}`);
      this.classes[way].firstChild.textContent = names[way];
      surfaces.forEach((surface, shot) => {
        surface.element.style.display = shot < now.shots ? "" : "none";
        this.paintSurface(surface, now);
      });
    });
    this.columns.classList.toggle("many", now.ways * now.shots > FEW);
    this.paintSurface(this.query, now);
    allow(this.undoButton, this.stroke || this.history.length > 1);
    this.paintAnswer(now);
  }

  paintSurface({ label, get, element, ink, cursor, pen }, now) {
    const drawing = get(now);
    const line = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
    ink.setAttribute("d", drawing.map((points) => line(points.length > 1 ? points : [points[0], points[0]])).join(""));
    const strokes = drawing.length === 1 ? "one stroke" : `${drawing.length || "no"} strokes`;
    element.setAttribute("aria-label", `Drawing area for ${label(now)}: ${strokes}`);
    cursor.style.display = pen ? "" : "none";
    if (!pen) return;
    cursor.setAttribute("cx", pen[0]);
    cursor.setAttribute("cy", pen[1]);
    cursor.setAttribute("class", this.writing?.element === element ? "cursor down" : "cursor");
  }

  paintAnswer(now) {
    const { named, query, measures, shares } = this.compare(now), method = METHODS[now.method];
    shade(this.seen, this.query.picture ?? new Float32Array(SIDE * SIDE));
    this.measure.textContent = method.measure;
    this.shareHead.textContent = method.share;
    const { networkName } = this.figure;
    this.remark.textContent = method.remark ?? "";
    this.answering.textContent = networkName ? `Your network answers: ${networkName}.` : "The network of this book answers.";
    if (networkName && method.remark) this.answering.append(" The relation module does not know it, so its scores mean little.");
    this.rows.replaceChildren(...table(named, query, measures, shares));
    this.table.hidden = !this.rows.childElementCount;
    this.answer.textContent = sentence(now, named, query, measures, shares);
    this.figure.el.result = shares && { names: named.map(({ name }) => name), measures, shares };
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(method, named, measures, shares), PAUSE);
  }

  /** Tell a screen reader the answer and the figures, once the drawing rests. */
  say(method, named, measures, shares) {
    const figures = (shares ?? []).map((share, i) =>
      `${named[i].name}: ${method.measure} ${measures[i].toFixed(2)}, ${method.share} ${percent(share)}`);
    this.said.textContent = [this.answer.textContent, ...figures].join(" ");
  }
}

/** The answer in a sentence, or what is missing for one. */
function sentence(now, named, query, measures, shares) {
  if (!named.length) return "Draw one example of each character under “Your alphabet”, or take the ready-made ones.";
  if (named.length === 1) return `Only ${named[0].name} has an example. Draw one of another character: there must be something to choose from.`;
  if (!query) {
    return readyMade(now).length === named.length
      ? "Draw one of these characters once more, here. Then clear all, and teach it your own."
      : "Now draw one of them once more, here.";
  }
  const best = winners(shares), names = best.map((i) => named[i].name);
  const answer = best.length > 1
    ? `${list(names)} are equally near (${percent(shares[best[0]])} each).`
    : METHODS[now.method].answer(names[0], measures[best[0]], percent(shares[best[0]]));
  const dotted = examples(now).findIndex((drawings) => drawings.some(isDot));
  const dot = isDot(now.query) ? "this" : dotted >= 0 ? `an example of ${nameOf(now, dotted)}` : "";
  return dot ? `${answer} But ${dot} is only a dot, so do not trust the answer.` : answer;
}

/** Whether a drawing is no larger than the pen. */
function isDot(drawing) {
  const extent = (axis) => {
    const values = drawing.flat().map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  };
  return Math.max(extent(0), extent(1)) < PEN;
}

/** The classes with the largest share: more than one where they tie. */
const winners = (shares) => [...shares.keys()].filter((i) => shares[i] > Math.max(...shares) - 1e-9);

/** One row for the query's embedding, and one for each class: its prototype, what was measured, its share. */
function table(named, query, measures, shares) {
  const prototypes = named.map(({ examples }) => mean(examples));
  const most = Math.max(1e-9, ...prototypes.flat(), ...(query ?? []));
  const best = shares ? winners(shares) : [];
  const strip = (numbers, label) =>
    shade(pixels(numbers.length, 1, { className: "strip", attributes: { role: "img", "aria-label": label } }), numbers, most);
  const head = (text) => tag("th", { textContent: text, attributes: { scope: "row" } });
  const rows = named.map(({ name }, i) => tag("tr", { className: best.includes(i) ? "best" : "" },
    head(name),
    tag("td", {}, strip(prototypes[i], `The prototype of ${name}, 64 numbers as shades`)),
    tag("td", { className: "number", textContent: measures ? measures[i].toFixed(2) : "" }),
    tag("td", {}, ...(shares ? [
      tag("span", { className: "track" }, tag("span", { className: "fill", style: { width: `${100 * shares[i]}%` } })),
      tag("span", { textContent: percent(shares[i]) }),
    ] : []))));
  if (!query) return rows;
  const first = tag("tr", {}, head("new"), tag("td", {}, strip(query, "The new drawing, 64 numbers as shades")), tag("td"), tag("td"));
  return [first, ...rows];
}

const PAD_STYLE = `
  h3 { font-size: 1rem; font-weight: 650; margin: 0 0 0.5rem; }
  .columns { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; margin-bottom: 0.5rem; }
  .columns > div:first-child { flex: 1 1 14rem; }
  .columns > .new { flex: 0 1 18rem; }
  .classes { display: flex; flex-wrap: wrap; gap: 0.6rem 0.9rem; }
  .class { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; }
  .class[hidden] { display: none; }
  .name { font-weight: 650; flex: none; min-width: 0.9rem; }
  .name, tbody th { max-width: 5rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .paper {
    width: 4.75rem; height: 4.75rem; flex: none; background: var(--pst-color-background, #fff);
    border: 1px solid var(--ltc-quiet, #777); border-radius: 0.4rem; touch-action: none; cursor: crosshair;
  }
  .paper.query { width: 11rem; height: 11rem; }
  .cursor { fill: none; stroke: var(--pst-color-primary, #3454c5); }
  .cursor.down { fill: var(--pst-color-primary, #3454c5); }
  .says { margin: 0 0 0.75rem; }
  .says:empty { margin: 0; }
  .pair { display: flex; flex-wrap: wrap; gap: 0.8rem; align-items: flex-end; }
  figure { margin: 0; }
  figcaption { font-size: 0.8em; max-width: 6rem; line-height: 1.3; }
  .seen, .strip { border: 1px solid var(--ltc-line, #ccc); border-radius: 0.25rem; }
  .seen { width: 6rem; height: 6rem; display: block; margin-bottom: 0.3rem; }
  .strip { width: 100%; min-width: 4rem; height: 1.1rem; display: block; }
  .answer { font-weight: 600; min-height: 2.9em; margin: 0.7rem 0 0; line-height: 1.4; }
  td:nth-child(2) { width: 45%; }
  td:last-child { white-space: nowrap; min-width: 7rem; }
  .best th, .best td { font-weight: 650; }
  .track { display: inline-block; width: 4.5rem; height: 0.75em; margin-right: 0.5rem; border-radius: 0.2rem; background: var(--ltc-line, #ddd); overflow: hidden; }
  .fill { display: block; height: 100%; background: var(--ltc-accent, #14715c); }
  .help { font-size: 0.85em; margin: 0.5rem 0 0; }
  details { margin-top: 0.75rem; }
  summary { cursor: pointer; }
  details > .bar { margin: 0.5rem 0; }
  input[type="text"] {
    font: inherit; color: inherit; min-width: 0; min-height: 2.2rem; padding: 0.15rem 0.5rem; border-radius: 0.4rem;
    border: 1px solid var(--ltc-quiet, #777); background: var(--pst-color-background, #fff);
  }
  @media print { details { display: none; } }
  @media (max-width: 480px) {
    td:nth-child(2) { width: 30%; } .track { width: 2.5rem; } td:last-child { min-width: 5.5rem; }
    .many > .new { order: -1; }
    .many .class { width: 100%; flex-wrap: nowrap; }
    .many .paper:not(.query) { width: auto; height: auto; flex: 1 1 0; min-width: 0; max-width: 4.75rem; aspect-ratio: 1; }
  }
  @media (max-width: 360px) { .track { display: none; } td:last-child { min-width: 0; } }
`;

/** What the files hold; an error is shown in place of the pad. */
function prepare(figure) {
  if (!("structuredClone" in window)) throw new Error("This browser is too old for the pad. Take one of 2022 or later.");
  figure.network = readConv4(figure.bytes["conv4.f16.bin"]);
  figure.networkName = ""; // of one that the reader brings
  figure.relation = readRelation(figure.bytes["relation.f16.bin"]);
}

function build(figure) {
  const pad = new Pad(figure);
  return () => pad.paint();
}

export default playground("few-shot-pad", defaults, build, { files: ["conv4.f16.bin", "relation.f16.bin"], prepare, read, write, style: PAD_STYLE });
