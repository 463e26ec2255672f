"""What the kernel does when a link is made, changed or removed."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace

from quilt_netlink.fake.machine import Machine, refuse
from quilt_netlink.ops import Create, Delete, Op
from quilt_netlink.state import Link

_MTU = {"vxlan": 1450}
_KINDS = frozenset({"vxlan", "bridge", "veth", "dummy"})


class LinkRules:
    """Applies link operations to a machine; `namespaces` are the machines behind descriptors."""

    def __init__(self, machine: Machine, namespaces: Mapping[int, LinkRules]) -> None:
        self.machine = machine
        self._namespaces = namespaces
        self._last = 0

    def find(self, key: str | int) -> Link | None:
        """Return a link by name or index."""
        links = self.machine.links
        if isinstance(key, int):
            return links.get(key)
        return next((link for link in links.values() if link.name == key), None)

    def write(self, op: Op, link: Link) -> None:
        """Do one operation on a link."""
        now = self.find(link.index or link.name)
        if isinstance(op, Delete):
            if now is None:
                raise refuse(errno.ENODEV, f"there is no interface {link.name or link.index}")
            self._remove(now)
        elif now is None and link.index:
            raise refuse(errno.ENODEV, f"there is no interface with index {link.index}")
        elif now is None or isinstance(op, Create):
            self._create(link)
        elif link.kind and link.kind != now.kind:
            text = f"{now.name} is a {now.kind or 'physical'} interface, not a {link.kind}: delete it first"
            raise refuse(errno.EEXIST, text)
        else:
            self._change(link, now)

    def add(self, link: Link) -> Link:
        """Put a link there as it is, with the next index and a MAC where it has none."""
        self._last = max(self._last + 1, link.index)
        index = link.index or self._last
        mac = link.mac or f"0a:00:00:00:{index >> 8:02x}:{index & 255:02x}"
        mtu = link.mtu or _MTU.get(link.kind, 1500)
        made = replace(
            link, index=index, mac=mac, mtu=mtu, addrgenmode=link.addrgenmode or 0, peer=None, netns_fd=None
        )
        self.machine.links[index] = made
        self.machine.notify(True, made)
        return made

    def _create(self, link: Link) -> None:
        if not 0 < len(link.name) <= 15:
            raise refuse(errno.EINVAL, "invalid interface name")
        if self.find(link.name):
            raise refuse(errno.EEXIST)
        if link.kind not in _KINDS:
            raise refuse(errno.EOPNOTSUPP, "Unknown device type")
        if link.vxlan is None and link.kind == "vxlan":
            raise refuse(errno.EINVAL, "Required attributes not provided to perform the operation")
        if link.vxlan and self._clash(link):
            raise refuse(errno.EEXIST, "A VXLAN device with the specified VNI already exists")
        if link.master:
            self._bridge(link.master)
        target = self if link.netns_fd is None else self._namespace(link.netns_fd)
        if link.kind == "veth":
            self._create_pair(link, target)
            return
        target.add(_with_port(link))

    def _create_pair(self, link: Link, target: LinkRules) -> None:
        peer = link.peer or Link("veth-peer")
        other = self if peer.netns_fd is None else self._namespace(peer.netns_fd)
        if other.find(peer.name):
            raise refuse(errno.EEXIST)
        made = other.add(replace(peer, kind="veth", up=False))
        end = target.add(_with_port(replace(link, link=made.index)))
        other.machine.links[made.index] = replace(made, link=end.index)

    def _change(self, link: Link, now: Link) -> None:
        if link.vxlan and now.vxlan:
            if link.vxlan.vni != now.vxlan.vni:
                raise refuse(errno.EOPNOTSUPP, "Cannot change VNI")
            if link.vxlan.port != now.vxlan.port:
                raise refuse(errno.EOPNOTSUPP, "Cannot change port")
        if link.hairpin is not None and not (link.master or now.master):
            raise refuse(errno.EOPNOTSUPP)
        if link.name and link.name != now.name and self.find(link.name):
            raise refuse(errno.EEXIST)
        changed = _with_port(
            replace(
                now,
                name=link.name or now.name,
                mac=link.mac or now.mac,
                mtu=link.mtu or now.mtu,
                up=link.up,
                master=link.master or now.master,
                addrgenmode=now.addrgenmode if link.addrgenmode is None else link.addrgenmode,
                vxlan=link.vxlan or now.vxlan,
                hairpin=now.hairpin if link.hairpin is None else link.hairpin,
            )
        )
        if link.netns_fd is not None:
            target = self._namespace(link.netns_fd)
            self.machine.went_away(now.index)
            target.add(replace(changed, index=0, up=False, master=0, hairpin=None))
            return
        if changed == now:
            return
        self.machine.links[now.index] = changed
        self.machine.notify(True, changed)
        if now.up and not changed.up:
            self.machine.went_down(now.index)

    def _remove(self, link: Link) -> None:
        if link.name == "lo":
            raise refuse(errno.EOPNOTSUPP)
        self.machine.went_away(link.index)
        for port in [port for port in self.machine.links.values() if port.master == link.index]:
            self.machine.links[port.index] = replace(port, master=0, hairpin=None)
        if link.kind == "veth":
            self._remove_peer(link)

    def _remove_peer(self, link: Link) -> None:
        for rules in (self, *self._namespaces.values()):
            peer = rules.find(link.link)
            if peer and peer.kind == "veth" and peer.link == link.index:
                rules.machine.went_away(peer.index)
                return

    def _clash(self, link: Link) -> bool:
        assert link.vxlan is not None
        mine = (link.vxlan.vni, link.vxlan.port)
        return any(
            mine == (other.vxlan.vni, other.vxlan.port)
            for other in self.machine.links.values()
            if other.vxlan
        )

    def _bridge(self, index: int) -> None:
        if self.machine.device(index).kind != "bridge":
            raise refuse(errno.EOPNOTSUPP)

    def _namespace(self, descriptor: int) -> LinkRules:
        if descriptor not in self._namespaces:
            raise refuse(errno.EINVAL, "Invalid target network namespace")
        return self._namespaces[descriptor]


def _with_port(link: Link) -> Link:
    master = max(link.master, 0)
    return replace(link, master=master, hairpin=bool(link.hairpin) if master else None)
