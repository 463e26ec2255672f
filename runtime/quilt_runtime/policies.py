"""Enforces network policies: holds what the agent announced, and keeps the kernel's table like it.

The kernel's table outlives this process, which knows nothing of policies before the agent sends all of them:
until then the table stays as it is, pods that end are taken out of it, and none starts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from quilt_log import log
from quilt_policy.program import Program
from quilt_runtime.addresses import Addresses
from quilt_runtime.announcements import Announcements, UnannouncedError
from quilt_runtime.core import policysets, policysteps
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Allocation
from quilt_runtime.core.policy import Ground
from quilt_runtime.core.policyplan import Connected, Plan, State, plan, pod_entries, state
from quilt_runtime.core.policysets import Entries
from quilt_runtime.kernel.nft import NftError
from quilt_runtime.kernel.policytable import PolicyTable
from quilt_runtime.podfeed import PodFeed


class UnknownStateError(RequestError):
    """A change of what this process was never sent."""

    retryable = True


class Policies:
    """The table `inet quilt-policy`. Safe to use from any thread.

    `is_on` tells whether policies are enforced, `ground` what rules depend on, None without a subnet.
    """

    kind = "policies"

    def __init__(
        self,
        addresses: Addresses,
        feed: PodFeed,
        is_on: Callable[[], bool],
        ground: Callable[[], Ground | None],
    ) -> None:
        self._addresses = addresses
        self._is_on = is_on
        self._ground = ground
        self._lock = threading.RLock()
        self.announcements = Announcements(feed, is_on)
        self._table = PolicyTable()
        self._held: State | None = None
        self._listing: str | None = None
        self._is_touched = False
        self._is_absent = False
        self._gone: deque[IPv4Address] = deque()

    # What the agent sends

    def replace(self, program: Program) -> None:
        """Enforce a program. Raises RequestError, with what is enforced as before."""
        self.change(lambda _: program, first=True)

    def change(self, make: Callable[[Program], Program], *, first: bool = False) -> None:
        """Enforce what `make` returns of the program that is enforced; as replace.

        Raises UnknownStateError where none was sent yet, unless this may be the `first`.
        """
        with self._working():
            if not self._is_on():
                raise RequestError("Network policies are off on this node (Configure)", retryable=True)
            if self.announcements.program is None and not first:
                raise UnknownStateError("This runtime knows no policies since its start; send all of them")
            program = make(self.announcements.program or Program())
            self._write(program)
            self.announcements.set(program)

    # Pods that come and go

    def admit(self, allocation: Allocation) -> None:
        """Hold a pod, whose interface does not exist yet, to its policies; raises UnannouncedError, NftError.

        Connections of one that had the address before are judged again.
        """
        if not self._is_on():
            return
        with self._working():
            if not self.announcements.is_known(allocation.pod):
                raise UnannouncedError("The pod is announced no more; it is tried again")
            self._follow(allocation.address)

    def settle(self) -> None:
        """Judge again what was on its way while a pod was admitted a moment ago."""
        self._table.settle()

    def dismiss(self, allocation: Allocation) -> None:
        """Forget a pod whose address is free; never waits for a change of policies that is under way."""
        if not self._is_on():
            return
        self._gone.append(allocation.address)
        self._drain()

    # Upkeep

    def touched(self) -> None:
        """Note that somebody else changed the table."""
        self._is_touched = True

    def are_enforced(self) -> bool:
        """Whether there is a table in the kernel, as a predecessor left it."""
        return bool(self._table.listing())

    def ensure(self, *, read: bool = False) -> list[str]:
        """Make the table what it should be; returns what was written. Raises NftError.

        With `read` also what somebody else changed: elements where somebody was noticed, else rules.
        """
        with self._working():
            if not self._is_on():
                return self._remove()
            self._is_absent = False
            program = self.announcements.program
            if program is None:
                return []
            if read:
                self._look()
            return [self.kind] if self._write(program) else []

    def _remove(self) -> list[str]:
        self.announcements.set(None)
        self._held = self._listing = None
        if self._is_absent:
            return []
        removed = self._table.remove()
        self._table.close()
        self._is_absent = True
        return [self.kind] if removed else []

    def _look(self) -> None:
        """Read what somebody else may have changed. Rules are known by how nft lists them."""
        if self._held is None:
            return
        touched, self._is_touched = self._is_touched, False
        listing = self._table.listing()
        if self._listing is None and not touched:
            self._listing = listing
        is_same = listing == self._listing
        if is_same and not touched:
            return
        structure = self._held.structure if is_same else self._table.structure()
        keys = self._table.keys(self._held.sets, structure.sets)
        self._held = State(structure, keys, self._table.entries(), self._held.chains)

    def _write(self, program: Program) -> bool:
        """Write what differs; returns whether anything did."""
        ground = self._ground()
        if ground is None:
            return False
        wanted = state(ground, program, self._connected())
        held = self._held or self._read(wanted)
        steps = plan(held, wanted)
        if not steps.is_empty:
            self._held = None
            self._carry_out(steps, wanted)
        self._held = wanted
        return not steps.is_empty

    def _carry_out(self, steps: Plan, wanted: State) -> None:
        try:
            self._table.run(steps.before)
        except NftError as error:
            # Another release declared a set otherwise. All is made again; pods are cut off meanwhile.
            if "File exists" not in str(error):
                raise
            log.warning("policies_written_again", reason=str(error))
            meanwhile = policysets.closed(wanted.entries)
            self._table.run(policysteps.again(wanted.structure, meanwhile))
            steps = plan(State(wanted.structure, {}, meanwhile, wanted.chains), wanted)
        for part in steps.fill:
            self._table.change(part)
        self._table.change(steps.changes)
        self._table.run(steps.after)
        if steps.before or steps.after:
            self._listing = None

    def _read(self, wanted: State) -> State:
        """Return what the kernel has, by the names of what is wanted."""
        structure = self._table.structure()
        return State(structure, self._table.keys(wanted.sets, structure.sets), self._table.entries())

    def _follow(self, address: IPv4Address) -> None:
        """Write the entries of one address, of the pod that has it now or of none."""
        ground = self._ground()
        program, held, of_pod = self.announcements.program, self._held, self._connected_at(address)
        if program is None or ground is None:
            if of_pod is None:
                self._take_out(address)
            return
        wanted = pod_entries(of_pod, program, ground) if of_pod else {}
        if held is None or (wanted and not held.structure.bases):
            self._write(program)
        else:
            self._exchange(held, _part(held.entries, self._keys(address)), wanted)

    def _exchange(self, held: State, old: Entries, new: Entries) -> None:
        steps = plan(State(entries=old, chains=held.chains), State(entries=new, chains=held.chains))
        if not steps.changes:
            return
        self._held = None
        self._table.change(steps.changes)
        for name, keys in old.items():
            for key in keys:
                del held.entries[name][key]
        for name, own in new.items():
            held.entries.setdefault(name, {}).update(own)
        self._held = held

    def _take_out(self, address: IPv4Address) -> None:
        """Delete an address from a table of which nothing else is known."""
        old = _part(self._table.entries(), self._keys(address))
        self._table.change(plan(State(entries=old), State()).changes)

    def _keys(self, address: IPv4Address) -> set[bytes]:
        """Return the keys that a pod's address has in any map, in both families."""
        packed = [one.packed for one in (address, self._addresses.twin(address)) if one]
        return {key * times for key in packed for times in (1, 2)}

    # Details

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the lock; pods that ended meanwhile are forgotten before and after."""
        try:
            with self._lock:
                self._forget_gone()
                yield
        finally:
            self._drain()

    def _drain(self) -> None:
        """Forget pods that ended, or leave it to the thread that has the lock, which looks when done."""
        while self._gone and self._lock.acquire(blocking=False):
            try:
                self._forget_gone()
            finally:
                self._lock.release()

    def _forget_gone(self) -> None:
        while self._gone:
            address = self._gone.popleft()
            try:
                self._follow(address)
            except NftError as error:
                log.warning("policies_not_dismissed", address=str(address), error=str(error))

    def _connected(self) -> list[Connected]:
        return [found for held in self._addresses.held() if (found := self._of(held))]

    def _connected_at(self, address: IPv4Address) -> Connected | None:
        owner = self._addresses.holder(address)
        held = self._addresses.get(owner) if owner else None
        return self._of(held) if held else None

    def _of(self, held: Allocation) -> Connected | None:
        return Connected(held.pod, held.address, self._addresses.twin(held.address)) if held.pod else None


def _part(entries: Entries, keys: set[bytes]) -> Entries:
    """Return the entries of some keys."""
    return {
        name: found
        for name, held in entries.items()
        if (found := {key: held[key] for key in keys & held.keys()})
    }
