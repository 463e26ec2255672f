// The page of all nodes: the mesh at a glance, what is wrong, and what to do.

import { byName, el, findings, nodeHref, number, search, title } from "./dom.js";
import { Rows } from "./rows.js";
import { mesh } from "./store.js";

const GOOD = new Set(["Up", "Ready"]);
const DOUBTFUL = new Set(["Pending"]);
const LEVELS = ["fail", "warn", "unknown", "ok"];
const COLUMNS = [
  ["Node", "name"], ["Status", "word"], ["Subnets", "subnets"], ["Host", "address"], ["Kubernetes", "word"],
  ["Agent", "word"], ["Runtime", "word"], ["Peers", "peers"], ["What is wrong, and the next command", "wrong"],
];

export function nodes(main) {
  const chosen = { text: "", wrong: false };
  const facts = el("dl", { class: "facts" });
  const troubles = el("section", { "aria-label": "What is wrong" });
  const count = el("p", { class: "count", role: "status" });
  const table = new Rows({ label: "Nodes", columns: COLUMNS, key: (line) => line.row.name, cells });
  const only = el("input", { type: "checkbox", change: () => refresh({ wrong: only.checked }) });
  const fields = el("div", { class: "fields" },
    search("Nodes with", (text) => refresh({ text })),
    el("label", { class: "field tick" }, only, el("span", {}, "Only those with something wrong")), count);
  main.append(title("Nodes"), facts, troubles, fields, table.element);

  function refresh(choice = {}) {
    Object.assign(chosen, choice);
    const all = [...mesh.nodes.values()];
    const shown = all.filter((line) => matches(line, chosen)).sort(worstFirst);
    count.textContent = shown.length === all.length ? "" : `${number(shown.length)} of ${number(all.length)} nodes`;
    table.show(shown);
  }

  function update(parts) {
    if (parts.has("overview")) {
      facts.replaceChildren(...glance(mesh.overview));
      troubles.replaceChildren(...wrong(mesh.overview));
    }
    if (parts.has("nodes")) refresh();
  }

  return { update, close: () => table.close() };
}

/** What was found wrong with a node first, or undefined. */
const worst = (line) => line.findings?.[0];

const badness = (line) => LEVELS.indexOf(worst(line)?.level ?? "ok");

const worstFirst = (one, other) => badness(one) - badness(other) || byName(one.row.name, other.row.name);

function matches(line, { text, wrong }) {
  if (wrong && !worst(line)) return false;
  const { name, phase, subnets, hostIP } = line.row;
  return !text || [name, phase, hostIP, ...subnets].some((held) => held.includes(text));
}

function cells(line) {
  const { row } = line;
  const found = worst(line);
  const more = (line.findings?.length ?? 0) - 1;
  return [
    { text: row.name, href: nodeHref(row.name) }, word(row.phase), row.subnets.join(", ") || "-", row.hostIP || "-",
    word(row.kubernetes), word(row.agent), word(row.runtime), peers(row.peers),
    found ? { text: found.message + (more > 0 ? ` (and ${more} more)` : ""), kind: found.level, more: found.todo } : "",
  ];
}

function word(text) {
  if (!text) return "-";
  return { text, kind: GOOD.has(text) ? "ok" : DOUBTFUL.has(text) ? "warn" : "fail" };
}

function peers({ expected, inSync }) {
  if (expected === null) return "-";
  if (inSync) return { text: `${number(expected)} in sync`, kind: "ok" };
  return inSync === null ? { text: `${number(expected)}, not known`, kind: "warn" } : { text: `${number(expected)}, not in sync`, kind: "fail" };
}

function glance({ network, nodes: all, up }) {
  const facts = [["Nodes", `${number(up)} of ${number(all)} Up`]];
  if (network) {
    const { subnets, vxlan } = network;
    facts.push(
      ["Network", `${network.clusterCIDRs.join(", ")}; VNI ${vxlan.vni}, UDP ${vxlan.port}`],
      ["Subnets", `${number(subnets.allocated)} allocated, ${number(subnets.free)} free, ` +
        `${number(subnets.quarantined)} quarantined, ${number(subnets.total)} in all`]);
  }
  return facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)));
}

function wrong({ findings: found, more, unreadable, nodes: all }) {
  const parts = [findings(found, `Nothing is wrong: ${number(all)} nodes.`)];
  for (const [code, rest] of Object.entries(more)) {
    parts.push(el("p", { class: "more" }, `… and ${number(rest)} more like this (${code}); they are in the table.`));
  }
  for (const [kind, why] of Object.entries(unreadable)) {
    parts.push(el("p", { class: "more" }, `Not looked at: ${kind} (${why})`));
  }
  return parts;
}
