"""What iptables does with a packet, from what `iptables-nft-save -c` prints: nft's listing has less of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from quilt_cli.core.trace.packet import PASSES, Fate, Outcome, Packet, both, named, negated
from quilt_cli.core.trace.walk import ACCEPT, DROP, GOTO, JUMP, NONE, RETURN, Ruling, walk

_COUNTERS = re.compile(r"^\[\d+:\d+\] ")
_VERDICTS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
# Targets that change or count a packet, and let it go on.
_GO_ON = frozenset({"LOG", "MARK", "CONNMARK", "NFLOG", "TCPMSS", "CT", "NOTRACK", "CHECKSUM", "TRACE"})
# Options that say nothing, with the number of words that belong to them.
_REMARKS = {"-m": 1, "--comment": 1, "--reject-with": 1, "--log-prefix": 1, "--log-level": 1}


@dataclass(frozen=True, slots=True)
class _Table:
    """One table: the policies of its base chains, and each chain's rules as they are printed."""

    name: str
    policies: Mapping[str, str]
    rules: Mapping[str, list[str]]


def judge(listing: str, packet: Packet, chains: Iterable[str]) -> list[Outcome]:
    """Return what these base chains (`FORWARD`) of every table but nat come to."""
    found = []
    for table in _tables(listing):
        rules = lambda name, table=table: _rulings(table, name, packet)  # noqa: E731
        for chain in chains:
            policy = table.policies.get(chain, "-")
            if table.name != "nat" and policy != "-":
                dropped = Outcome(Fate.DROPPED, f"iptables {table.name} {chain}: its policy is DROP")
                found.append(walk(chain, dropped if policy == "DROP" else PASSES, rules))
    return found


def names(listing: str) -> list[str]:
    """The tables that it lists."""
    return [table.name for table in _tables(listing)]


def _tables(listing: str) -> Iterator[_Table]:
    name, policies, rules = "", dict[str, str](), dict[str, list[str]]()
    for line in listing.splitlines():
        text = _COUNTERS.sub("", line)
        if text.startswith("*"):
            name, policies, rules = text[1:], {}, {}
        elif text.startswith(":"):
            chain, policy = text[1:].split()[:2]
            policies[chain] = policy
        elif text.startswith("-A "):
            rules.setdefault(text.split()[1], []).append(text)
        elif text == "COMMIT":
            yield _Table(name, policies, rules)


def _rulings(table: _Table, chain: str, packet: Packet) -> Iterator[Ruling]:
    return (_ruling(table, text, packet) for text in table.rules.get(chain, ()))


def _ruling(table: _Table, text: str, packet: Packet) -> Ruling:
    held: bool | None = True
    where = f"iptables {table.name} {text.removeprefix('-A ')}"
    words = shlex.split(text)[2:]
    negative = False
    while words:
        option = words.pop(0)
        if option == "!":
            negative = True
            continue
        if option in ("-j", "-g"):
            return _target(held, words[0], where, goto=option == "-g")
        if option in _REMARKS:
            del words[: _REMARKS[option]]
            continue
        values = []
        while words and not words[0].startswith("-") and words[0] != "!":
            values.append(words.pop(0))
        held = both(held, negated(_matches(option, values[0] if values else "", packet), negative))
        negative = False
    return Ruling(held, NONE, where)


def _target(held: bool | None, target: str, where: str, *, goto: bool) -> Ruling:
    if target in _VERDICTS:
        return Ruling(held, _VERDICTS[target], where)
    if target in _GO_ON:
        return Ruling(held, NONE, where)
    return Ruling(held, GOTO if goto else JUMP, where, target)


def _matches(option: str, value: str, packet: Packet) -> bool | None:
    if option in ("-i", "-o"):
        return named(packet.iif if option == "-i" else packet.oif, value, "+")
    if option in ("-s", "-d"):
        network = ip_network(value, strict=False)
        mine = packet.source if option == "-s" else packet.target
        return mine.version == network.version and mine in network
    if option == "-p":
        return value in (packet.protocol, "all") or (value, packet.protocol) == ("ipv6-icmp", "icmpv6")
    if option in ("--dport", "--dports"):
        return _in_ports(value, packet.port) if packet.port else None
    if option in ("--ctstate", "--state"):
        return packet.state.upper() in value.split(",")
    return None


def _in_ports(text: str, port: int) -> bool:
    spans = (part.partition(":") for part in text.split(","))
    return any(int(first or 0) <= port <= int(last or first or 65535) for first, _, last in spans)
