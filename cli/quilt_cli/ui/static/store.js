// The mesh as the server brings it: everything once, then what changes.

/** `overview` is null until the cluster was read; the rest are rows by key. */
export const mesh = { overview: null, nodes: new Map(), subnets: new Map(), events: new Map() };

let version = 0;
let source = null;
const readers = new Set();

/** Call `changed(parts)` after every change, `parts` being the names of what changed. Returns how to stop. */
export function follow(changed) {
  readers.add(changed);
  return () => readers.delete(changed);
}

/** Connect while the page can be seen; `state` gets `reading`, `live`, `lost` or `refused`. */
export function connect(state) {
  const open = () => {
    source = new EventSource(`/api/changes?since=${version}`);
    source.onmessage = (event) => {
      accept(JSON.parse(event.data));
      state("live");
    };
    // A server that refuses is another one than before: it does not know this page.
    source.onerror = () => state(source?.readyState === EventSource.CLOSED ? "refused" : "lost");
  };
  document.addEventListener("visibilitychange", () => {
    // A browser has few connections to a server, for all of its pages together.
    if (document.hidden) source?.close();
    else open();
  });
  state("reading");
  open();
}

function accept(changes) {
  const parts = new Set();
  version = changes.version;
  if (changes.overview) {
    mesh.overview = changes.overview;
    parts.add("overview");
  }
  for (const part of ["nodes", "subnets", "events"]) {
    const { changed = {}, gone = [] } = changes[part] ?? {};
    for (const [key, row] of Object.entries(changed)) mesh[part].set(key, row);
    for (const key of gone) mesh[part].delete(key);
    if (gone.length || Object.keys(changed).length) parts.add(part);
  }
  for (const changed of readers) changed(parts);
}
