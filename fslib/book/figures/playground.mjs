// What every figure does alike. Its state stands in one place, is shown, goes back to where it began, and fits in a link.
//
// `build(figure)` fills `figure.body` and gives a function that paints. All else is here, for a page, where the figure is
// an element of its own, and for a notebook, where it is the module of an anywidget.

import { STYLE, allow, button, choice, onceAFrame, slider, speech, tag } from "./element.mjs";

/**
 * Make a figure, and an element of its name where there are elements.
 *
 * `defaults` is its state, or gives it, if told what is asked for. Numbers, texts and arrays of numbers may be in it; what
 * is asked for in a link, by attributes or from Python is taken where it is of the same kind. Of a text that is one of
 * several, `choices` are the values with what readers call them. `write(state)` and `read(hash, now)` are of links of
 * another form. `files` beside this one are fetched first, and `prepare(figure)` makes of them what is needed, or throws.
 * `style` is added to the common one.
 */
export function playground(name, defaults, build, { choices = {}, write, read, files = [], prepare = () => {}, style = "" } = {}) {
  const complete = (asked) => {
    const state = typeof defaults === "function" ? defaults(asked) : structuredClone(defaults);
    for (const [key, usual] of Object.entries(state)) {
      if (alike(asked[key], usual) && !(key in choices && !Object.hasOwn(choices[key], asked[key]))) state[key] = asked[key];
    }
    return state;
  };
  const links = {
    write: write ?? ((state) => {
      const usual = complete({}), implied = complete(Object.fromEntries(Object.entries(state).filter(([, value]) => !Array.isArray(value))));
      const same = (key, value) => JSON.stringify(value) === JSON.stringify((Array.isArray(value) ? implied : usual)[key]);
      const changed = Object.entries(state).filter(([key, value]) => !same(key, value));
      return `#${name}${changed.length ? "?" : ""}${changed.map(([key, value]) => `${key}=${flat(value)}`).join("&")}`;
    }),
    read(hash, now) {
      const [own, query = ""] = hash.split("?");
      if (own !== `#${name}`) return read?.(hash, now) ?? null;
      const asked = Object.fromEntries(new URLSearchParams(query)), usual = complete(asked);
      return Object.fromEntries(Object.keys(usual).filter((key) => key in asked).map((key) => [key, unflat(asked[key], usual[key])]));
    },
  };
  const render = ({ model, el }) => new Figure({ name, complete, choices, links, build, files, prepare, style }, model, el).start();
  if (globalThis.customElements && !customElements.get(name)) define(name, render, complete, links);
  return { render };
}

/** One figure that lives: what `build` gets. */
class Figure {
  constructor(kind, model, el) {
    Object.assign(this, kind, { model, el, stops: [], own: false });
    this.began = this.complete(model.get("began") ?? model.get("state") ?? {});
    this.body = tag("div");
    this.tools = tag("div", { className: "bar tools" }, button("Reset", () => this.reset()), button("Copy link", () => this.copy()));
    this.said = speech(); // `said.say(…)` tells the eye, and a screen reader, what the figure shows
    this.note = tag("p", { className: "quiet note", attributes: { role: "status" } });
    this.tools.append(this.note);
  }

  /** Fetch what is needed, then show the figure in place of the still picture; gives a function that stops it. */
  start() {
    if (this.files.length) this.load();
    else this.show();
    return () => {
      this.stopped = true;
      this.stops.forEach((stop) => stop());
    };
  }

  /** Fetch the files; on failure say so and offer another try. */
  async load(retried = false) {
    try {
      this.bytes = Object.fromEntries(await Promise.all(this.files.map(async (file) => [file, await this.file(file)])));
      this.prepare(this);
    } catch (error) {
      const again = button("Try again", () => {
        again.textContent = "Loading…";
        allow(again, false);
        this.load(true);
      });
      this.el.querySelectorAll("p").forEach((p) => p.remove()); // what it said before, and that it needs JavaScript
      this.el.append(tag("p", { attributes: { role: "alert" } }, `${error.message} `, again));
      if (retried) again.focus();
      return;
    }
    if (this.stopped) return;
    this.show();
    if (retried) this.body.querySelector("select, input, button").focus();
  }

  show() {
    const root = this.el.shadowRoot ?? this.el.attachShadow({ mode: "open" });
    const label = `Interactive figure, ${this.name.replaceAll("-", " ")}`;
    root.replaceChildren(tag("style", { textContent: STYLE + this.style }),
      tag("div", { className: "live", attributes: { role: "group", "aria-label": label } }, this.body, this.tools));
    this.repaint = onceAFrame(() => this.paint(this.state));
    const given = () => this.rebuild(this.model.get("state") ?? {});
    const linked = () => this.model.get("link") && this.open(this.model.get("link"));
    // Not at once: a kernel that sets something is not told what is set in answer while it does, and may set much.
    const [givenLater, linkedLater] = [given, linked].map(onceAFrame);
    for (const [key, listener] of [["state", () => (this.own ? this.repaint() : givenLater())], ["link", linkedLater]]) {
      this.model.on(`change:${key}`, listener);
      this.stops.push(() => this.model.off(`change:${key}`, listener));
    }
    if (!linked()) given();
    this.el.dataset.ready = "";
    this.el.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  }

  /** Show the state of a link; whether it was one of this figure. */
  open(hash) {
    const asked = this.links.read(hash, this.state);
    if (!asked) return false;
    this.model.set("link", ""); // so that the same one can be opened again
    this.rebuild(asked, hash);
    return true;
  }

  /** Build anew for a state that came from outside: a link, Python, or the start. */
  rebuild(asked, link = "") {
    this.link = link;
    this.state = this.complete(asked);
    this.body.replaceChildren();
    this.paint = this.build(this);
    this.set({}); // what was out of bounds has been mended
    this.paint(this.state);
  }

  /** Change parts of the state: `set({ metric: "cosine" })`. */
  set(changes) {
    this.state = { ...this.state, ...changes };
    this.note.textContent = "";
    if (Object.keys(changes).length) this.forget();
    this.own = true;
    this.model.set("state", this.state);
    this.own = false;
    this.model.save_changes();
  }

  /** A link to another state does not stay in the address of the page. */
  forget() {
    if (this.model.get("page") || !location.hash || !this.links.read(location.hash, this.state)) return;
    history.replaceState(null, "", location.pathname + location.search);
  }

  /** Back to where it began. */
  reset() {
    this.forget();
    this.prepare(this); // or what the reader brought would stay
    this.rebuild(structuredClone(this.began));
    this.note.textContent = "As it began.";
  }

  /** Put a link to this state on the clipboard, or, where that is not allowed, below the figure. */
  async copy() {
    const page = this.model.get("page") || location.href.split("#")[0];
    const link = page + this.links.write(this.state);
    if (!this.model.get("page")) history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      this.note.textContent = "The link is copied. It holds the whole figure; nothing was sent.";
    } catch {
      this.note.replaceChildren("The link is ", this.model.get("page") ? tag("a", { href: link, textContent: link, target: "_blank", rel: "noopener" }) : "in the address bar; copy it there.");
    }
  }

  /** A choice that sets a part of the state, and whatever `also(value)` says. */
  choice(label, key, also = () => ({})) {
    return choice(label, Object.entries(this.choices[key]), this.state[key], (value) => this.set({ [key]: value, ...also(value) }));
  }

  /** A slider that sets a part of the state, within its limits. */
  slider(label, key, limits, show) {
    this.state[key] = Math.min(limits.max, Math.max(limits.min, this.state[key]));
    return slider(label, limits, this.state[key], (value) => this.set({ [key]: value }), show);
  }

  /** The bytes of a file beside this one: from the notebook if it brought them, else from the page's server. */
  async file(name) {
    const given = this.model.get("files")?.[name];
    if (given) return given.buffer.slice(given.byteOffset, given.byteOffset + given.byteLength);
    const response = await fetch(new URL(name, import.meta.url)).catch(() => null);
    const bytes = response?.ok ? await response.arrayBuffer().catch(() => null) : null;
    if (!bytes) throw new Error("What this figure needs could not be loaded. Are you offline?");
    return bytes;
  }
}

const MOST = 1e4; // of any number in a state; what is larger comes from a mistake, and squares overflow

/** Whether a value is of the same kind as another: the same type, and an array of numbers of the same shape. */
function alike(value, usual) {
  if (Array.isArray(usual)) return Array.isArray(value) && value.length === usual.length && value.every((each, i) => alike(each, usual[i]));
  return typeof value === typeof usual && (typeof value !== "number" || Math.abs(value) <= MOST);
}

const rounded = (value) => (typeof value === "number" ? String(Math.round(1000 * value) / 1000) : encodeURIComponent(value));
const flat = (value) => (Array.isArray(value) ? value.flat(Infinity).map(rounded).join(",") : rounded(value));

/** What a text in a link stands for, in the kind and shape of the usual value. */
function unflat(text, usual) {
  if (typeof usual === "boolean") return text === "true";
  if (!Array.isArray(usual)) return typeof usual === "number" ? Number(text || NaN) : text;
  const parts = text.split(",");
  const shaped = (like) => like.map((each) => (Array.isArray(each) ? shaped(each) : unflat(parts.shift() ?? "", each)));
  const value = shaped(usual);
  return parts.length ? null : value;
}

/** What `render({ model, el })` needs of a widget's model, where there is no kernel: the contract of anywidget. */
export function localModel(values) {
  const listeners = {};
  return {
    get: (key) => values[key],
    set(key, value) {
      values[key] = value;
      for (const listener of listeners[`change:${key}`] ?? []) listener();
    },
    save_changes() {},
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off: (event, listener) => (listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener)),
  };
}

/**
 * Make a figure a custom element that starts when it is seen. What stands between its tags, a still picture, shows until
 * then, and for good where there is no JavaScript. Attributes of the tag are the state it starts with, and a link that
 * is for it sets another.
 */
function define(name, render, complete, links) {
  customElements.define(name, class extends HTMLElement {
    connectedCallback() {
      if (this.model) return; // it was moved
      const asked = Object.fromEntries([...this.attributes].map(({ name: key, value }) => [key, value])), usual = complete(asked);
      const began = Object.fromEntries(Object.entries(asked).filter(([key]) => key in usual).map(([key, value]) => [key, unflat(value, usual[key])]));
      this.model = localModel({ state: complete(began), began });
      const follow = () => {
        if (document.querySelector(name) !== this || !links.read(location.hash)) return;
        this.scrollIntoView({ block: "center" });
        this.tabIndex = -1;
        this.focus({ preventScroll: true });
        this.model.set("link", location.hash);
      };
      addEventListener("hashchange", follow);
      addEventListener("click", ({ target }) => { // of a link that was followed before, which changes no address
        if (target.closest?.(`a[href^="#${name}"]`)?.hash === location.hash) follow();
      });
      whenSeen(this, () => (this.stop = render({ model: this.model, el: this })));
      follow();
    }
  });
}

/** Call once the element comes near the window; at once where a browser cannot tell. */
function whenSeen(element, start) {
  if (!("IntersectionObserver" in window)) return start();
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    start();
  }, { rootMargin: "200px" });
  observer.observe(element);
}
