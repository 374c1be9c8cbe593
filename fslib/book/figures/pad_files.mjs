// The files of the pad: an alphabet goes out and comes back, and a network of one's own answers in place of the book's.
//
// Nothing is sent anywhere: the browser writes and reads the files of its own machine.

import { LARGEST, fromText, plain, toText } from "./alphabet_file.mjs";
import { readConv4 } from "./conv4.mjs";
import { allow, button, tag } from "./element.mjs";

/**
 * The controls, folded, and how to paint them. `pad` gives its `content()`, which is an alphabet, takes another one by
 * `open(alphabet)`, which tells what did not fit, and renames its characters by `rename(names)`; its `figure` has the network.
 */
export function filesOf(pad) {
  const { figure } = pad;
  const said = tag("p", { className: "says", attributes: { role: "status" } });
  const say = (text) => (said.textContent = text);
  const writer = text("Your name", "writer", "may be left out", (value) => figure.set({ writer: plain(value) }));
  const names = text("Names of the letters", "names", "A, B, C", (value) => pad.rename(value.split(",").map(plain)));
  const save = () => say(saved(pad));
  const open = opening("Open alphabet", ".json", LARGEST, say, async (file) => {
    const more = pad.open(fromText(await file.text()));
    return `${file.name} is open.${more} Undo brings back what was drawn before.`;
  });
  const load = opening("Open network", ".bin", LARGEST, say, async (file) => {
    figure.network = readConv4(await file.arrayBuffer());
    figure.networkName = file.name;
    figure.repaint();
    return `${file.name} answers now, in place of the network of this book.`;
  });
  const restore = button("The book's network", () => {
    figure.prepare(figure);
    figure.repaint();
    say("The network of this book answers again.");
  });
  const element = tag("details", {}, tag("summary", { textContent: "Files: save your alphabet, open another, or a network of your own" }),
    tag("div", { className: "bar" }, writer.element, names.element),
    tag("div", { className: "bar" }, button("Save alphabet", save), ...open, ...load, restore),
    said);
  return {
    element,
    paint({ writer: by }, labels) {
      writer.show(by);
      names.show(labels.join(", "));
      allow(restore, Boolean(figure.networkName));
    },
  };
}

/** Save the alphabet of a pad; tells what came of it. */
function saved(pad) {
  const alphabet = pad.content(), names = alphabet.classes.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice) return `Two characters are called ${twice}; give each a name of its own, and save again.`;
  if (!alphabet.classes.some(({ drawings }) => drawings.length)) return "There is nothing to save yet: draw an example of a character first.";
  const by = plain(alphabet.writer).toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  const name = `alphabet${by && `-${by}`}.json`;
  const link = tag("a", { href: URL.createObjectURL(new Blob([toText(alphabet)], { type: "application/json" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000); // once the browser has it
  return `${name} is saved where your browser puts downloads. In Python, fslib.data.from_alphabets reads it.`;
}

/** A labelled line of text. What is being written in it stays, whatever the state says. */
function text(label, name, placeholder, onchange) {
  const input = tag("input", { type: "text", name, placeholder, maxLength: 200, autocomplete: "off" });
  input.onchange = () => onchange(input.value);
  const show = (value) => {
    if (!input.matches(":focus")) input.value = value;
  };
  return { element: tag("label", {}, `${label} `, input), show };
}

/** A button that asks for a file and opens it: `read(file)` tells what came of it, or throws what is wrong with it. */
function opening(label, accept, largest, say, read) {
  const input = tag("input", { type: "file", accept, hidden: true });
  input.onchange = async () => {
    const [file] = input.files;
    if (!file) return;
    try {
      if (file.size > largest) throw new Error(`This is larger than ${largest / 1e6} MB, which no file for this pad is.`);
      say(await read(file));
    } catch (error) {
      say(`${file.name}: ${error.message}`);
    }
    input.value = ""; // so that the same file can be opened again
  };
  return [button(label, () => input.click()), input];
}
