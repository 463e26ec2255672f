"""A connectivity test: servers on every node first, then a pod per node that asks all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quilt_cli.connectivity import manifests
from quilt_cli.connectivity.stage import Progress, Stage, stage
from quilt_cli.core.matrix import Answer, Matrix, Server, Services, Source, answers, targets
from quilt_kube.sync import Client


@dataclass(frozen=True, slots=True)
class Settings:
    """How to test: which image, from hosts too or not, and how long to wait (seconds) for pods."""

    image: str
    hosts: bool = True
    timeout: float = 120.0
    keep: bool = False


def run(client: Client, settings: Settings, progress: Progress) -> Matrix:
    """Run a whole test and remove it again. Raises ProbeError, ApiError, UnreachableError."""
    with stage(client, progress, timeout=settings.timeout, keep=settings.keep) as here:
        services = _services(client, here)
        found = here.serve(manifests.servers(settings.image))
        kinds = (False, True) if settings.hosts else (False,)
        sources = [Source(server.node, host) for host in kinds for server in found]
        given = _ask(here, settings.image, sources, found, services)
        return Matrix(tuple(found), given, here.silent)


def _services(client: Client, here: Stage) -> Services:
    made = client.create(f"{here.path}/services", manifests.service())
    dns = client.items("/api/v1/services", {"labelSelector": "k8s-app=kube-dns"})
    return Services(made["spec"].get("clusterIP", ""), f"probe.{here.name}.svc" if dns else "")


def _ask(
    here: Stage, image: str, sources: Sequence[Source], servers: Sequence[Server], services: Services
) -> Mapping[Source, tuple[Answer, ...]]:
    names = {source: manifests.asker_name(source, index) for index, source in enumerate(sources)}
    here.progress(f"{len(sources)} pods and hosts ask {len(servers)} servers")
    outputs = here.outputs(
        [
            manifests.asker(name, source, image, targets(source, servers, services, manifests.PORT))
            for source, name in names.items()
        ]
    )
    return {source: answers(outputs[name]) for source, name in names.items() if name in outputs}
