// The page of one node: what is wrong with it, and its kernel against what should be there.

import { ask, el, finding, findings, nodeHref, number, sign, title } from "./dom.js";
import { newest, when } from "./events.js";
import { Rows } from "./rows.js";
import { mesh } from "./store.js";

const LEVELS = ["fail", "warn", "unknown"];
const COLUMNS = [["Peer", "name"], ["Subnet", "subnets"], ["Route", "entry"], ["Neighbor", "entry"], ["FDB entry", "entry"]];

export function node(main, name) {
  const line = el("div");
  const inside = el("section", { "aria-label": "Kernel" });
  const busy = el("p", { class: "count", role: "status" });
  const button = el("button", { type: "button", click: () => look() }, "Look again");
  const table = new Rows({ label: "Entries of peers", columns: COLUMNS, key: (peer) => peer.cidr, cells });
  const happened = el("section", { "aria-label": "Events" });
  main.append(el("p", {}, el("a", { href: "#/nodes" }, "All nodes")), title(name), line,
    el("h2", {}, "Its kernel, against what should be there"), el("div", { class: "fields" }, button, busy), inside,
    el("h2", {}, "Events"), happened);

  async function look() {
    button.disabled = true;
    busy.textContent = "Looking from within its agent's container …";
    try {
      const page = await ask("/api/node", { name });
      inside.replaceChildren(...kernel(page, table));
      table.show(page.peers);
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
  return { update, close: () => table.close() };
}

function about({ row, findings: found = [] }) {
  const facts = [["Status", row.phase], ["Subnets", row.subnets.join(", ")], ["Host address", row.hostIP],
    ["Kubernetes", row.kubernetes], ["Agent", row.agent], ["Runtime", row.runtime], ["Version", row.version]];
  return [
    el("dl", { class: "facts" }, ...facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text || "-")))),
    findings(found, "Nothing is known to be wrong with it.", false),
  ];
}

function kernel({ conditions, checks, peers, blind }, entries) {
  const bad = checks.filter((item) => LEVELS.includes(item.level)).sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
  const good = checks.filter((item) => item.level === "ok");
  const parts = [];
  for (const [part, why] of Object.entries(blind)) {
    parts.push(el("p", { class: "finding" }, sign("unknown"), ` Not looked at: ${part} (${why})`));
  }
  if (checks.length) parts.push(findings(bad, `As it should be: ${good.length} checks.`, false));
  if (good.length) {
    parts.push(el("details", {}, el("summary", {}, `${good.length} checks that are fine`),
      el("ul", { class: "findings" }, ...good.map((item) => finding(item, false)))));
  }
  if (peers.length) {
    const other = peers.filter((peer) => !isWell(peer)).length;
    const text = other ? ` For ${number(other)} of ${number(peers.length)} subnets of peers it holds something else than it should.`
      : ` All that it should hold because of ${number(peers.length)} subnets of peers is there.`;
    parts.push(el("h3", {}, "Entries of peers"), el("p", { class: other ? "fail" : "fine" }, sign(other ? "fail" : "ok"), text), entries.element);
  }
  parts.push(el("h3", {}, "Conditions of its QuiltNode"), table("Conditions", ["Condition", "Status", "Reason", "Message", "Since"],
    conditions.map((item) => [item.type, item.status, item.reason, item.message, when(item.lastTransitionTime)])));
  return parts;
}

const isWell = (peer) => [peer.route, peer.neighbor, peer.fdb].every((entry) => entry.held === undefined);

function cells(peer) {
  return [
    peer.node ? { text: peer.node, href: nodeHref(peer.node) } : "of nobody", peer.cidr,
    ...[peer.route, peer.neighbor, peer.fdb].map(held),
  ];
}

/** An entry: what is there, and below it what should be, where that is another. */
function held({ wanted = "", held: other }) {
  if (other === undefined) return { text: wanted || "-", kind: wanted ? "ok" : "" };
  return { text: other || "missing", kind: "fail", more: wanted ? `should be ${wanted}` : "should not be there" };
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
