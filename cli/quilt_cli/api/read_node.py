"""Checking a node from within: by a command in its agent's container."""

from __future__ import annotations

import msgspec

from quilt_cli.api.read_nodes import WITHIN, NodePod
from quilt_cli.core.finding import Finding
from quilt_cli.core.node_checks import Expected
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_kube.channels import CommandError
from quilt_kube.sync import Client


class _Checked(msgspec.Struct):
    """The answer of `quiltctl check node`, as far as it is read."""

    findings: tuple[Finding, ...]


def check_node(client: Client, pod: NodePod, spec: QuiltNetworkSpec) -> tuple[Finding, ...]:
    """Return what `quiltctl check node` finds on the node of a pod, by what the network asks for.

    Raises ApiError, UnreachableError, and CommandError where it does not answer.
    """
    vxlan = spec.vxlan
    want = Expected(pod.node, vxlan.device, vxlan.vni, vxlan.port, spec.cidrs, installed=True)
    command = ["quiltctl", "check", "node", "--compact", "--output=json", *want.arguments]
    try:
        answer = client.execute(pod.namespace, pod.name, pod.container, command, within=WITHIN)
    except CommandError as error:
        # It ends with 1 where it finds something, and answers all the same.
        if not error.out:
            raise
        answer = error.out
    try:
        return msgspec.json.decode(answer, type=_Checked).findings
    except msgspec.MsgspecError as error:
        raise CommandError(f"it answers something else: {error}") from error
