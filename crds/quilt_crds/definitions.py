"""What makes a CustomResourceDefinition out of each model: columns, subresources, CEL rules.

The API server is the only gate that every writer passes. Of a QuiltNetwork, which the operator reads, the
rules repeat what its model checks in Python; of QuiltNodes and claims they are the only check. A rule may be
written over an earlier rule's field only if it holds for invalid input too: the server evaluates all of them.
Lists need maxItems and strings maxLength, or the server refuses the rule as too dear.
"""

from __future__ import annotations

from typing import Any

from quilt_crds.definition import AGE, IMMUTABLE, Definition, column, rule
from quilt_crds.definitions_policy import ENDPOINTS, PEERS
from quilt_crds.names import (
    AGENT_UNRESPONSIVE,
    DATAPLANE_IN_SYNC,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    READY,
)
from quilt_crds.quiltnetwork import MTU_MAX, MTU_MIN, QuiltNetwork
from quilt_crds.quiltnode import QuiltNode
from quilt_crds.quiltsubnet import QuiltSubnet

Json = dict[str, Any]


def _reason(condition: str) -> str:
    """The path of a condition's reason."""
    return f'.status.conditions[?(@.type=="{condition}")].reason'


# The text of the network is what makes the spelling unique, for IPv6 above all.
_CANONICAL = "isCIDR({0}) && string(cidr({0}).masked()) == {0}"
_CIDR = rule(
    _CANONICAL.format("self"),
    "must be a canonical CIDR without host bits, for example 10.42.1.0/24 or fd42:0:0:1::/64",
)
_CIDR_OR_EMPTY = rule(f"self == '' || ({_CIDR['rule']})", _CIDR["message"])
_IP_OR_EMPTY = rule(
    "self == '' || (isIP(self) && ip.isCanonical(self))",
    "must be an IP address in canonical form, for example 192.0.2.10 or 2001:db8::10",
)


_CANONICAL_CIDRS = rule(f"self.all(c, {_CANONICAL.format('c')})", "must be canonical CIDRs without host bits")


def _cidr_list_rules(family: int) -> tuple[Json, ...]:
    return (
        _CANONICAL_CIDRS,
        rule(
            f"self.all(c, !isCIDR(c) || cidr(c).ip().family() == {family})",
            f"must be IPv{family} CIDRs",
        ),
        rule(
            "self.all(a, self.exists_one(b, isCIDR(a) && isCIDR(b) && "
            "(cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))))",
            "CIDRs must not overlap",
        ),
        rule(
            "oldSelf.all(c, c in self)",
            "may only be extended: a CIDR that is in use cannot be removed",
            "FieldValueForbidden",
        ),
    )


NETWORK = Definition(
    resource=QUILTNETWORK,
    model=QuiltNetwork,
    status_subresource=True,
    defaults_in=("spec",),
    columns=(
        column("CIDRs", ".spec.clusterCIDRs"),
        column("Total", ".status.subnets.total", "integer"),
        column("Allocated", ".status.subnets.allocated", "integer"),
        column("Free", ".status.subnets.free", "integer"),
        column("Quarantined", ".status.subnets.quarantined", "integer", wide=True),
        column("CIDRs-V6", ".spec.clusterCIDRsV6", wide=True),
        AGE,
    ),
    rules={
        "": (rule("self.metadata.name == 'default'", "the mesh has one QuiltNetwork, named default"),),
        "spec": (
            rule(
                "self.clusterCIDRs.all(c, !isCIDR(c) || cidr(c).prefixLength() <= self.nodePrefixLength)",
                "nodePrefixLength must not be shorter than the prefix of a clusterCIDR",
            ),
            rule(
                "!has(self.clusterCIDRsV6) || self.clusterCIDRsV6.all(c, !isCIDR(c) || "
                "cidr(c).prefixLength() <= self.nodePrefixLengthV6)",
                "nodePrefixLengthV6 must not be shorter than the prefix of a clusterCIDRsV6 entry",
            ),
            rule(
                "!has(self.clusterCIDRsV6) || self.nodePrefixLengthV6 <= self.nodePrefixLength + 96",
                "nodePrefixLengthV6 must leave room for as many pods as nodePrefixLength: pods have both",
            ),
            rule(
                "!has(oldSelf.clusterCIDRsV6) || has(self.clusterCIDRsV6)",
                "clusterCIDRsV6 may only be extended",
                "FieldValueForbidden",
            ),
        ),
        "spec.clusterCIDRs": _cidr_list_rules(4),
        "spec.clusterCIDRsV6": (
            *_cidr_list_rules(6),
            # The claim's name would begin with a dash.
            rule("!self.exists(c, c.startsWith('::'))", "an IPv6 CIDR must not begin with ::"),
        ),
        "spec.nodePrefixLength": (IMMUTABLE,),
        "spec.nodePrefixLengthV6": (IMMUTABLE,),
        "spec.ipam.mode": (IMMUTABLE,),
        "spec.underlay.cidrs": (_CANONICAL_CIDRS,),
        "spec.vxlan.mtu": (
            rule(
                f"type(self) == int ? self >= {MTU_MIN} && self <= {MTU_MAX} : self == 'auto'",
                f"must be auto or a number from {MTU_MIN} to {MTU_MAX}",
            ),
        ),
        "spec.heartbeat": (
            rule("duration(self.interval) >= duration('1s')", "interval must be at least 1s"),
            rule(
                "duration(self.timeout) >= duration(self.interval) + duration(self.interval)",
                "timeout must be at least twice the interval",
            ),
        ),
    },
)

NODE = Definition(
    resource=QUILTNODE,
    model=QuiltNode,
    status_subresource=True,
    columns=(
        column("Status", ".status.phase"),
        column("Subnet", ".status.subnets[0]"),
        column("Host-IP", ".status.hostIP"),
        column("Agent", _reason(AGENT_UNRESPONSIVE)),
        column("Peers", _reason(DATAPLANE_IN_SYNC)),
        AGE,
        # All of them: that of IPv6, and one to move to.
        column("Subnets", ".status.subnets", wide=True),
        column("MAC", ".status.mac", wide=True),
        column("Version", ".status.version", wide=True),
        column("CPU", ".status.cpuCores", "integer", wide=True),
        column("RAM", ".status.memoryMB", "integer", wide=True),
        column("Reason", _reason(READY), wide=True),
    ),
    rules={
        "spec.subnet": (_CIDR_OR_EMPTY,),
        "spec.hostIP": (_IP_OR_EMPTY,),
        "spec.routes": (
            rule(
                f"self.all(r, {_CANONICAL.format('r.destination')})",
                "destinations must be canonical CIDRs without host bits",
            ),
            rule(
                "self.all(r, !isCIDR(r.destination) || cidr(r.destination).ip().family() == 4)",
                "destinations must be IPv4 CIDRs",
            ),
            rule(
                "self.all(r, has(r.interface) != has(r.bridgeMember))",
                "a route needs one of interface and bridgeMember",
            ),
        ),
        "status.hostIP": (_IP_OR_EMPTY,),
    },
)

SUBNET = Definition(
    resource=QUILTSUBNET,
    model=QuiltSubnet,
    status_subresource=False,
    selectable=(".spec.node",),
    columns=(
        column("CIDR", ".spec.cidr"),
        column("Node", ".spec.node"),
        column("Phase", ".mesh.phase"),
        column("Host-IP", ".mesh.hostIP"),
        AGE,
        column("Network", ".spec.network", wide=True),
        column("Released", ".mesh.releasedAt", "date", wide=True),
    ),
    rules={
        "": (
            rule(
                "self.metadata.name == self.spec.cidr.replace('/', '-').replace(':', '-')",
                "'metadata.name must be ' + self.spec.cidr.replace('/', '-').replace(':', '-')",
                says="messageExpression",
            ),
        ),
        "spec": (IMMUTABLE,),
        "spec.cidr": (_CIDR,),
        "mesh": (rule("self.phase != 'Releasing' || has(self.releasedAt)", "Releasing needs releasedAt"),),
        "mesh.hostIP": (_IP_OR_EMPTY,),
    },
)

DEFINITIONS = (NETWORK, NODE, SUBNET, ENDPOINTS, PEERS)
