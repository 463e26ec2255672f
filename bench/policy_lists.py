"""An API server that only lists, for one agent among 100,000 pods: `python -m bench.policy_lists SHAPE`.

It has the policies of a shape of `bench peersets`, 30 of its pods as the agent's own, and the QuiltPeers that
the operator's code makes of all: whatever is asked for is answered from bytes that are ready. Watches stay
open and tell nothing. It prints its port when all is made.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from aiohttp import web

from bench.cases.peersets import PAGE, SHAPES, Load, policies
from quilt_crds.names import NETWORKPOLICY, POD, QUILTPEERS, SELECTOR_LABEL
from quilt_policy.objects import NetworkPolicy
from quilt_policy.selectors import wanted

Json = dict[str, Any]
OWN_PODS, OWN_NODE = 30, "node-0"
_VERSION = "10"
# What kubectl leaves in an object, and readers receive.
_MANAGED = [
    {
        "manager": "kubectl-client-side-apply",
        "operation": "Update",
        "apiVersion": "networking.k8s.io/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}
            },
            "f:spec": {"f:ingress": {}, "f:podSelector": {}, "f:policyTypes": {}},
        },
    }
]


class Lists:
    """What there is, as JSON of each object."""

    def __init__(self, shape: str) -> None:
        load = Load(SHAPES[shape])
        load.fill()
        # One a namespace, as far as there are so many.
        own = [load.pod_document(number * 1001) for number in range(OWN_PODS)]
        for pod in own:
            pod["spec"]["nodeName"] = OWN_NODE
        self._pods = list(map(msgspec.json.encode, own))
        self._policies: dict[str, list[bytes]] = {}
        needed = set()
        homes = {pod["metadata"]["namespace"] for pod in own}
        for policy in policies(load.shape):
            home = policy["metadata"]["namespace"]
            policy["metadata"]["managedFields"] = _MANAGED
            self._policies.setdefault(home, []).append(msgspec.json.encode(policy))
            if home in homes:
                needed |= wanted([msgspec.convert(policy, NetworkPolicy)])
        self._peers = {selector.label: list(self._slices(load, selector.hash)) for selector in needed}

    def answer(self, path: str, query: Any) -> bytes | None:
        """Answer a list; None for a kind that is not served."""
        if path == POD.path():
            return _list(self._pods)
        if path == QUILTPEERS.path():
            labels = query["labelSelector"].partition("(")[2].rstrip(")").split(",")
            return _list(one for label in labels for one in self._peers[label])
        if path == NETWORKPOLICY.path():
            every = [one for some in self._policies.values() for one in some]
            begin = int(query.get("continue", 0))
            more = begin + PAGE if begin + PAGE < len(every) else 0
            return _list(every[begin : begin + PAGE], str(more or ""))
        if path.endswith(NETWORKPOLICY.plural):
            return _list(self._policies.get(path.split("/")[-2], ()))
        return None

    @staticmethod
    def _slices(load: Load, own: str) -> Iterator[bytes]:
        number, of = 0, 1
        while number < of:
            name = f"{own}-{number}"
            found = load.sets.content(name)
            assert found is not None
            label, spec = found
            meta = {"name": name, "resourceVersion": "1", "labels": {SELECTOR_LABEL: label}}
            yield msgspec.json.encode({"metadata": meta, "spec": spec})
            number, of = number + 1, max(of, spec.of)


def _list(items: Iterable[bytes], more: str = "") -> bytes:
    meta = msgspec.json.encode({"resourceVersion": _VERSION, "continue": more})
    return b'{"metadata":' + meta + b',"items":[' + b",".join(items) + b"]}"


async def serve(shape: str) -> None:
    """Serve until ended."""
    lists = Lists(shape)

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await asyncio.Event().wait()
        body = lists.answer(request.path, request.query)
        if body is None:
            return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_route("GET", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
