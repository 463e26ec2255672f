"""Gathering a sysdump: what was read is put into the archive, what could not be into its index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from quilt_cli.api.read_nodes import NodePod
from quilt_cli.api.read_sysdump import Wanted, read_objects, read_parts
from quilt_cli.api.recorded import Recording
from quilt_cli.archive_file import Writer
from quilt_cli.core import cluster_checks
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.status import report
from quilt_cli.core.sysdump import INDEX, Index, Missing, Part, cleaned, object_file
from quilt_kube.access import Access

Tell = Callable[[str], None]
# Answers between two lines about how far it is.
_TOLD = 50


@dataclass
class _Gathered:
    """Puts parts into the archive while there is room, and notes what is missing."""

    writer: Writer
    limit: int
    missing: list[Missing]

    def add(self, part: Part) -> None:
        """Add a part, or note why it is not there."""
        why = part.why
        if not why and self.writer.written + len(part.content) > self.limit:
            why = "the archive has as much as --max-size allows"
        if why:
            self.missing.append(Missing(part.about, part.what, why))
        else:
            self.writer.add(part.name, part.content)


def gather(access: Access, writer: Writer, wanted: Wanted, about: Index, tell: Tell) -> Index:
    """Fill the archive; its index, `about` with what is in it, comes last. UnreachableError and OSError."""
    requests: dict[str, str] = {}

    def keep(target: str, body: bytes) -> None:
        if target not in requests:
            requests[target] = object_file(target)
            writer.add(requests[target], cleaned(body))

    client = Recording(access, keep, agent="quiltctl")
    tell("reading objects")
    facts, pods, raws = read_objects(client, "quilt-system")
    _judge(writer, facts)
    tell("reading nodes and logs")
    gathered = _Gathered(writer, wanted.bytes, [*_refused(client), *_without_pod(facts, pods, wanted)])
    for count, parts in enumerate(read_parts(client, pods, raws, wanted, facts.mesh.spec), 1):
        for part in parts:
            gathered.add(part)
        if count % _TOLD == 0:
            tell(f"reading nodes and logs: {count} answers")
    index = msgspec.structs.replace(
        about,
        requests=requests,
        refused=client.refused,
        nodes={pod.name: pod.node for pod in pods if wanted.has(pod.node)},
        missing=tuple(gathered.missing),
    )
    writer.add(INDEX, msgspec.json.format(msgspec.json.encode(index), indent=1))
    return index


def _judge(writer: Writer, facts: ClusterFacts) -> None:
    """Add what `quiltctl status` and `quiltctl check` answer, for who reads the archive without them."""
    writer.add("status.json", msgspec.json.encode(report(facts.mesh)))
    writer.add("check.json", msgspec.json.encode(cluster_checks.after(facts, facts.mesh.spec.cidrs)))


def _without_pod(facts: ClusterFacts, pods: Iterable[NodePod], wanted: Wanted) -> Iterator[Missing]:
    known = {pod.node for pod in pods}
    for node in facts.mesh.mesh_nodes:
        if node.name not in known and wanted.has(node.name):
            yield Missing(f"Node {node.name}", "kernel", "no pod of quilt-mesh is on it")


def _refused(client: Recording) -> list[Missing]:
    """What the API server refused; a kind that it does not know is no loss."""
    return [
        Missing(target, "objects", f"{refusal.message} (HTTP {refusal.status})")
        for target, refusal in client.refused.items()
        if refusal.status != 404
    ]
