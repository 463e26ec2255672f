// A table of any number of rows, of which only those near the visible ones are in the document.

import { el } from "./dom.js";

// Rows beyond either edge of what is visible, so that there is something while it scrolls.
const AROUND = 6;

/**
 * A scrolled table. `columns` are [heading, class]; `cells(item)` gives for each column its text, or
 * {text, href, kind, more}: a link, a class, a second line. `key(item)` is the same while a row stays the same.
 */
export class Rows {
  constructor({ label, columns, key, cells }) {
    this.key = key;
    this.cells = cells;
    this.items = [];
    this.made = new Map();
    this.height = 0;
    this.above = el("tr", { "aria-hidden": "true", class: "space" }, el("td", { colspan: columns.length }));
    this.below = this.above.cloneNode(true);
    this.body = el("tbody", {}, this.above, this.below);
    const heads = columns.map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
    this.table = el("table", { class: "rows" },
      el("caption", { class: "unseen" }, label), el("thead", {}, el("tr", {}, ...heads)), this.body);
    this.columns = columns;
    // It can be focused, so that the keys scroll it.
    this.element = el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": label }, this.table);
    this.element.addEventListener("scroll", () => this.soon());
    this.sizes = new ResizeObserver(() => this.soon());
    this.sizes.observe(this.element);
  }

  /** Show these items, in this order. */
  show(items) {
    this.items = items;
    this.table.setAttribute("aria-rowcount", items.length + 1);
    this.soon();
  }

  close() {
    this.sizes.disconnect();
  }

  soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    this.height ||= this.measured();
    const seen = Math.ceil(this.element.clientHeight / this.height) + 2 * AROUND;
    const last = Math.max(0, this.items.length - seen);
    const first = Math.min(last, Math.max(0, Math.floor(this.element.scrollTop / this.height) - AROUND));
    const shown = this.items.slice(first, first + seen);
    const keys = new Set(shown.map(this.key));
    // Rows that are no longer near are filled again: to make new ones takes longer.
    const spare = [];
    for (const [key, row] of this.made) {
      if (keys.has(key)) continue;
      row.remove();
      spare.push(row);
    }
    const kept = new Map();
    shown.forEach((item, index) => {
      const key = this.key(item);
      const row = this.made.get(key) ?? spare.pop() ?? this.row();
      this.fill(row, item, first + index);
      kept.set(key, row);
    });
    this.made = kept;
    // What stays is not moved: it would lose the focus.
    let place = this.above.nextSibling;
    for (const row of kept.values()) {
      if (row === place) place = place.nextSibling;
      else this.body.insertBefore(row, place);
    }
    this.above.firstChild.style.height = `${first * this.height}px`;
    this.below.firstChild.style.height = `${Math.max(0, this.items.length - first - seen) * this.height}px`;
  }

  measured() {
    const row = this.row();
    this.body.append(row);
    const { height } = row.getBoundingClientRect();
    row.remove();
    return height || 44;
  }

  row() {
    const cells = this.columns.map(([, kind], index) => el(index ? "td" : "th", { class: kind, scope: index ? null : "row" }));
    return el("tr", {}, ...cells);
  }

  fill(row, item, index) {
    row.setAttribute("aria-rowindex", index + 2);
    if (row.item === item) return;
    row.item = item;
    this.cells(item).forEach((given, column) => {
      const { text, href, kind = "", more = "" } = typeof given === "object" ? given : { text: given };
      const cell = row.children[column];
      const tag = href ? "A" : "SPAN";
      if (cell.firstChild?.tagName !== tag) cell.replaceChildren(el(tag));
      if (href && cell.firstChild.getAttribute("href") !== href) cell.firstChild.setAttribute("href", href);
      if (cell.firstChild.textContent !== text) cell.firstChild.textContent = text;
      cell.firstChild.className = kind;
      if (more && !cell.children[1]) cell.append(el("code"));
      if (more) cell.children[1].textContent = more;
      else cell.children[1]?.remove();
    });
  }
}
