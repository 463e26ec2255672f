// The page of Events about the mesh's objects, as they come.

import { el, nodeHref, number, search, title } from "./dom.js";
import { Rows } from "./rows.js";
import { mesh } from "./store.js";

const COLUMNS = [["Time", "time"], ["Type", "word"], ["Reason", "reason"], ["About", "about"], ["Event", "wrong"], ["Times", "count"]];
const NODE = "QuiltNode ";

export function events(main) {
  let chosen = "";
  const count = el("p", { class: "count", role: "status" });
  const table = new Rows({ label: "Events", columns: COLUMNS, key: (event) => event.uid, cells });
  const fields = el("div", { class: "fields" }, search("Events with", (text) => {
    chosen = text;
    refresh();
  }), count);
  main.append(title("Events"), fields, table.element);

  function refresh() {
    const shown = newest((event) => !chosen || `${event.reason} ${event.about} ${event.message}`.includes(chosen));
    count.textContent = `${number(shown.length)} Events, the newest first`;
    table.show(shown);
  }

  return { update: (parts) => parts.has("events") && refresh(), close: () => table.close() };
}

/** The Events that are chosen, the newest first. */
export function newest(chosen) {
  return [...mesh.events.values()].filter(chosen).sort((one, other) => (one.time < other.time ? 1 : -1));
}

export const when = (time) => (time ? new Date(time).toLocaleString("sv") : "-");

function cells(event) {
  const name = event.about.startsWith(NODE) ? event.about.slice(NODE.length) : "";
  return [
    when(event.time), { text: event.type, kind: event.type === "Warning" ? "warn" : "" }, event.reason,
    name ? { text: event.about, href: nodeHref(name) } : event.about, event.message, number(event.count ?? 1),
  ];
}
