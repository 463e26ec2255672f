"""QuiltEndpoints and QuiltPeers, as `wire` has the other objects."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from quilt_crds.names import SELECTOR_LABEL, SLICE_SIZE
from quilt_crds.wire import LabeledMeta, Wire, WireObject

# Bytes of an IPv4 address.
_WIDTH = 4
# The CRD's limit of a selector's text.
SELECTOR_LIMIT = 65536


class Endpoint(Wire, frozen=True):
    """One pod and the IPv4 address that it has."""

    uid: str = ""
    namespace: str = ""
    name: str = ""
    address: str = ""


class EndpointsSpec(Wire, frozen=True):
    """A node's pods that have an address now; `pods` is their number."""

    node: str = ""
    pods: int = 0
    endpoints: tuple[Endpoint, ...] = ()


class QuiltEndpoints(WireObject, frozen=True):
    """Which pods of a node have which address; named by the node."""

    spec: EndpointsSpec = EndpointsSpec()


def endpoints_spec(node: str, endpoints: Iterable[Endpoint]) -> EndpointsSpec:
    """Return what `node` publishes: its endpoints in the order of their addresses, and their number."""
    ordered = tuple(sorted(endpoints, key=lambda endpoint: int(IPv4Address(endpoint.address))))
    return EndpointsSpec(node, len(ordered), ordered)


class PeersSpec(Wire, frozen=True):
    """One of `of` slices of the addresses behind a selector; with `complement` of those not behind it."""

    of: int = 1
    selector: str = ""
    v4: str = ""
    complement: bool = False

    @property
    def addresses(self) -> tuple[int, ...]:
        """The IPv4 addresses as numbers, ascending; ValueError for what is not written so."""
        data = b64decode(self.v4, validate=True)
        if len(data) % _WIDTH:
            raise ValueError(f"{len(data)} bytes are no whole number of IPv4 addresses")
        return tuple(int.from_bytes(data[start : start + _WIDTH]) for start in range(0, len(data), _WIDTH))


class QuiltPeers(WireObject, frozen=True):
    """A slice of the addresses behind one selector; named `<hash>-<slice>`."""

    metadata: LabeledMeta = LabeledMeta()
    spec: PeersSpec = PeersSpec()

    @property
    def label(self) -> str:
        """The hash by which readers find it; empty for an object that the operator did not write."""
        return self.metadata.labels.get(SELECTOR_LABEL, "")

    @property
    def selector(self) -> str:
        """The selector's own hash."""
        return self.name.rpartition("-")[0]

    @property
    def slice(self) -> int:
        """The slice's number, from 0; -1 for a name that is not of this form."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else -1


def complete(slices: Mapping[int, QuiltPeers]) -> bool:
    """Whether these slices of one selector, by number, are all of them and agree about `complement`.

    While the operator changes the number of slices, slice 0 has the one that counts: what is added is written
    before it and what is removed is deleted after it.
    """
    if (first := slices.get(0)) is None:
        return False
    spec = first.spec
    return all(
        number in slices and slices[number].spec.complement == spec.complement for number in range(spec.of)
    )


def peers_name(selector: str, slice_: int) -> str:
    """Name of the slice with that number of the selector with that hash."""
    return f"{selector}-{slice_}"


def peers_spec(of: int, text: str, addresses: Iterable[int], *, complement: bool = False) -> PeersSpec:
    """Return a slice of at most SLICE_SIZE addresses, as numbers; `text` is the selector's.

    Raises ValueError for more addresses, and for a text that is longer than the API allows.
    """
    ordered = sorted(addresses)
    if len(ordered) > SLICE_SIZE:
        raise ValueError(f"{len(ordered)} addresses are more than a slice of {SLICE_SIZE} has room for")
    if len(text) > SELECTOR_LIMIT:
        raise ValueError(f"a selector of {len(text)} characters is longer than {SELECTOR_LIMIT}")
    packed = b"".join(address.to_bytes(_WIDTH) for address in ordered)
    return PeersSpec(of, text, b64encode(packed).decode(), complement)
