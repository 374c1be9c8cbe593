// A guess before the figure. On a page the figure waits for it, for *Show me*, or for *Only this one*; in a notebook
// nothing waits.
//
// Guesses stay in the reader's own browser, under one key, and nothing is sent anywhere.

import { STYLE, button, slider, tag } from "./element.mjs";

const KEY = "learning-to-compare.guesses"; // as in book/_ext/guesses.py
let memory = {}; // where the browser keeps nothing

/** What is kept: whether the book shows its figures at once, and each guess with what came out. */
export function kept() {
  try {
    memory = JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch { /* then what this page remembers */ }
  return { show: memory.show === true, guesses: memory.guesses ?? {} };
}

export function keep(changes) {
  memory = { ...kept(), ...changes };
  try {
    localStorage.setItem(KEY, JSON.stringify(memory));
  } catch { /* then only this page remembers */ }
}

const places = (step) => (String(step).split(".")[1] ?? "").length;
const written = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");

/** A guessed number as it is read, with its unit. */
const shown = (question, value) => `${written(value, places(question.step))}\u00a0${question.unit}`.trim();

/** What came out as it is read: a number with its interval, where it has one. */
const measured = ({ unit }, { truth, half }) => {
  const digits = Number.isInteger(truth) && !half ? 0 : 1;
  return `${written(truth, digits)}${half ? `\u00a0±\u00a0${written(half, digits)}` : ""}\u00a0${unit}`.trim();
};

/** A guess and what came out, in words: of `{ guess, truth, half }`, without a truth if nobody knows it yet. */
export function verdict(question, { guess, ...came }) {
  if (question.options) {
    if (came.truth === undefined) return [`You chose: ${guess}.`];
    return guess === came.truth ? ["\u2713 You chose ", quoted(guess), ", and so it is."] : ["\u2717 You chose ", quoted(guess), "; the answer is ", quoted(came.truth), "."];
  }
  const yours = ["You guessed ", strong(shown(question, guess))];
  return came.truth === undefined ? [...yours, "."] : [...yours, "; it is ", strong(measured(question, came)), "."];
}

const strong = (textContent) => tag("strong", { textContent });
const quoted = (option) => strong(`“${option}”`);

/** A guess and what came out on the length of the slider: a ring, and a dot with its interval. For the eye; the words say the same. */
export function track({ low, high }, { guess, truth, half = 0 }) {
  const at = (value) => `${(100 * (Math.min(high, Math.max(low, value)) - low)) / (high - low)}%`;
  const left = (className, value, style = {}) => tag("span", { className, style: { left: at(value), ...style } });
  const ends = [low, high].map((end) => tag("span", { textContent: written(end, 0) }));
  return tag("div", { className: "scale", attributes: { "aria-hidden": "true" } },
    tag("div", { className: "track" },
      ...(truth === undefined ? [] : [
        left("interval", truth - half, { right: `calc(100% - ${at(truth + half)})` }), left("dot", truth)]),
      left("ring", guess)),
    tag("div", { className: "ends quiet" }, ...ends));
}

export const TRACK = `
  .scale { max-width: 26rem; margin: 0.5rem 0.5rem 0; }
  .track { position: relative; height: 1.1rem; background: linear-gradient(var(--ltc-quiet, #777)) center / 100% 1px no-repeat; }
  .track span { position: absolute; }
  .ring, .dot { top: 50%; width: 0.9rem; height: 0.9rem; border-radius: 50%; transform: translate(-50%, -50%); }
  .ring { border: 2px solid var(--pst-color-text-base, #1f2430); }
  .dot { width: 0.55rem; height: 0.55rem; background: var(--ltc-accent, #14715c); }
  .interval { top: calc(50% - 1.5px); height: 3px; background: var(--ltc-accent, #14715c); }
  .ends { display: flex; justify-content: space-between; font-size: 0.8em; margin: 0 -0.5rem; }
`;

const OWN = `${TRACK}
  fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
  legend { padding: 0; margin: 0 0 0.4rem; font-weight: 600; }
  .options label { display: flex; }
  .slide label { display: flex; max-width: 30rem; }
  .slide input { flex: 1; min-width: 4rem; }
  .slide .value { min-width: 6.5rem; }
  [tabindex="-1"]:focus { outline: none; }
  [tabindex="-1"]:focus-visible { outline: 3px solid var(--pst-color-primary, #3454c5); outline-offset: 2px; }
`;

/** Fill an element, and give what was in it the focus if it had it. */
function fill(el, ...content) {
  const root = el.shadowRoot ?? el.attachShadow({ mode: "open" }), had = root.activeElement;
  root.replaceChildren(tag("style", { textContent: STYLE + OWN }),
    tag("div", { className: "live", attributes: { role: "group", "aria-label": "Guess before you look" } }, ...content));
  el.dataset.ready = "";
  el.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  if (had) root.querySelector("[tabindex], input, button")?.focus();
}

/** Ask: `guessed(guess)` is called with what the reader says; `others` are buttons beside it. */
function ask(el, question, guessed, ...others) {
  let guess = question.options ? undefined : (question.low + question.high) / 2;
  if (!question.options) guess = Math.round(guess / question.step) * question.step;
  const note = tag("p", { className: "quiet", attributes: { role: "status" } });
  const say = button("That is my guess", () => (guess === undefined ? (note.textContent = "Choose one first.") : guessed(guess)));
  const answer = question.options
    ? tag("div", { className: "options" }, ...question.options.map((option) => tag("label", {},
        tag("input", { type: "radio", name: "guess", value: option, onchange: () => (guess = option) }), option)))
    : tag("div", { className: "slide" }, slider("Your guess", { min: question.low, max: question.high, step: question.step },
        guess, (value) => (guess = value), (value) => shown(question, value)));
  fill(el, tag("fieldset", {}, tag("legend", { textContent: question.text }), answer),
    tag("div", { className: "bar" }, say, ...others, note));
}

/** Say what the reader guessed, and what came out. */
function tell(el, question, found) {
  fill(el, tag("p", { textContent: question.text, className: "quiet", style: { margin: 0 } }),
    tag("p", { tabIndex: -1 }, ...verdict(question, found)), ...(question.options ? [] : [track(question, found)]));
}

/** What came out: `{ truth, half }`, from the question, or from what the cells have printed. */
function outcome(question, cells) {
  if ("truth" in question) return { truth: question.truth, half: question.half };
  const printed = [...(cells?.querySelectorAll(".cell_output") ?? [])].map((output) => output.textContent).join("\n");
  const match = new RegExp(question.pattern).exec(printed);
  if (!match) return {};
  if (question.options) return { truth: match[1] };
  const [truth, half] = match.slice(1).map((text) => Number((text ?? "0").replaceAll(",", "")));
  return { truth, half };
}

/** In a notebook, where nothing is hidden. */
function render({ model, el }) {
  const question = model.get("question");
  ask(el, question, (guess) => {
    model.set("guess", guess);
    model.save_changes();
    tell(el, question, { guess, ...outcome(question) });
  });
}

/** On a page: with what it covers until there is a guess. */
function define() {
  customElements.define("guess-first", class extends HTMLElement {
    connectedCallback() {
      this.question = JSON.parse(this.dataset.question);
      this.name = this.getAttribute("name");
      this.cover = document.querySelector(`.after-guess[data-guess="${this.name}"]`);
      this.paint();
    }

    paint() {
      const { show, guesses } = kept(), found = guesses[this.name];
      this.hidden = show && !found;
      this.classList.toggle("asking", !show && !found);
      if (this.cover) this.cover.hidden = !show && !found;
      if (found) tell(this, this.question, found);
      else if (!show) ask(this, this.question, (guess) => this.guessed(guess), ...(this.cover ? this.ways() : []));
    }

    /** To see what waits without a guess. */
    ways() {
      return [button("Show me", () => this.showMe()), button("Only this one", () => this.showOne())];
    }

    guessed(guess) {
      const found = { guess, ...outcome(this.question, this.cover) };
      keep({ guesses: { ...kept().guesses, [this.name]: found } });
      this.paint();
    }

    /** The whole book shows its figures at once from now on; here stands how to take that back. */
    showMe() {
      keep({ show: true });
      all().filter((other) => other !== this).forEach((other) => other.paint());
      this.uncover("From now on the book shows its figures at once. ", button("Ask me again", () => {
        keep({ show: false });
        all().forEach((other) => other.paint());
      }));
    }

    /** Nothing is kept. */
    showOne() {
      this.uncover("Here it is. The next visit asks again.");
    }

    uncover(...said) {
      this.cover.hidden = false;
      this.classList.remove("asking");
      fill(this, tag("p", { tabIndex: -1, style: { margin: 0 } }, ...said));
    }
  });
}

const all = () => [...document.querySelectorAll("guess-first")];

if (globalThis.customElements && !customElements.get("guess-first")) define();

export default { render };
