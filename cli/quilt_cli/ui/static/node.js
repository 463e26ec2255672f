// The page of one node: what is wrong with it, and its kernel against what should be there.

import { ask, el, finding, findings, sign, title } from "./dom.js";
import { newest, when } from "./events.js";
import { mesh } from "./store.js";

const LEVELS = ["fail", "warn", "unknown"];

export function node(main, name) {
  const line = el("div");
  const inside = el("section", { "aria-label": "Kernel" });
  const busy = el("p", { class: "count", role: "status" });
  const button = el("button", { type: "button", click: () => look() }, "Look again");
  const happened = el("section", { "aria-label": "Events" });
  main.append(el("p", {}, el("a", { href: "#/nodes" }, "All nodes")), title(name), line,
    el("h2", {}, "Its kernel, against what should be there"), el("div", { class: "fields" }, button, busy), inside,
    el("h2", {}, "Events"), happened);

  async function look() {
    button.disabled = true;
    busy.textContent = "Looking from within its agent's container …";
    try {
      inside.replaceChildren(...kernel(await ask("/api/node", { name })));
      busy.textContent = `Looked at ${new Date().toLocaleTimeString("sv")}`;
    } catch (error) {
      inside.replaceChildren();
      busy.textContent = `Cannot tell: ${error.message}`;
    }
    button.disabled = false;
  }

  function update(parts) {
    const held = mesh.nodes.get(name);
    if (parts.has("nodes")) line.replaceChildren(...(held ? about(held) : [el("p", {}, "The mesh has no node of this name.")]));
    if (parts.has("events")) happened.replaceChildren(history(name));
  }

  look();
  return { update, close: () => {} };
}

function about({ row, findings: found = [] }) {
  const facts = [["Status", row.phase], ["Subnets", row.subnets.join(", ")], ["Host address", row.hostIP],
    ["Kubernetes", row.kubernetes], ["Agent", row.agent], ["Runtime", row.runtime], ["Version", row.version]];
  return [
    el("dl", { class: "facts" }, ...facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text || "-")))),
    findings(found, "Nothing is known to be wrong with it.", false),
  ];
}

function kernel({ conditions, checks, blind }) {
  const bad = checks.filter((item) => LEVELS.includes(item.level)).sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
  const good = checks.filter((item) => item.level === "ok");
  const parts = [];
  if (blind) parts.push(el("p", { class: "finding" }, sign("unknown"), ` It could not be looked at: ${blind}`));
  else parts.push(findings(bad, `As it should be: ${good.length} checks.`, false));
  if (good.length) {
    parts.push(el("details", {}, el("summary", {}, `${good.length} checks that are fine`),
      el("ul", { class: "findings" }, ...good.map((item) => finding(item, false)))));
  }
  parts.push(el("h3", {}, "Conditions of its QuiltNode"), table("Conditions", ["Condition", "Status", "Reason", "Message", "Since"],
    conditions.map((item) => [item.type, item.status, item.reason, item.message, when(item.lastTransitionTime)])));
  return parts;
}

function history(name) {
  const found = newest((event) => event.about === `QuiltNode ${name}`);
  if (!found.length) return el("p", {}, "None that the API server still has.");
  return table("Events", ["Time", "Type", "Reason", "Event", "Times"],
    found.map((event) => [when(event.time), event.type, event.reason, event.message, String(event.count ?? 1)]));
}

function table(label, heads, rows) {
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    el("table", { class: "plain" }, el("caption", { class: "unseen" }, label),
      el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, ...rows.map(([first, ...others]) => el("tr", {}, el("th", { scope: "row" }, first), ...others.map((text) => el("td", {}, text)))))));
}
