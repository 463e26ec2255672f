// Which page is shown, and how it stays current.

import { el } from "./dom.js";
import { events } from "./events.js";
import { latency } from "./latency.js";
import { node } from "./node.js";
import { nodes } from "./nodes.js";
import { connect, follow, mesh } from "./store.js";
import { subnets } from "./subnets.js";

const PAGES = { nodes, subnets, latency, events, node };
const STATES = {
  reading: "Reading the cluster …",
  live: "Live",
  lost: "quiltctl ui does not answer; trying again …",
  refused: "quiltctl ui was started again: open the address that it printed.",
};
const ALL = new Set(["overview", "nodes", "subnets", "events"]);
const main = document.getElementById("main");
let page = null;
let state = "reading";

function open() {
  const [, name = "nodes", detail = ""] = location.hash.split("/");
  const known = name in PAGES ? name : "nodes";
  const moved = page !== null;
  page?.close();
  main.replaceChildren();
  page = PAGES[known](main, decodeURIComponent(detail));
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#/${known}` || (known === "node" && link.hash === "#/nodes");
    if (here) link.setAttribute("aria-current", known === "node" ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · Quilt Mesh`;
  if (mesh.overview) page.update(ALL);
  else heading.after(el("p", { class: "reading" }, STATES.reading));
  if (moved) heading.focus();
}

function showState(now) {
  state = now;
  const silent = Object.entries(mesh.overview?.silent ?? {});
  const stale = silent.length ? `Not followed any more: ${silent.map(([kind, why]) => `${kind} (${why})`).join(", ")}` : "";
  const shown = document.getElementById("connection");
  const text = state === "live" && stale ? stale : STATES[state];
  if (shown.textContent !== text) shown.textContent = text;
  shown.className = state === "live" && !stale ? "ok" : state === "reading" ? "" : "fail";
}

follow((parts) => {
  main.querySelector(".reading")?.remove();
  if (parts.has("overview")) document.getElementById("context").textContent = mesh.overview.context;
  page.update(parts);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.querySelector("h1").focus();
});
// The token is in the cookie by now.
history.replaceState(null, "", location.pathname + location.hash);
addEventListener("hashchange", open);
open();
connect(showState);
