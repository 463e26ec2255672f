// The page of latency: who sends to whom, how long there and back takes, and what is lost.

import { ask, byName, el, findings, number, search, title } from "./dom.js";

// Where a time is colored otherwise than the one before, in seconds.
const STEPS = [0.0005, 0.001, 0.002, 0.005, 0.02];

export function latency(main) {
  let matching = "";
  const found = el("div");
  const busy = el("p", { class: "count", role: "status" });
  const button = el("button", { type: "button", click: () => measure() }, "Read again");
  const field = search("Nodes with", (text) => {
    matching = text;
  });
  field.addEventListener("keydown", (event) => event.key === "Enter" && measure());
  main.append(title("Latency"),
    el("p", { class: "lead" }, "What the nodes' probes measured in the last minute. Rows send, columns receive; times are there and back, in milliseconds."),
    el("div", { class: "fields" }, field, button, busy), found);

  async function measure() {
    button.disabled = true;
    busy.textContent = "Asking the nodes …";
    try {
      const heat = await ask("/api/latency", { matching });
      found.replaceChildren(...shown(heat));
      busy.textContent = `Read at ${new Date().toLocaleTimeString("sv")}`;
    } catch (error) {
      found.replaceChildren();
      busy.textContent = `Cannot tell: ${error.message}`;
    }
    button.disabled = false;
  }

  measure();
  return { update: () => {}, close: () => {} };
}

function shown(heat) {
  const parts = [el("section", { "aria-label": "What is wrong" }, findings(heat.findings, "All probed paths work."))];
  if (heat.nodes.length < heat.of) {
    parts.push(el("p", { class: "more" }, `${number(heat.nodes.length)} of ${number(heat.of)} nodes: those with the worst paths first. Choose others by their names.`));
  }
  if (heat.nodes.length) parts.push(matrix(heat), legend());
  return parts;
}

function matrix({ nodes: given, paths }) {
  const nodes = [...given].sort(byName);
  const cells = new Map(paths.map((path) => [`${path.from} ${path.to}`, path]));
  const heads = nodes.map((name) => el("th", { scope: "col" }, el("span", {}, name)));
  const rows = nodes.map((from) => el("tr", {}, el("th", { scope: "row" }, from),
    ...nodes.map((to) => cell(from === to ? null : cells.get(`${from} ${to}`), from === to))));
  return el("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": "Latency between nodes" },
    el("table", { class: "heat" }, el("caption", { class: "unseen" }, "Rows send, columns receive; milliseconds"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "from \\ to"), ...heads)), el("tbody", {}, ...rows)));
}

function cell(path, self) {
  if (self) return el("td", { class: "self" }, el("span", { class: "unseen" }, "itself"));
  if (!path) return el("td", { class: "unknown" }, el("span", { title: "nobody watches this path now" }, "·"));
  if (path.state === "failing") return el("td", { class: "lost" }, "lost");
  if (path.state !== "ok") return el("td", { class: "unknown" }, "?");
  const trip = path.roundTrip === null ? "ok" : (path.roundTrip * 1000).toFixed(2);
  const step = STEPS.filter((limit) => path.roundTrip > limit).length;
  const loss = path.loss ? ` ${Math.ceil(path.loss * 100)}% lost` : "";
  const kind = path.narrow ? "lost" : path.loss ? "lossy" : `step-${step}`;
  return el("td", { class: kind }, trip + loss + (path.narrow ? " full size lost" : ""));
}

function legend() {
  const steps = [...STEPS, null].map((limit, index) => el("li", {},
    el("span", { class: `square step-${index}`, "aria-hidden": "true" }),
    limit === null ? `more` : `to ${limit * 1000} ms`));
  const others = [["lossy", "some lost"], ["lost", "lost, or full size lost"], ["unknown", "? not known, · not watched now"]];
  return el("ul", { class: "legend" }, ...steps, ...others.map(([kind, text]) => el("li", {},
    el("span", { class: `square ${kind}`, "aria-hidden": "true" }), text)));
}
