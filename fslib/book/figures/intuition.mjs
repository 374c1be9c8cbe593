// How good the reader's guesses were: a page that reads what this browser has kept of them.

import { STYLE, button, tag } from "./element.mjs";
import { TRACK, keep, kept, track, verdict } from "./guess.mjs";

const OWN = `${TRACK}
  h2 { font-size: 1.05rem; font-weight: 650; margin: 1.5rem 0 0; }
  ol { list-style: none; margin: 0; padding: 0; }
  li { margin: 0.75rem 0 0; }
  li p { margin: 0.15rem 0 0; }
  a { color: var(--pst-color-link, #3454c5); }
`;

/** What all guesses together say: distances as parts of the length of the slider, beside what the middle would have got. */
export function summary(questions, guesses) {
  const found = questions.filter(({ name }) => guesses[name]?.truth !== undefined).map((question) => [question, guesses[question.name]]);
  const [choices, numbers] = [true, false].map((choice) => found.filter(([{ options }]) => Boolean(options) === choice));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const away = (value, [{ low, high }, { truth }]) => Math.abs(value - truth) / (high - low);
  const percent = (part) => `${(100 * part).toFixed(0)}\u00a0%`;
  const said = [`You have guessed ${Object.keys(guesses).length} of ${questions.length}.`];
  if (numbers.length) {
    const [yours, middle] = [(one) => one[1].guess, ([{ low, high }]) => (low + high) / 2].map((value) => mean(numbers.map((one) => away(value(one), one))));
    said.push(`Your numbers lie, on average, ${percent(yours)} of the slider's length from what came out; its middle lies ${percent(middle)} away.`);
  }
  if (choices.length) {
    const right = choices.filter(([, { guess, truth }]) => guess === truth).length;
    const luck = choices.reduce((sum, [{ options }]) => sum + 1 / options.length, 0);
    said.push(`Of ${choices.length} ${choices.length === 1 ? "choice" : "choices"} you got ${right} right; blind luck gets ${luck.toFixed(1)}.`);
  }
  return said.join(" ");
}

function row(question, found) {
  return tag("li", {}, tag("a", { href: question.link, textContent: question.text }),
    tag("p", { className: found ? "" : "quiet" }, ...(found ? verdict(question, found) : ["Not guessed yet."])),
    ...(found && !question.options ? [track(question, found)] : []));
}

if (globalThis.customElements && !customElements.get("your-intuition")) {
  customElements.define("your-intuition", class extends HTMLElement {
    connectedCallback() {
      this.questions = JSON.parse(this.dataset.questions);
      this.paint();
    }

    paint(said = "") {
      const { show, guesses } = kept(), root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
      const had = root.activeElement?.textContent;
      const toggle = button("Ask before figures", () => {
        keep({ show: !show });
        this.paint();
      }, { "aria-pressed": String(!show) });
      const forget = button("Forget my guesses", () => {
        if (!confirm("Forget all your guesses?")) return;
        keep({ guesses: {} });
        this.paint("Your guesses are forgotten.");
      });
      const chapters = grouped(this.questions);
      root.replaceChildren(tag("style", { textContent: STYLE + OWN }),
        tag("div", { className: "live" },
          tag("p", { textContent: summary(this.questions, guesses), style: { margin: "0 0 0.75rem" } }),
          tag("div", { className: "bar" }, toggle, forget, tag("p", { className: "quiet", textContent: said, attributes: { role: "status" } })),
          ...(Object.keys(guesses).length ? [tag("p", { className: "quiet", textContent: "The ring is your guess, the dot what came out, with its interval where it has one." })] : []),
          ...[...chapters].flatMap(([chapter, questions]) => [
            tag("h2", { textContent: chapter }), tag("ol", {}, ...questions.map((question) => row(question, guesses[question.name])))])));
      if (had) [...root.querySelectorAll("button")].find((one) => one.textContent === had)?.focus();
      this.dataset.ready = "";
    }
  });
}

/** The questions by chapter, in order. */
function grouped(questions) {
  const chapters = new Map();
  for (const question of questions) chapters.set(question.chapter, [...(chapters.get(question.chapter) ?? []), question]);
  return chapters;
}
