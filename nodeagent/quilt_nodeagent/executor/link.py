"""The connection to the runtime: what it was sent, what it must be sent again, and whether it is there.

A runtime that restarted keeps its own state, but nobody may rely on that: a new connection means that the
whole configuration is sent again and the kernel is looked at again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

import grpc
from msgspec.structs import replace

from quilt_kube.aio import wait
from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_nodeagent.executor.client import (
    ExecutorError,
    NodeSettings,
    RouteFailed,
    RuntimeClient,
    RuntimeUnavailable,
)
from quilt_nodeagent.metrics import Metrics
from quilt_proto.node_pb2 import GetStatusResponse

# Seconds between questions to a runtime that has nothing to do.
_POLL = 10.0
# Seconds for which the runtime is believed to hold the settings but for what it was sent since.
_ALL = 60.0


@dataclass
class RuntimeLink:
    """Keeps the runtime configured. `settings` and `subnet` are wishes, sent when they or the runtime change.

    `restored()` is called when the runtime came (back), `changed()` when anything reported to users did;
    `answered` gets each of its reports, every few seconds.
    """

    client: RuntimeClient
    metrics: Metrics
    _: KW_ONLY
    restored: Callable[[], None]
    changed: Callable[[], None]
    answered: Callable[[GetStatusResponse], None] = lambda _status: None

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._settings: NodeSettings | None = None
        self._subnet = ""
        self._confirmed_settings: NodeSettings | None = None
        self.confirmed_subnet = ""
        """The subnet that the runtime confirmed, whatever else it is still to be confirmed; empty before."""
        self._sent_all_at = float("-inf")
        self.reachable = False
        self.error = f"The runtime at {self.client.address} was not reached yet."
        self.refusal = ""
        self.problems: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.held_subnet = ""
        self._held_v6: str | None = None
        self._move_to = ("", "")
        self._offer_due = float("-inf")
        self._offer_refused = ("", "")

    @property
    def served(self) -> tuple[str, ...] | None:
        """The subnets that the runtime holds, as it last reported; None before it was asked."""
        if self._held_v6 is None:
            return None
        return tuple(subnet for subnet in (self.held_subnet, self._held_v6) if subnet)

    @property
    def configured(self) -> bool:
        """Whether the runtime holds exactly what it should."""
        wanted = (self._settings, self._subnet)
        confirmed = (self._confirmed_settings, self.confirmed_subnet)
        return self.reachable and self._settings is not None and not self.refusal and wanted == confirmed

    @property
    def enforces_policies(self) -> bool:
        """Whether the runtime is there and was configured to enforce policies."""
        confirmed = self._confirmed_settings
        return self.reachable and confirmed is not None and confirmed.policies

    def serves(self, subnet: str, subnet_v6: str = "") -> bool:
        """Whether the runtime is there and took these subnets; an empty second one asks for IPv4 alone.

        What it is being sent meanwhile, for a peer that joins or leaves, changes nothing of that.
        """
        confirmed = self._confirmed_settings
        if not self.reachable or self.refusal or confirmed is None or self.confirmed_subnet != subnet:
            return False
        return not subnet_v6 or confirmed.subnet_v6 == subnet_v6

    def want(self, settings: NodeSettings, subnet: str, move_to: tuple[str, str] = ("", "")) -> None:
        """Set what the runtime should hold; an empty subnet leaves the one that it has.

        `move_to` are an IPv4 and an IPv6 subnet that it is offered again and again, until no pod has an
        address of those that it holds.
        """
        wanted = (settings, subnet, move_to)
        if wanted != (self._settings, self._subnet, self._move_to):
            if wanted[2] != self._move_to:
                self._offer_due = float("-inf")
            self._settings, self._subnet, self._move_to = wanted
            self._wake.set()

    def failed(self, error: RuntimeUnavailable) -> None:
        """Take note that somebody's call failed: look at once instead of at the next poll."""
        self._lost(error)
        self._wake.set()

    async def run(self) -> None:
        """Keep the runtime configured for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_channel())
            group.create_task(self._sync_forever())

    async def _sync_forever(self) -> None:
        backoff = Backoff(0.1, 0.5)
        while True:
            self._wake.clear()
            try:
                await self._sync()
                backoff.reset()
                pause = _POLL
            except RuntimeUnavailable as error:
                self._lost(error)
                pause = backoff.delay()
            except RouteFailed as error:
                self._refused(error)
                pause = _POLL
            await wait(self._wake, pause)

    async def _sync(self) -> None:
        status = await self.client.status()
        if not self.reachable:
            self._found(status.version)
        elif self._forgot(status):
            log.info("runtime_forgot", confirmed=self.confirmed_subnet, holds=status.subnet)
            self._found(status.version)
        self._note(status)
        self.answered(status)
        await self._tell()
        await self._move()

    def _forgot(self, status: GetStatusResponse) -> bool:
        """Whether the runtime lacks what it confirmed: it was replaced between two questions."""
        second = self._confirmed_settings.subnet_v6 if self._confirmed_settings else ""
        return bool(self.confirmed_subnet and status.subnet != self.confirmed_subnet) or bool(
            second and status.subnet_v6 != second
        )

    async def _tell(self) -> None:
        settings, subnet = self._settings, self._subnet
        if settings is not None and settings != self._confirmed_settings:
            await self._configure(settings)
            self._confirmed_settings = settings
            self._held_v6 = settings.subnet_v6 or self._held_v6
            log.debug("runtime_configured", mtu=settings.mtu)
            self.changed()
        if settings is not None and subnet and subnet != self.confirmed_subnet:
            await self.client.configure_subnet(subnet)
            self.confirmed_subnet = self.held_subnet = subnet
            log.info("runtime_subnet_configured", subnet=subnet)
            self.changed()
        if self.refusal:
            self.refusal = ""
            self.changed()

    async def _move(self) -> None:
        """Offer the runtime the subnets to move to; it refuses while pods have addresses."""
        to, to_v6 = self._move_to
        settings = self._confirmed_settings
        if time.monotonic() < self._offer_due:
            return
        # Peers that join wake this up many times a second.
        self._offer_due = time.monotonic() + _POLL / 2
        if to:
            await self._announce_length(to)
        if to and await self._offer(self.client.configure_subnet(to), to):
            self._subnet = self.confirmed_subnet = self.held_subnet = to
            self._moved(to)
        if to_v6 and settings is not None:
            moved = replace(settings, subnet_v6=to_v6)
            if await self._offer(self.client.configure(moved), to_v6):
                self._settings = self._confirmed_settings = moved
                self._held_v6 = to_v6
                self._moved(to_v6)

    async def _announce_length(self, subnet: str) -> None:
        """Let the runtime accept a subnet of another length, as a new Node's podCIDR may have."""
        confirmed, length = self._confirmed_settings, int(subnet.partition("/")[2])
        if confirmed is not None and confirmed.node_prefix_length not in (0, length):
            # Kept as confirmed: where the offer is refused, the next look reports the former length again.
            self._confirmed_settings = replace(confirmed, node_prefix_length=length)
            await self.client.configure(self._confirmed_settings)

    async def _offer(self, call: Awaitable[None], subnet: str) -> bool:
        try:
            await call
        except RouteFailed as error:
            refused = (subnet, self.held_subnet)
            if refused != self._offer_refused:
                log.info("runtime_subnet_in_use", granted=subnet, serves=self.served, error=str(error))
            self._offer_refused = refused
            return False
        return True

    def _moved(self, subnet: str) -> None:
        self._move_to, self._offer_refused = ("", ""), ("", "")
        log.info("runtime_subnet_moved", subnet=subnet)
        self.changed()

    async def _configure(self, settings: NodeSettings) -> None:
        """Tell all settings, or only the peers that came or went."""
        confirmed, now = self._confirmed_settings, time.monotonic()
        if confirmed is None or not confirmed.but_sources(settings) or now - self._sent_all_at > _ALL:
            await self.client.configure(settings)
            self._sent_all_at = now
            return
        more, less = settings.overlay_sources, confirmed.overlay_sources
        await self.client.change_overlay_sources(more - less, less - more)

    def _found(self, version: str) -> None:
        self.reachable = True
        self.error = ""
        self._confirmed_settings, self.confirmed_subnet = None, ""
        self.metrics.runtime_ready.set(1)
        log.info("runtime_reached", version=version, address=self.client.address)
        self.restored()
        self.changed()

    def _note(self, status: GetStatusResponse) -> None:
        before = (self.served, self.problems, self.warnings)
        self.held_subnet, self._held_v6 = status.subnet, status.subnet_v6
        self.problems, self.warnings = tuple(status.problems), tuple(status.warnings)
        if (self.served, self.problems, self.warnings) != before:
            self.changed()

    def _lost(self, error: RuntimeUnavailable) -> None:
        self.metrics.runtime_errors.labels("RuntimeUnavailable").inc()
        if self.reachable or str(error) != self.error:
            if self.reachable:
                log.warning("runtime_lost", error=str(error), keeps="kernel state as it is")
            self.reachable = False
            self.error = str(error)
            self.metrics.runtime_ready.set(0)
            self.changed()

    def _refused(self, error: ExecutorError) -> None:
        self.metrics.runtime_errors.labels(type(error).__name__).inc()
        if str(error) != self.refusal:
            self.refusal = str(error)
            log.warning("runtime_refused", error=self.refusal)
            self.changed()

    async def _follow_channel(self) -> None:
        """Notice a lost connection when it is lost, not at the next call."""
        channel = self.client.channel
        ready = grpc.ChannelConnectivity.READY
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is ready and not self.reachable:
                self._wake.set()
            await channel.wait_for_state_change(state)
            # Whatever it is now: it was left, so what the runtime was sent may be gone.
            if state is ready and self.reachable:
                self._lost(
                    RuntimeUnavailable(f"The connection to the runtime at {self.client.address} was lost.")
                )
                self._wake.set()
