"""A client that keeps what it is answered, and one that answers from what was kept.

So what a command reads of a cluster is what it reads of an archive, and nobody lists it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from quilt_cli.core.finding import Finding, fail
from quilt_cli.core.objects import text
from quilt_cli.core.sysdump import CHECK, CHECKS, KERNEL, LATENCY, Index, Refusal, node_file, object_file
from quilt_kube.access import Access
from quilt_kube.channels import CommandError
from quilt_kube.request import JSON, ApiError, Json, Request, UnreachableError, document, read
from quilt_kube.sync import Client

# Objects of a list that are asked for at once.
_PAGE = 500
_COMMANDS = {("quiltctl", "node"): KERNEL, ("quiltctl", "latency"): LATENCY}


class NotKeptError(UnreachableError):
    """The archive has no answer to this."""


class Recording(Client):
    """Asks an API server; `keep` gets each JSON answer by path and query, `refused` has the refusals."""

    def __init__(self, access: Access, keep: Callable[[str, bytes], None], *, agent: str) -> None:
        super().__init__(access, agent=agent)
        self._keep = keep
        self.refused: dict[str, Refusal] = {}

    def send(self, request: Request, *, timeout: float | None = None) -> bytes:
        """Return the body of the answer, and keep it."""
        with self._noting(request.target):
            body = super().send(request, timeout=timeout)
        if request.accept == JSON:
            self._keep(request.target, body)
        return body

    def keep_list(self, path: str, choose: Callable[[Json], list[Any]]) -> None:
        """Ask for a list in pages, and keep what is chosen of each as the answer to the question for all.

        So a list that is too large to be held, as that of all pods, needs not be. Raises what `send` does.
        """
        query, items, kind = {"limit": str(_PAGE)}, list[Any](), ""
        while True:
            with self._noting(path):
                page = document(super().send(read(path, query)))
            items += choose(page)
            kind, query["continue"] = text(page, "kind"), text(page, "metadata", "continue")
            if not query["continue"]:
                break
        self._keep(path, msgspec.json.encode({"kind": kind, "items": items}))

    @contextmanager
    def _noting(self, target: str) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            self.refused[target] = Refusal(error.status, error.message, error.reason)
            raise


class Replaying(Client):
    """Answers from an archive; what is not in it raises NotKeptError, what was refused ApiError."""

    def __init__(self, index: Index, files: Mapping[str, bytes]) -> None:
        super().__init__(Access(index.server, index.context), agent="quiltctl")
        self.taken = index.taken
        self._index = index
        self._files = files

    def send(self, request: Request, *, timeout: float | None = None) -> bytes:
        """Return what was answered then."""
        if refusal := self._index.refused.get(request.target):
            raise ApiError(refusal.status, refusal.message, refusal.reason)
        return self._file(object_file(request.target), request.target)

    def execute(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        within: float | None = None,
    ) -> bytes:
        """Return what the command of a node answered then."""
        node, name = self._index.nodes.get(pod, ""), _COMMANDS.get((command[0], command[1]), "")
        for item in self._index.missing:
            if item.about == f"Node {node}" and item.part == name.partition(".")[0]:
                raise CommandError(item.why)
        return self._file(node_file(node, name), " ".join(command))

    def checked(self) -> list[Finding]:
        """Return what `quiltctl check node` found on each node then; a node without an answer is one too."""
        found = [
            fail("node-silent", item.about, item.why, "`quiltctl sysdump` again, once it answers")
            for item in self._index.missing
            if item.part == CHECKS
        ]
        for node in sorted(set(self._index.nodes.values())):
            if body := self._files.get(node_file(node, CHECK)):
                found += msgspec.json.decode(body, type=list[Finding])
        return found

    def _file(self, name: str, asked: str) -> bytes:
        if name not in self._files:
            raise NotKeptError(f"{asked} is not in the archive")
        return self._files[name]
