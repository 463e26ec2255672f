// The map of one range: a square for each subnet, on a canvas, walked by mouse and keyboard.

import { el, nodeHref, number } from "./dom.js";

// Squares that are drawn; a range that has more shows its beginning and as far as it is used.
const MOST = 1 << 16;
// Up to so many they are large.
const FEW = 1 << 12;
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };
const WORDS = { Up: "used", Down: "of a node that is Down", Releasing: "quarantined" };
const LEGEND = ["used", "of a node that is Down", "quarantined", "free", "kept back"];

export class RangeMap {
  constructor(range) {
    this.range = range;
    this.claims = new Map();
    this.at = 0;
    this.size = range.slots > FEW ? 8 : 14;
    this.canvas = el("canvas", {
      tabindex: "0", role: "application",
      "aria-label": `Map of ${range.cidr}: arrow keys go from subnet to subnet, Enter opens the node`,
    });
    this.legend = el("ul", { class: "legend" });
    this.words = el("p", { class: "place", role: "status" });
    this.element = el("section", { class: "range", "aria-label": range.cidr },
      el("h2", {}, range.cidr), this.legend, this.canvas, this.words);
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.go(this.at));
    this.canvas.addEventListener("blur", () => this.draw());
    this.canvas.addEventListener("mousemove", (event) => this.go(this.under(event)));
    this.canvas.addEventListener("click", () => this.enter());
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.dark.addEventListener("change", this.redraw);
    this.sizes = new ResizeObserver(this.redraw);
    this.sizes.observe(this.element);
  }

  close() {
    this.sizes.disconnect();
    this.dark.removeEventListener("change", this.redraw);
  }

  /** Show the claims that are in this range. */
  show(claims) {
    this.claims = new Map();
    let end = 0;
    for (const claim of claims) {
      const slot = claim.slot ?? 0;
      const last = Math.min(this.range.slots, slot + (claim.slots ?? 1));
      for (let each = slot; each < Math.min(last, slot + MOST); each++) this.claims.set(each, claim);
      end = Math.max(end, last);
    }
    this.drawn = Math.min(this.range.slots, Math.max(256, this.range.slots > MOST ? end + 256 : this.range.slots), MOST);
    this.count();
    this.draw();
  }

  count() {
    const counts = Object.fromEntries(LEGEND.map((word) => [word, 0]));
    for (const claim of this.claims.values()) counts[WORDS[claim.phase] ?? "used"] += 1;
    for (const edge of [0, this.range.slots - 1]) if (this.edge(edge)) counts["kept back"] += 1;
    counts.free = this.range.slots - this.claims.size - counts["kept back"];
    this.legend.replaceChildren(...LEGEND.map((word) => el("li", {},
      el("span", { class: `square ${word.split(" ").at(-1).toLowerCase()}`, "aria-hidden": "true" }),
      `${number(counts[word])} ${word}`)));
  }

  /** Whether a subnet is one that nobody is given unasked, and that nobody has. */
  edge(slot) {
    return this.range.edges && (slot === 0 || slot === this.range.slots - 1) && !this.claims.has(slot);
  }

  draw() {
    if (!this.drawn) return;
    const style = getComputedStyle(this.element);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const wide = Math.floor((this.element.clientWidth || 900) / this.size);
    this.columns = 2 ** Math.min(7, Math.floor(Math.log2(Math.max(8, wide))));
    const rows = Math.ceil(this.drawn / this.columns);
    const scale = devicePixelRatio;
    const [width, height] = [this.columns * this.size, rows * this.size];
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const colors = { free: color("free"), used: color("used"), Down: color("down"), Releasing: color("quarantined") };
    for (let slot = 0; slot < this.drawn; slot++) this.square(pen, slot, colors);
    if (document.activeElement === this.canvas) this.mark(pen, color("focus"));
  }

  square(pen, slot, colors) {
    const claim = this.claims.get(slot);
    const [x, y, side] = [(slot % this.columns) * this.size, Math.floor(slot / this.columns) * this.size, this.size - 2];
    if (this.edge(slot)) return;
    pen.fillStyle = claim ? colors[claim.phase] ?? colors.used : colors.free;
    if (claim?.phase === "Releasing") {
      // Not by its color alone: half a square.
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + side, y);
      pen.lineTo(x, y + side);
      pen.fill();
    } else if (claim?.phase === "Down") {
      pen.fillRect(x, y, side, side);
      pen.clearRect(x + side / 3, y + side / 3, side / 3, side / 3);
    } else {
      pen.fillRect(x, y, side, side);
    }
  }

  mark(pen, color) {
    pen.strokeStyle = color;
    pen.lineWidth = 2;
    pen.strokeRect((this.at % this.columns) * this.size - 1, Math.floor(this.at / this.columns) * this.size - 1, this.size, this.size);
  }

  key(event) {
    const step = STEPS[event.key] ?? { ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
    if (event.key === "Enter") this.enter();
    else if (event.key === "Home") this.go(0);
    else if (event.key === "End") this.go(this.drawn - 1);
    else if (step !== undefined) this.go(this.at + step);
    else return;
    event.preventDefault();
  }

  under({ offsetX, offsetY }) {
    return Math.floor(offsetY / this.size) * this.columns + Math.min(this.columns - 1, Math.floor(offsetX / this.size));
  }

  go(slot) {
    if (slot < 0 || slot >= this.drawn) return;
    this.at = slot;
    const claim = this.claims.get(slot);
    const state = claim ? `${claim.node}, ${claim.phase || "claimed"}` : this.edge(slot) ? "kept back" : "free";
    this.words.textContent = `${claim?.cidr ?? this.cidr(slot)}: ${state}`;
    if (document.activeElement === this.canvas) this.draw();
  }

  enter() {
    const claim = this.claims.get(this.at);
    if (claim) location.hash = nodeHref(claim.node);
  }

  /** The subnet of a slot; of IPv6 its number, for nobody has to read more of what is free. */
  cidr(slot) {
    const { cidr, length } = this.range;
    if (cidr.includes(":")) return `subnet ${number(slot)} of ${cidr}`;
    const base = cidr.split("/")[0].split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
    const address = base + slot * 2 ** (32 - length);
    return `${[24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".")}/${length}`;
  }
}
