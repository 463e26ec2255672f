"""What the kernel does when a link is made, changed or removed."""

from __future__ import annotations

import errno
from dataclasses import replace

from quilt_netlink.fake.machine import Machine
from quilt_netlink.ops import NetlinkError
from quilt_netlink.state import Link

_MTU = {"vxlan": 1450}
_KINDS = frozenset({"vxlan", "bridge", "veth", "dummy"})


class LinkRules(Machine):
    """Applies operations on links; `_namespaces` are those behind descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self._namespaces: dict[int, LinkRules] = {}
        self._last = 0

    def link(self, key: str | int) -> Link | None:
        """Return the interface with this name or index, or None."""
        links = self._links
        if isinstance(key, int):
            return links.get(key)
        return next((link for link in links.values() if link.name == key), None)

    def _add(self, link: Link) -> Link:
        """Put a link there as it is, with the next index and a MAC where it has none."""
        self._last = max(self._last + 1, link.index)
        index = link.index or self._last
        mac = link.mac or f"0a:00:00:00:{index >> 8:02x}:{index & 255:02x}"
        mtu = link.mtu or _MTU.get(link.kind, 1500)
        made = replace(
            link, index=index, mac=mac, mtu=mtu, addrgenmode=link.addrgenmode or 0, peer=None, netns_fd=None
        )
        self._links[index] = made
        self._notify(True, made)
        return made

    def _create(self, link: Link) -> None:
        if not 0 < len(link.name) <= 15:
            raise NetlinkError(errno.EINVAL, "invalid interface name")
        if self.link(link.name):
            raise NetlinkError(errno.EEXIST)
        if link.kind not in _KINDS:
            raise NetlinkError(errno.EOPNOTSUPP, "Unknown device type")
        if link.vxlan is None and link.kind == "vxlan":
            raise NetlinkError(errno.EINVAL, "Required attributes not provided to perform the operation")
        held = {(other.vxlan.vni, other.vxlan.port) for other in self._links.values() if other.vxlan}
        if link.vxlan and (link.vxlan.vni, link.vxlan.port) in held:
            raise NetlinkError(errno.EEXIST, "A VXLAN device with the specified VNI already exists")
        if link.master and self._device(link.master).kind != "bridge":
            raise NetlinkError(errno.EOPNOTSUPP)
        target = self._namespace(link.netns_fd)
        if link.kind == "veth":
            self._create_pair(link, target)
        else:
            target._add(_with_port(link))

    def _create_pair(self, link: Link, target: LinkRules) -> None:
        peer = link.peer or Link("veth-peer")
        other = self._namespace(peer.netns_fd)
        if other.link(peer.name):
            raise NetlinkError(errno.EEXIST)
        made = other._add(replace(peer, kind="veth", up=False))
        end = target._add(_with_port(replace(link, link=made.index)))
        other._links[made.index] = replace(made, link=end.index)

    def _change(self, link: Link, now: Link) -> None:
        if link.vxlan and now.vxlan:
            if link.vxlan.vni != now.vxlan.vni:
                raise NetlinkError(errno.EOPNOTSUPP, "Cannot change VNI")
            if link.vxlan.port != now.vxlan.port:
                raise NetlinkError(errno.EOPNOTSUPP, "Cannot change port")
        if link.hairpin is not None and not (link.master or now.master):
            raise NetlinkError(errno.EOPNOTSUPP)
        if link.name and link.name != now.name and self.link(link.name):
            raise NetlinkError(errno.EEXIST)
        changed = _with_port(link.over(now))
        if link.netns_fd is not None:
            target = self._namespace(link.netns_fd)
            self._went_away(now.index)
            target._add(replace(changed, index=0, up=False, master=0, hairpin=None))
            return
        if changed == now:
            return
        self._links[now.index] = changed
        self._notify(True, changed)
        if now.up and not changed.up:
            self._went_down(now.index)

    def _remove(self, link: Link) -> None:
        if link.name == "lo":
            raise NetlinkError(errno.EOPNOTSUPP)
        self._went_away(link.index)
        for port in [port for port in self._links.values() if port.master == link.index]:
            self._links[port.index] = replace(port, master=0, hairpin=None)
        if link.kind == "veth":
            self._remove_peer(link)

    def _remove_peer(self, link: Link) -> None:
        for rules in (self, *self._namespaces.values()):
            peer = rules.link(link.link)
            if peer and peer.kind == "veth" and peer.link == link.index:
                rules._went_away(peer.index)
                return

    def _namespace(self, descriptor: int | None) -> LinkRules:
        if descriptor is None:
            return self
        if descriptor not in self._namespaces:
            raise NetlinkError(errno.EINVAL, "Invalid target network namespace")
        return self._namespaces[descriptor]


def _with_port(link: Link) -> Link:
    master = max(link.master, 0)
    return replace(link, master=master, hairpin=bool(link.hairpin) if master else None)
