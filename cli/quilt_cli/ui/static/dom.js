// Elements. Text is always text: nothing that the cluster brings is read as HTML.

/** Make an element; `attributes` that are null or false are left out, functions are listeners. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The heading of a page, which gets the focus when one comes from another page. */
export const title = (text) => el("h1", { tabindex: "-1" }, text);

export const nodeLink = (name) => el("a", { href: nodeHref(name) }, name);

export const nodeHref = (name) => `#/node/${encodeURIComponent(name)}`;

/** Names in the order of their numbers: node-2 before node-10. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;

export const number = (value) => value.toLocaleString("en");

/** A labelled field to search in; `changed` gets its text. */
export function search(label, changed, value = "") {
  const field = el("input", { type: "search", value, autocomplete: "off", spellcheck: "false" });
  field.addEventListener("input", () => changed(field.value.trim()));
  return el("label", { class: "field" }, el("span", {}, label), field);
}

const SIGNS = { ok: "✓", unknown: "?", warn: "!", fail: "✗" };
const WORDS = { ok: "fine", unknown: "not known", warn: "doubtful", fail: "broken" };
const COMMAND = /^(kubectl|quiltctl|helm) /;

/** How bad something is, as a sign with a word for who does not see it. */
export function sign(level) {
  return el("span", { class: `sign ${level}` }, el("span", { "aria-hidden": "true" }, SIGNS[level] ?? "?"),
    el("span", { class: "unseen" }, WORDS[level] ?? level));
}

/** A finding with its next step; `about` whether to name what it is about. */
export function finding(item, about = true) {
  const name = /^(?:Quilt)?Node (.+)$/.exec(item.object)?.[1];
  const subject = name && !name.includes(" ") ? nodeLink(name) : item.object;
  return el("li", { class: "finding" }, sign(item.level),
    el("div", {},
      el("p", {}, about ? el("strong", {}, subject, ": ") : null, item.message),
      item.todo ? next(item.todo) : null));
}

function next(todo) {
  if (!COMMAND.test(todo)) return el("p", { class: "todo" }, `→ ${todo}`);
  const copied = (event) => navigator.clipboard?.writeText(todo).then(() => {
    event.target.textContent = "Copied";
  });
  return el("p", { class: "todo" }, el("code", {}, todo), " ",
    el("button", { type: "button", "aria-label": `Copy: ${todo}`, click: copied }, "Copy"));
}

/** A list of findings, or a sentence where there are none. */
export function findings(items, none, about = true) {
  if (!items.length) return el("p", { class: "fine" }, sign("ok"), ` ${none}`);
  return el("ul", { class: "findings" }, ...items.map((item) => finding(item, about)));
}

/** Ask the server for a document; what it cannot answer is an Error in its words. */
export async function ask(path, query = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  let why = text;
  try {
    why = JSON.parse(text).error;
  } catch {
    // It is a sentence already.
  }
  throw new Error(why);
}
