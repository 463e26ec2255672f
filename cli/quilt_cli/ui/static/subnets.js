// The page of subnets: a map of each range, and the claims.

import { el, nodeHref, number, search, title } from "./dom.js";
import { RangeMap } from "./rangemap.js";
import { Rows } from "./rows.js";
import { mesh } from "./store.js";

const COLUMNS = [["Subnet", "subnets"], ["Status", "word"], ["Node", "name"], ["Released", "time"]];
const KINDS = { Up: "ok", Down: "fail", Releasing: "warn" };

export function subnets(main) {
  let chosen = "";
  let maps = [];
  const drawn = el("div");
  const count = el("p", { class: "count", role: "status" });
  const table = new Rows({ label: "Subnets of nodes", columns: COLUMNS, key: (claim) => claim.cidr, cells });
  const fields = el("div", { class: "fields" }, search("Subnets with", (text) => {
    chosen = text;
    refresh();
  }), count);
  main.append(title("Subnets"), drawn, el("h2", {}, "Subnets of nodes"), fields, table.element);

  function refresh() {
    const shown = [...mesh.subnets.values()]
      .filter((claim) => !chosen || [claim.cidr, claim.node, claim.phase ?? ""].some((held) => held.includes(chosen)))
      .sort((one, other) => (one.place ?? 99) - (other.place ?? 99) || (one.slot ?? 0) - (other.slot ?? 0));
    count.textContent = `${number(shown.length)} subnets`;
    table.show(shown);
  }

  function draw() {
    const { ranges } = mesh.overview;
    if (JSON.stringify(maps.map((map) => map.range)) !== JSON.stringify(ranges)) {
      for (const map of maps) map.close();
      maps = ranges.map((range) => new RangeMap(range));
      drawn.replaceChildren(...maps.map((map) => map.element));
    }
    const places = maps.map(() => []);
    for (const claim of mesh.subnets.values()) if (claim.place !== undefined) places[claim.place]?.push(claim);
    maps.forEach((map, index) => map.show(places[index]));
  }

  return {
    update(parts) {
      if (parts.has("overview") || parts.has("subnets")) draw();
      if (parts.has("subnets")) refresh();
    },
    close() {
      table.close();
      for (const map of maps) map.close();
    },
  };
}

function cells(claim) {
  const phase = claim.phase ?? "";
  return [
    claim.cidr, { text: phase === "Releasing" ? "Releasing (quarantined)" : phase || "-", kind: KINDS[phase] ?? "" },
    { text: claim.node, href: nodeHref(claim.node) }, claim.releasedAt ?? "",
  ];
}
