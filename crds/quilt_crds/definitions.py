"""What makes a CustomResourceDefinition out of each model: columns, subresources, CEL rules.

The API server is the only gate that every writer passes. Of a QuiltNetwork, which the operator reads, the
rules repeat what its model checks in Python; of QuiltNodes and claims they are the only check. A rule may be
written over an earlier rule's field only if it holds for invalid input too: the server evaluates all of them.
Lists need maxItems and strings maxLength, or the server refuses the rule as too dear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quilt_crds.base import ApiModel
from quilt_crds.names import (
    AGENT_UNRESPONSIVE,
    DATAPLANE_IN_SYNC,
    GROUP,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    READY,
    VERSION,
    Resource,
)
from quilt_crds.quiltnetwork import MTU_MAX, MTU_MIN, QuiltNetwork
from quilt_crds.quiltnode import QuiltNode
from quilt_crds.quiltsubnet import QuiltSubnet
from quilt_crds.schema import schema_at, structural_schema

Json = dict[str, Any]


def _rule(rule: str, message: str, reason: str = "FieldValueInvalid", *, says: str = "message") -> Json:
    """A CEL rule, as an entry of x-kubernetes-validations; `says` is what `message` is: a text or CEL too."""
    return {"rule": rule, says: message, "reason": reason}


def _column(name: str, path: str, type_: str = "string", *, wide: bool = False) -> Json:
    """An entry of additionalPrinterColumns; `wide` ones show with `-o wide` only."""
    return {"name": name, "type": type_, "jsonPath": path, **({"priority": 1} if wide else {})}


def _reason(condition: str) -> str:
    """The path of a condition's reason."""
    return f'.status.conditions[?(@.type=="{condition}")].reason'


@dataclass(frozen=True, slots=True)
class Definition:
    """One CRD: a model and what its schema cannot say."""

    resource: Resource
    model: type[ApiModel]
    columns: tuple[Json, ...]
    rules: dict[str, tuple[Json, ...]]
    """By dotted path of the property; the empty path is the object."""
    status_subresource: bool
    selectable: tuple[str, ...] = ()
    defaults_in: tuple[str, ...] = ()

    def wire(self) -> Json:
        """The CustomResourceDefinition."""
        version: Json = {"name": VERSION, "served": True, "storage": True}
        if self.status_subresource:
            version["subresources"] = {"status": {}}
        if self.selectable:
            version["selectableFields"] = [{"jsonPath": path} for path in self.selectable]
        version["additionalPrinterColumns"] = list(self.columns)
        version["schema"] = {"openAPIV3Schema": self.schema()}
        names = {
            "kind": self.resource.kind,
            "listKind": f"{self.resource.kind}List",
            "plural": self.resource.plural,
            "singular": self.resource.singular,
            "shortNames": [self.resource.short],
            "categories": ["quilt"],
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.resource.crd_name,
                # Removing a CRD removes its objects, and with them the claims that running pods rely on.
                "annotations": {"helm.sh/resource-policy": "keep"},
            },
            "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
        }

    def schema(self) -> Json:
        """The structural schema of its objects, with the rules."""
        schema = structural_schema(self.model, defaults_in=self.defaults_in)
        for path, rules in self.rules.items():
            schema_at(schema, path)["x-kubernetes-validations"] = [{**rule} for rule in rules]
        return schema


# The text of the network is what makes the spelling unique, for IPv6 above all.
_CANONICAL = "isCIDR({0}) && string(cidr({0}).masked()) == {0}"
_CIDR = _rule(
    _CANONICAL.format("self"),
    "must be a canonical CIDR without host bits, for example 10.42.1.0/24 or fd42:0:0:1::/64",
)
_CIDR_OR_EMPTY = _rule(f"self == '' || ({_CIDR['rule']})", _CIDR["message"])
_IP_OR_EMPTY = _rule(
    "self == '' || (isIP(self) && ip.isCanonical(self))",
    "must be an IP address in canonical form, for example 192.0.2.10 or 2001:db8::10",
)
_IMMUTABLE = _rule("self == oldSelf", "is immutable", "FieldValueForbidden")
_AGE = _column("Age", ".metadata.creationTimestamp", "date")


_CANONICAL_CIDRS = _rule(
    f"self.all(c, {_CANONICAL.format('c')})", "must be canonical CIDRs without host bits"
)


def _cidr_list_rules(family: int) -> tuple[Json, ...]:
    return (
        _CANONICAL_CIDRS,
        _rule(
            f"self.all(c, !isCIDR(c) || cidr(c).ip().family() == {family})",
            f"must be IPv{family} CIDRs",
        ),
        _rule(
            "self.all(a, self.exists_one(b, isCIDR(a) && isCIDR(b) && "
            "(cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))))",
            "CIDRs must not overlap",
        ),
        _rule(
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
        _column("CIDRs", ".spec.clusterCIDRs"),
        _column("Total", ".status.subnets.total", "integer"),
        _column("Allocated", ".status.subnets.allocated", "integer"),
        _column("Free", ".status.subnets.free", "integer"),
        _column("Quarantined", ".status.subnets.quarantined", "integer", wide=True),
        _column("CIDRs-V6", ".spec.clusterCIDRsV6", wide=True),
        _AGE,
    ),
    rules={
        "": (_rule("self.metadata.name == 'default'", "the mesh has one QuiltNetwork, named default"),),
        "spec": (
            _rule(
                "self.clusterCIDRs.all(c, !isCIDR(c) || cidr(c).prefixLength() <= self.nodePrefixLength)",
                "nodePrefixLength must not be shorter than the prefix of a clusterCIDR",
            ),
            _rule(
                "!has(self.clusterCIDRsV6) || self.clusterCIDRsV6.all(c, !isCIDR(c) || "
                "cidr(c).prefixLength() <= self.nodePrefixLengthV6)",
                "nodePrefixLengthV6 must not be shorter than the prefix of a clusterCIDRsV6 entry",
            ),
            _rule(
                "!has(self.clusterCIDRsV6) || self.nodePrefixLengthV6 <= self.nodePrefixLength + 96",
                "nodePrefixLengthV6 must leave room for as many pods as nodePrefixLength: pods have both",
            ),
            _rule(
                "!has(oldSelf.clusterCIDRsV6) || has(self.clusterCIDRsV6)",
                "clusterCIDRsV6 may only be extended",
                "FieldValueForbidden",
            ),
        ),
        "spec.clusterCIDRs": _cidr_list_rules(4),
        "spec.clusterCIDRsV6": (
            *_cidr_list_rules(6),
            # The claim's name would begin with a dash.
            _rule("!self.exists(c, c.startsWith('::'))", "an IPv6 CIDR must not begin with ::"),
        ),
        "spec.nodePrefixLength": (_IMMUTABLE,),
        "spec.nodePrefixLengthV6": (_IMMUTABLE,),
        "spec.ipam.mode": (_IMMUTABLE,),
        "spec.underlay.cidrs": (_CANONICAL_CIDRS,),
        "spec.vxlan.mtu": (
            _rule(
                f"type(self) == int ? self >= {MTU_MIN} && self <= {MTU_MAX} : self == 'auto'",
                f"must be auto or a number from {MTU_MIN} to {MTU_MAX}",
            ),
        ),
        "spec.heartbeat": (
            _rule("duration(self.interval) >= duration('1s')", "interval must be at least 1s"),
            _rule(
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
        _column("Status", ".status.phase"),
        _column("Subnet", ".status.subnets[0]"),
        _column("Host-IP", ".status.hostIP"),
        _column("Agent", _reason(AGENT_UNRESPONSIVE)),
        _column("Peers", _reason(DATAPLANE_IN_SYNC)),
        _AGE,
        # All of them: that of IPv6, and one to move to.
        _column("Subnets", ".status.subnets", wide=True),
        _column("MAC", ".status.mac", wide=True),
        _column("Version", ".status.version", wide=True),
        _column("CPU", ".status.cpuCores", "integer", wide=True),
        _column("RAM", ".status.memoryMB", "integer", wide=True),
        _column("Reason", _reason(READY), wide=True),
    ),
    rules={
        "spec.subnet": (_CIDR_OR_EMPTY,),
        "spec.hostIP": (_IP_OR_EMPTY,),
        "spec.routes": (
            _rule(
                f"self.all(r, {_CANONICAL.format('r.destination')})",
                "destinations must be canonical CIDRs without host bits",
            ),
            _rule(
                "self.all(r, !isCIDR(r.destination) || cidr(r.destination).ip().family() == 4)",
                "destinations must be IPv4 CIDRs",
            ),
            _rule(
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
        _column("CIDR", ".spec.cidr"),
        _column("Node", ".spec.node"),
        _column("Phase", ".mesh.phase"),
        _column("Host-IP", ".mesh.hostIP"),
        _AGE,
        _column("Network", ".spec.network", wide=True),
        _column("Released", ".mesh.releasedAt", "date", wide=True),
    ),
    rules={
        "": (
            _rule(
                "self.metadata.name == self.spec.cidr.replace('/', '-').replace(':', '-')",
                "'metadata.name must be ' + self.spec.cidr.replace('/', '-').replace(':', '-')",
                says="messageExpression",
            ),
        ),
        "spec": (_IMMUTABLE,),
        "spec.cidr": (_CIDR,),
        "mesh": (_rule("self.phase != 'Releasing' || has(self.releasedAt)", "Releasing needs releasedAt"),),
        "mesh.hostIP": (_IP_OR_EMPTY,),
    },
)

DEFINITIONS = (NETWORK, NODE, SUBNET)
