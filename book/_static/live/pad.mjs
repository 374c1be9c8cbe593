// Draw your own alphabet: a network that has learned to compare learns it from one to five drawings.
//
// <few-shot-pad> holds a board, the drawings of a support set and a query, and shows what the network
// makes of it. The work is done elsewhere: raster.mjs turns strokes into pictures, conv4.mjs embeds
// them, compare.mjs and relation.mjs compare. Until the networks are there, what stands between the tags shows.

import { COUNT, draw } from "./alphabet.mjs";
import { cosineSimilarity, matching, mean, prototypical, softmax, squaredEuclidean } from "./compare.mjs";
import { embed, readConv4 } from "./conv4.mjs";
import { ARROWS, PAUSE, STYLE, allow, button, choice, onceAFrame, svg, tag, whenSeen } from "./element.mjs";
import { FRAME, PEN, SIDE, centred, rasterize } from "./raster.mjs";
import { readRelation, relate } from "./relation.mjs";
import { fromHash, toHash } from "./share.mjs";

const MOST = { ways: 10, shots: 5 };
const MATCHING_SCALE = 10; // as fslib.methods.MatchingNetwork has it
const letter = (way) => String.fromCharCode(65 + way);
const percent = (share) => (share > 0.995 ? ">\u00a099\u00a0%" : share < 0.005 ? "<\u00a01\u00a0%" : `${(100 * share).toFixed(0)}\u00a0%`);
const list = (names) => new Intl.ListFormat("en-GB").format(names);

// How each method compares: what it measures of a class, and which share of the answer it gives to it.
const METHODS = {
  prototypical: {
    name: "Prototypical Network",
    measure: "squared distance",
    share: "probability",
    nearest: "The nearest prototype",
    compare(support, query) {
      const scores = prototypical(support, query);
      return { measures: scores.map((score) => -score), shares: softmax(scores) };
    },
  },
  matching: {
    name: "Matching Network",
    measure: "highest cosine",
    share: "probability",
    nearest: "Most of the attention",
    compare(support, query) {
      const cosines = support.map((examples) => Math.max(...examples.map((one) => cosineSimilarity(query, one))));
      return { measures: cosines, shares: matching(support, query, MATCHING_SCALE) };
    },
  },
  relation: {
    name: "Relation Network",
    measure: "relation score",
    share: "share of all scores",
    nearest: "The highest relation score",
    remark: "The relation module judges each character by itself, so scores need not sum to one. It was trained over the embedding of the Prototypical Network, which stayed as it was; usually the two are trained together.",
    compare(support, query, relation) {
      const scores = support.map((examples) => relate(relation, mean(examples), query));
      const total = scores.reduce((sum, score) => sum + score, 0);
      return { measures: scores, shares: scores.map((score) => score / total) };
    },
  },
};

class FewShotPad extends HTMLElement {
  connectedCallback() {
    const follow = () => {
      if (!location.hash.startsWith("#alphabet-")) return;
      this.scrollIntoView({ block: "center" });
      if (this.shadowRoot) this.open();
    };
    follow();
    addEventListener("hashchange", follow);
    whenSeen(this, () => this.start());
  }

  /** Fetch the network, then show the pad in place of the still figure; on failure say so and offer another try. */
  async start(retried = false) {
    if (this.shadowRoot) return;
    try {
      if (!("structuredClone" in window)) throw new Error("This browser is too old for the pad. Take one of 2022 or later.");
      const [conv4, relation] = await Promise.all(["conv4.f16.bin", "relation.f16.bin"].map(download));
      this.network = readConv4(conv4);
      this.relation = readRelation(relation);
    } catch (error) {
      const again = button("Try again", () => {
        again.textContent = "Loading…";
        allow(again, false);
        this.start(true);
      });
      this.querySelectorAll("p").forEach((p) => p.remove()); // what it said before, and that it needs JavaScript
      this.append(tag("p", { attributes: { role: "alert" } }, `${error.message} `, again));
      if (retried) again.focus();
      return;
    }
    this.build();
    this.dataset.ready = "";
    if (retried) this.shadowRoot.querySelector("select").focus();
  }

  build() {
    this.board = withAllPlaces({ ways: 3, shots: 1, support: [], query: [] });
    this.fill();
    this.method = "prototypical";
    this.centring = true;
    this.past = [];
    this.writing = null; // the square on which the keyboard's pen is down
    this.repaint = onceAFrame(() => this.paint());

    const count = (label, most, key, least) => choice(
      label, Array.from({ length: most - least + 1 }, (_, i) => [String(least + i), String(least + i)]),
      String(this.board[key]), (value) => this.change(() => (this.board[key] = Number(value))),
    );
    const setting = (key, value) => {
      this[key] = value;
      this.forget();
      this.repaint();
    };
    this.choices = [
      count("Characters", MOST.ways, "ways", 2), count("Examples", MOST.shots, "shots", 1),
      choice("Compare by", Object.entries(METHODS).map(([key, { name }]) => [key, name]), this.method, (value) => setting("method", value)),
    ];
    this.centred = tag("input", { type: "checkbox", onchange: () => setting("centring", this.centred.checked) });
    this.undoButton = button("Undo", () => this.undo());
    const tools = tag("div", { className: "bar" },
      button("Ready-made characters", () => this.change(() => this.fill())),
      button("Draw one for me", () => this.change(() => this.drawOne())),
      this.undoButton,
      button("Clear all", () => this.change(() => this.clear())),
      button("Copy link", () => this.share()),
      tag("label", { title: "Move each drawing to the middle and give it the usual size" }, this.centred, "Centre and scale"),
    );

    this.surfaces = [];
    this.classes = tag("div", { className: "classes" });
    for (let way = 0; way < MOST.ways; way++) {
      const row = tag("div", { className: "class", attributes: { role: "group", "aria-label": `Character ${letter(way)}` } },
        tag("span", { className: "letter", textContent: letter(way), attributes: { "aria-hidden": "true" } }));
      const surfaces = [];
      for (let shot = 0; shot < MOST.shots; shot++) {
        const surface = this.surface(`example ${shot + 1} of character ${letter(way)}`, {
          get: () => this.board.support[way][shot],
          set: (drawing) => (this.board.support[way][shot] = drawing),
        });
        surfaces.push(surface);
        row.append(surface.element);
      }
      this.surfaces.push(surfaces);
      this.classes.append(row);
    }
    this.query = this.surface("the new drawing", {
      get: () => this.board.query,
      set: (drawing) => (this.board.query = drawing),
    });
    this.query.element.classList.add("query");
    this.seen = tag("canvas", { className: "seen", width: SIDE, height: SIDE, attributes: { role: "img", "aria-label": "The new drawing as the network sees it, 28 by 28 pixels" } });
    this.answer = tag("p", { className: "answer" });
    this.rows = tag("tbody");
    this.measure = tag("th", { className: "number", attributes: { scope: "col" } });
    this.shareHead = tag("th", { attributes: { scope: "col" } });
    this.remark = tag("p", { className: "quiet help" });
    this.said = tag("output", { className: "hidden", attributes: { "aria-live": "polite" } });
    this.told = tag("output", { className: "hidden", attributes: { "aria-live": "polite" } });
    this.note = tag("p", { className: "quiet note", attributes: { role: "status" } });
    this.alert = tag("p", { className: "note", attributes: { role: "alert" } });

    this.attachShadow({ mode: "open" }).append(
      tag("style", { textContent: STYLE + PAD_STYLE }),
      tag("section", { className: "live", attributes: { "aria-label": "Draw your own alphabet" } },
        this.alert,
        tag("div", { className: "bar" }, ...this.choices),
        tools,
        this.note,
        tag("div", { className: "columns" },
          tag("div", {}, tag("h3", { textContent: "Your alphabet" }), this.classes),
          tag("div", { className: "new" }, tag("h3", { textContent: "A new drawing" }),
            tag("div", { className: "pair" }, this.query.element,
              tag("figure", {}, this.seen, tag("figcaption", { className: "quiet", textContent: "what the network sees" }))),
            this.answer)),
        this.table = tag("table", {},
          tag("caption", { className: "hidden", textContent: "How the new drawing compares with each character" }),
          tag("thead", {}, tag("tr", {},
            tag("th", { attributes: { scope: "col" } }, tag("span", { className: "hidden", textContent: "Character" })),
            tag("th", { textContent: "64 numbers", attributes: { scope: "col" } }),
            this.measure,
            this.shareHead)),
          this.rows),
        this.remark, this.said, this.told,
        tag("p", { id: "keys", className: "quiet help", textContent: "Draw with mouse, finger or pen. With the keyboard: arrow keys move, Space lowers and lifts the pen, Delete wipes a drawing, Ctrl+Z takes back." }),
      ),
    );
    this.addEventListener("keydown", (event) => {
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.undo();
    });
    this.open();
    this.past = [];
    this.paint();
  }

  /** Show what the link in the address holds, if there is one. */
  open() {
    this.alert.textContent = "";
    try {
      const linked = fromHash(location.hash);
      if (!linked) return;
      const { method, centring, ...board } = linked, hash = location.hash;
      this.change(() => (this.board = withAllPlaces(board)));
      history.replaceState(null, "", hash); // which the change has cleared
      this.method = Object.keys(METHODS)[method] ?? this.method;
      this.centring = centring;
    } catch (error) {
      this.alert.textContent = error.message;
    }
  }

  /** Change the board, so that it can be undone. */
  change(edit) {
    const before = structuredClone(this.board);
    edit();
    this.writing = null;
    this.repaint();
    if (JSON.stringify(this.board) === JSON.stringify(before)) return;
    this.past.push(before);
    if (this.past.length > 200) this.past.shift();
    this.forget();
  }

  undo() {
    if (!this.past.length) return;
    this.board = this.past.pop();
    this.writing = null;
    this.forget();
    this.repaint();
  }

  /** Once the board is another one, what was said of it is no longer true, nor is the link in the address. */
  forget() {
    this.note.textContent = this.alert.textContent = "";
    if (location.hash.startsWith("#alphabet-")) history.replaceState(null, "", location.pathname + location.search);
  }

  clear() {
    this.board = withAllPlaces({ ...this.board, support: [], query: [] });
  }

  /** Ready-made characters in every place of the alphabet, each example in another hand. */
  fill() {
    const { ways, shots, support } = this.board;
    for (let way = 0; way < ways; way++) {
      for (let shot = 0; shot < shots; shot++) support[way][shot] = draw(way % COUNT, shot);
    }
  }

  /** The examples on the board, class by class, as far as there are any. */
  examples() {
    const { ways, shots, support } = this.board;
    return support.slice(0, ways).map((drawings) => drawings.slice(0, shots).filter((drawing) => drawing.length));
  }

  /** The classes that stand on the board as they come ready-made: the ends of their strokes do, also after a link has rounded them. */
  readyMade() {
    const { ways, shots, support } = this.board;
    const ends = (drawing) => drawing.flatMap((stroke) => [...stroke[0], ...stroke.at(-1)]);
    const alike = (a, b) => a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) < 0.5);
    return [...Array(ways).keys()].filter((way) =>
      support[way].slice(0, shots).some((drawing, shot) => alike(ends(drawing), ends(draw(way % COUNT, shot)))));
  }

  /** One of the ready-made characters on the board as the new drawing, in a hand not seen before. */
  drawOne() {
    if (!this.examples().flat().length) this.fill();
    const known = this.readyMade();
    if (!known.length) {
      this.note.textContent = "Only ready-made characters can be drawn for you, and all of these are your own.";
      return;
    }
    this.drawn = (this.drawn ?? 0) + 1;
    this.board.query = draw(known[this.drawn % known.length] % COUNT, MOST.shots + this.drawn);
  }

  async share() {
    const settings = { method: Object.keys(METHODS).indexOf(this.method), centring: this.centring };
    const link = location.href.split("#")[0] + toHash({ ...this.board, ...settings });
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      this.note.textContent = "The link is copied. It holds the drawings and the settings; nothing was sent.";
    } catch {
      this.note.textContent = "The link is in the address bar; copy it there.";
    }
  }

  /** A square to draw in; `get` and `set` lead to its drawing on the board. */
  surface(label, { get, set }) {
    const surface = { get, pen: null }; // where the keyboard's pen is
    surface.ink = svg("path", { fill: "none", "stroke-width": PEN, "stroke-linecap": "round", "stroke-linejoin": "round", stroke: "currentColor" });
    surface.cursor = svg("circle", { r: 4, "stroke-width": 2 });
    surface.element = svg("svg", { viewBox: `0 0 ${FRAME} ${FRAME}`, class: "paper", tabindex: 0, role: "application", "aria-describedby": "keys" }, surface.ink, surface.cursor);
    const element = surface.element;

    const at = (event) => {
      const box = element.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * FRAME, ((event.clientY - box.top) / box.height) * FRAME];
    };
    let stroke = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button || stroke) return; // one pointer at a time
      event.preventDefault();
      element.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      stroke = [at(event)];
      surface.pen = null;
      this.change(() => set([...get(), stroke]));
    });
    element.addEventListener("pointermove", (event) => {
      if (!stroke) return;
      const events = event.getCoalescedEvents?.() ?? [];
      stroke.push(...(events.length ? events : [event]).map(at));
      this.repaint();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => {
        stroke = null;
        this.repaint();
      });
    }
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) surface.pen = [52, 52];
      this.repaint();
    });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const direction = ARROWS[event.key];
      if (direction) {
        const far = event.shiftKey ? 12 : 4;
        surface.pen = (surface.pen ?? [52, 52]).map((value, i) => Math.min(100, Math.max(5, value + far * direction[i])));
        if (this.writing === surface) get().at(-1).push(surface.pen);
        this.tellPen(surface);
      } else if (event.key === " ") {
        if (!event.repeat) this.lowerOrLift(surface, set);
      } else if (event.key === "Delete" || event.key === "Backspace") {
        this.change(() => set([]));
      } else return;
      event.preventDefault();
      this.repaint();
    });
    element.addEventListener("blur", () => {
      this.writing = surface.pen = null;
      this.repaint();
    });
    surface.paint = () => {
      const drawing = get();
      const line = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
      surface.ink.setAttribute("d", drawing.map((points) => line(points.length > 1 ? points : [points[0], points[0]])).join(""));
      const strokes = drawing.length === 1 ? "one stroke" : `${drawing.length || "no"} strokes`;
      element.setAttribute("aria-label", `Drawing area for ${label}: ${strokes}`);
      surface.cursor.style.display = surface.pen ? "" : "none";
      if (!surface.pen) return;
      surface.cursor.setAttribute("cx", surface.pen[0]);
      surface.cursor.setAttribute("cy", surface.pen[1]);
      surface.cursor.setAttribute("class", this.writing === surface ? "cursor down" : "cursor");
    };
    return surface;
  }

  /** The keyboard's pen goes down, and begins a stroke, or up. */
  lowerOrLift(surface, set) {
    surface.pen ??= [52, 52];
    const lifted = this.writing === surface;
    if (lifted) this.writing = null;
    else {
      this.change(() => set([...surface.get(), [surface.pen]]));
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

  /** What the network sees of a drawing, and what it makes of it; both remembered until the drawing changes. */
  look(surface) {
    const drawing = surface.get();
    const key = `${this.centring}${JSON.stringify(drawing)}`;
    if (surface.key !== key) {
      surface.key = key;
      surface.picture = drawing.length ? rasterize(this.centring ? centred(drawing) : drawing) : null;
      surface.embedding = surface.picture && Array.from(embed(this.network, surface.picture));
    }
    return surface.embedding;
  }

  /** The classes that have an example, the query, and how the chosen method compares them. */
  compare() {
    const { ways, shots } = this.board;
    const embedded = this.surfaces.slice(0, ways).map((surfaces) =>
      surfaces.slice(0, shots).map((surface) => this.look(surface)).filter(Boolean));
    const named = embedded.map((examples, way) => ({ way, examples })).filter(({ examples }) => examples.length);
    const query = this.look(this.query);
    const support = named.map(({ examples }) => examples);
    if (!query || named.length < 2) return { named, query };
    return { named, query, ...METHODS[this.method].compare(support, query, this.relation) };
  }

  paint() {
    const { ways, shots } = this.board;
    this.choices.forEach((label, i) => (label.querySelector("select").value = String([ways, shots, this.method][i])));
    this.centred.checked = this.centring;
    this.surfaces.forEach((surfaces, way) => {
      surfaces[0].element.parentNode.hidden = way >= ways;
      surfaces.forEach((surface, shot) => {
        surface.element.style.display = shot < shots ? "" : "none";
        surface.paint();
      });
    });
    this.query.paint();
    allow(this.undoButton, this.past.length > 0);

    const { named, query, measures, shares } = this.compare();
    shade(this.seen, this.query.picture ?? new Float32Array(SIDE * SIDE), 1);
    const method = METHODS[this.method];
    this.measure.textContent = method.measure;
    this.shareHead.textContent = method.share;
    this.remark.textContent = method.remark ?? "";
    this.rows.replaceChildren(...table(named, query, measures, shares));
    this.table.hidden = !this.rows.childElementCount;
    const sentence = this.sentence(named, query, measures, shares);
    this.answer.textContent = sentence;
    this.result = shares && { names: named.map(({ way }) => letter(way)), measures, shares };
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(sentence, named, measures, shares), PAUSE);
  }

  /** The answer in a sentence, or what is missing for one. */
  sentence(named, query, measures, shares) {
    if (!named.length) return "Draw one example of each character under “Your alphabet”, or take the ready-made ones.";
    if (named.length === 1) return `Only ${letter(named[0].way)} has an example. Draw one of another character: there must be something to choose from.`;
    if (!query) {
      return this.readyMade().length === named.length
        ? "Draw one of these characters once more, here. Then clear all, and teach it your own."
        : "Now draw one of them once more, here.";
    }
    const best = winners(shares), names = best.map((i) => letter(named[i].way));
    const answer = best.length > 1
      ? `${list(names)} are equally near (${percent(shares[best[0]])} each).`
      : `${METHODS[this.method].nearest}: ${names[0]} (${percent(shares[best[0]])}).`;
    const dotted = this.examples().findIndex((drawings) => drawings.some(isDot));
    const dot = isDot(this.board.query) ? "this" : dotted >= 0 ? `an example of ${letter(dotted)}` : "";
    return dot ? `${answer} But ${dot} is only a dot, so do not trust the answer.` : answer;
  }

  /** Tell a screen reader the answer and the figures, once the drawing rests. */
  say(sentence, named, measures, shares) {
    const method = METHODS[this.method];
    const figures = (shares ?? []).map((share, i) =>
      `${letter(named[i].way)}: ${method.measure} ${measures[i].toFixed(2)}, ${method.share} ${percent(share)}`);
    this.said.textContent = [sentence, ...figures].join(" ");
  }
}

/** The bytes of a file beside this one. */
async function download(name) {
  try {
    const response = await fetch(new URL(name, import.meta.url));
    if (response.ok) return await response.arrayBuffer();
  } catch {} // no answer, or half of one
  throw new Error("The network (220\u00a0kB) could not be loaded. Are you offline?");
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

/** The board with a place for every example that may be asked for. */
function withAllPlaces(board) {
  const support = Array.from({ length: MOST.ways }, (_, way) =>
    Array.from({ length: MOST.shots }, (_, shot) => board.support[way]?.[shot] ?? []));
  return { ...board, support };
}

/** One row for the query's embedding, and one for each class: its prototype, what was measured, its share. */
function table(named, query, measures, shares) {
  const prototypes = named.map(({ examples }) => mean(examples));
  const most = Math.max(1e-9, ...prototypes.flat(), ...(query ?? []));
  const best = shares ? winners(shares) : [];
  const strip = (numbers, label) => {
    const canvas = tag("canvas", { className: "strip", width: 64, height: 1, attributes: { role: "img", "aria-label": label } });
    return shade(canvas, numbers, most);
  };
  const head = (text) => tag("th", { textContent: text, attributes: { scope: "row" } });
  const rows = named.map(({ way }, i) => tag("tr", { className: best.includes(i) ? "best" : "" },
    head(letter(way)),
    tag("td", {}, strip(prototypes[i], `The prototype of ${letter(way)}, 64 numbers as shades`)),
    tag("td", { className: "number", textContent: measures ? measures[i].toFixed(2) : "" }),
    tag("td", {}, ...(shares ? [
      tag("span", { className: "track" }, tag("span", { className: "fill", style: { width: `${100 * shares[i]}%` } })),
      tag("span", { textContent: percent(shares[i]) }),
    ] : []))));
  if (!query) return rows;
  const first = tag("tr", {}, head("new"), tag("td", {}, strip(query, "The new drawing, 64 numbers as shades")), tag("td"), tag("td"));
  return [first, ...rows];
}

/** Paint numbers as shades of ink, from nothing to `most`. The dark theme turns them round. */
function shade(canvas, numbers, most) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  numbers.forEach((number, i) => (image.data[4 * i + 3] = (255 * number) / most));
  context.putImageData(image, 0, 0);
  return canvas;
}

const PAD_STYLE = `
  h3 { font-size: 1rem; font-weight: 650; margin: 0 0 0.5rem; }
  .columns { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; margin-bottom: 0.5rem; }
  .columns > div:first-child { flex: 1 1 14rem; }
  .columns > .new { flex: 0 1 18rem; }
  .classes { display: flex; flex-wrap: wrap; gap: 0.6rem 0.9rem; }
  .class { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; }
  .class[hidden] { display: none; }
  .letter { font-weight: 650; width: 0.9rem; }
  .paper {
    width: 4.75rem; height: 4.75rem; flex: none; background: var(--pst-color-background, #fff);
    border: 1px solid var(--ltc-quiet, #777); border-radius: 0.4rem; touch-action: none; cursor: crosshair;
  }
  .paper.query { width: 11rem; height: 11rem; }
  .cursor { fill: none; stroke: var(--pst-color-primary, #3454c5); }
  .cursor.down { fill: var(--pst-color-primary, #3454c5); }
  .note { margin: 0 0 0.75rem; }
  .note:empty { margin: 0; }
  .pair { display: flex; flex-wrap: wrap; gap: 0.8rem; align-items: flex-end; }
  figure { margin: 0; }
  figcaption { font-size: 0.8em; max-width: 6rem; line-height: 1.3; }
  .seen, .strip {
    image-rendering: pixelated; border: 1px solid var(--ltc-line, #ccc); border-radius: 0.25rem;
    filter: invert(var(--ltc-dark, 0));
  }
  .seen { width: 6rem; height: 6rem; display: block; margin-bottom: 0.3rem; }
  .strip { width: 100%; min-width: 4rem; height: 1.1rem; display: block; }
  .answer { font-weight: 600; min-height: 2.9em; margin: 0.7rem 0 0; line-height: 1.4; }
  td:nth-child(2) { width: 45%; }
  td:last-child { white-space: nowrap; min-width: 7rem; }
  .best th, .best td { font-weight: 650; }
  .track { display: inline-block; width: 4.5rem; height: 0.75em; margin-right: 0.5rem; border-radius: 0.2rem; background: var(--ltc-line, #ddd); overflow: hidden; }
  .fill { display: block; height: 100%; background: var(--ltc-accent, #14715c); }
  .help { font-size: 0.85em; margin: 0.5rem 0 0; }
  @media (max-width: 480px) { td:nth-child(2) { width: 30%; } .track { width: 2.5rem; } td:last-child { min-width: 5.5rem; } }
  @media (max-width: 360px) { .track { display: none; } td:last-child { min-width: 0; } }
`;

customElements.define("few-shot-pad", FewShotPad);
