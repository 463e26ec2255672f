"""A world of pods, policies and nodes, entered into the operator's sets event by event, and from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from quilt_crds.wire_policy import Endpoint, PeersSpec, peers_name
from quilt_operator.core import peerset, slices
from quilt_operator.core.peersets import PeerSets
from quilt_policy.objects import Container, ContainerPort, Meta, Pod, PodSpec
from quilt_policy.selectors import PeerSelector

NODES = ("n1", "n2", "n3")
SPACES = ("a", "b", "c")
POD_NAMES = tuple(f"p{number}" for number in range(6))
NAMES, NUMBERS = st.sampled_from(POD_NAMES), st.sampled_from([1, 2])
KEYS, VALUES = st.sampled_from(["app", "env", "tier"]), st.sampled_from(["x", "y"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
TERMS = st.lists(
    st.one_of(
        st.tuples(KEYS, st.sampled_from(["In", "NotIn"]), st.sampled_from([("x",), ("y",), ("x", "y")])),
        st.tuples(KEYS, st.sampled_from(["Exists", "DoesNotExist"]), st.just(())),
    ),
    max_size=2,
).map(lambda terms: tuple(sorted(set(terms))))
SELECTORS = st.one_of(
    st.builds(PeerSelector, namespace=st.sampled_from(SPACES), pods=TERMS),
    st.builds(PeerSelector, namespaces=TERMS, pods=TERMS),
    st.builds(PeerSelector, pods=TERMS, protocol=st.just("TCP"), port_name=st.just("web")),
    st.builds(PeerSelector, nodes=TERMS),
).filter(lambda selector: not selector.any_pod)
PORTS = st.sampled_from([(), (ContainerPort("web", 80),), (ContainerPort("web", 81),)])
HOSTS = st.integers(0, 40)
ENDPOINTS = st.lists(st.tuples(st.sampled_from(SPACES), NAMES, NUMBERS, HOSTS), max_size=10)
RUN = st.tuples(st.just("run"), st.sampled_from(SPACES), NAMES, NUMBERS, LABELS, PORTS, HOSTS)
EVENTS = st.lists(
    st.one_of(
        RUN,
        RUN,
        RUN,
        st.tuples(st.just("policy"), NUMBERS, st.frozensets(SELECTORS, max_size=3)),
        st.tuples(st.just("namespace"), st.sampled_from(SPACES), st.none() | LABELS),
        st.tuples(st.just("no pod"), st.sampled_from(SPACES), NAMES),
        st.tuples(
            st.just("pod"), st.sampled_from(SPACES), NAMES, NUMBERS, st.sampled_from(NODES), LABELS, PORTS
        ),
        st.tuples(st.just("endpoints"), st.sampled_from(NODES), st.none() | ENDPOINTS),
        st.tuples(st.just("claim"), st.integers(0, 4), st.none() | st.sampled_from(NODES)),
        st.tuples(st.just("node"), st.sampled_from(NODES), st.none() | LABELS),
        st.tuples(st.just("look")),
    ),
    min_size=5,
    max_size=60,
)


def address(number: int) -> int:
    return int(IPv4Address("10.42.0.0")) + number


def pod(space: str, name: str, uid: int, node: str, labels: Any = None, ports: Any = (), **more: Any) -> Pod:
    meta = Meta(name=name, namespace=space, uid=f"{space}-{name}-{uid}", labels=labels or {}, **more)
    return Pod(metadata=meta, spec=PodSpec(node_name=node, containers=(Container(ports=ports),)))


def endpoint(space: str, name: str, uid: int, host: int) -> Endpoint:
    return Endpoint(f"{space}-{name}-{uid}", space, name, str(IPv4Address(address(host))))


class World:
    """What was entered last; enters it, and says from nothing what should be."""

    def __init__(self) -> None:
        self.sets = PeerSets()
        self.state: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.written: dict[str, PeersSpec] = {}

    def enter(self, kind: str, *what: Any) -> None:
        keys = {"pod": 2, "no pod": 2, "look": 0}.get(kind, 1)
        key = (kind.removeprefix("no "), *what[:keys])
        if kind == "look":
            self.look()
        elif kind == "run":
            self._run(*what)
        elif kind == "no pod" or what[-1] is None:
            self.state.pop(key, None)
            self._drop(kind, what[0] if keys == 1 else what[:2])
        else:
            self.state[key] = what
            self._put(kind, *what)

    def _run(self, space: str, name: str, uid: int, labels: Any, ports: Any, host: int) -> None:
        """Enter a pod with an address, as everybody says."""
        node = NODES[host // 8 % len(NODES)]
        if ("namespace", space) not in self.state:
            self.enter("namespace", space, {})
        ((_, others),) = [what for what in self.of("endpoints") if what[0] == node] or [(node, [])]
        self.enter("claim", host // 8, node)
        self.enter("pod", space, name, uid, node, labels, ports)
        self.enter("endpoints", node, [*others, (space, name, uid, host)])

    def _put(self, kind: str, *what: Any) -> None:
        sets = self.sets
        put: dict[str, Callable[..., None]] = {
            "policy": sets.put_policy,
            "namespace": sets.identities.put_namespace,
            "pod": lambda *parts: sets.put_pod(pod(*parts)),
            "endpoints": lambda node, items: sets.addresses.put_endpoints(
                node, [endpoint(*item) for item in items]
            ),
            "claim": lambda number, node: sets.addresses.put_claim(
                str(number), node, IPv4Network((address(number * 8), 29))
            ),
            "node": lambda name, labels: sets.nodes.put(name, labels, [NODES.index(name)]),
        }
        put[kind](*what)

    def _drop(self, kind: str, key: Any) -> None:
        sets = self.sets
        drop: dict[str, Callable[[Any], Any]] = {
            "policy": lambda number: sets.drop_policy(number) if number in sets.policies() else None,
            "namespace": sets.identities.drop_namespace,
            "no pod": sets.drop_pod,
            "endpoints": lambda node: (
                sets.addresses.drop_endpoints(node) if node in sets.addresses.nodes() else None
            ),
            "claim": lambda number: sets.addresses.drop_claim(str(number)),
            "node": sets.nodes.drop,
        }
        drop[kind](key)

    def look(self) -> None:
        """Write what changed, as the operator does."""
        for name in self.sets.changes():
            found = self.sets.content(name)
            if found is None:
                self.written.pop(name, None)
            else:
                self.written[name] = found[1]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [what for key, what in self.state.items() if key[0] == kind]

    def pods(self) -> dict[int, tuple[str, dict[str, str], Any]]:
        """Namespace, labels and ports of the pod that has an address, by the address."""
        found = {}
        claims = dict(self.of("claim"))
        for node, items in self.of("endpoints"):
            last = {item[3]: item for item in items}.values()
            for space, name, uid, host in {item[:2]: item for item in last}.values():
                what = self.state.get(("pod", space, name))
                if what is None or (what[2], what[3]) != (uid, node) or claims.get(host // 8) != node:
                    continue
                found[address(host)] = (space, what[4], pod(*what).ports)
        return found

    def expected(self) -> dict[PeerSelector, set[int]]:
        """The addresses behind every selector that is wanted."""
        pods, spaces = self.pods(), dict(self.of("namespace"))
        wanted = {selector for _, selectors in self.of("policy") for selector in selectors}
        found: dict[PeerSelector, set[int]] = {}
        for selector in wanted:
            found[selector] = set()
            for name, labels in self.of("node"):
                if selector.nodes is not None and PeerSelector(pods=selector.nodes).selects("", {}, labels):
                    found[selector].add(NODES.index(name))
            for number, (space, labels, ports) in pods.items():
                if space not in spaces or not selector.selects(space, spaces[space], labels):
                    continue
                for one in selector.numbers(ports) if selector.is_family else (0,):
                    found.setdefault(selector.with_number(one) if one else selector, set()).add(number)
        return found

    def actual(self) -> dict[PeerSelector, set[int]]:
        """What was written, put together again."""
        everybody = set(self.pods())
        found: dict[PeerSelector, set[int]] = {}
        for name, spec in self.written.items():
            selector = PeerSelector.parse(spec.selector)
            assert name.startswith(f"{selector.hash}-")
            first = self.written[peers_name(selector.hash, 0)]
            assert (
                spec == PeersSpec(first.of, first.selector, spec.v4, first.complement) or spec.of != first.of
            )
            assert all(peers_name(selector.hash, number) in self.written for number in range(first.of))
            found.setdefault(selector, set()).update(spec.addresses)
        for selector in found:
            if self.written[peers_name(selector.hash, 0)].complement:
                found[selector] = everybody - found[selector]
        return found


@contextmanager
def small() -> Iterator[None]:
    """Slices of three addresses, and complements from four addresses on."""
    few = mock.patch.multiple(peerset, _LARGE=4, _NEARLY_ALL=2, _STILL=1)
    with mock.patch.object(slices, "SLICE_SIZE", 3), few:
        yield
