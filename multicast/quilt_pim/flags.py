"""Flags of the control plane, as one decorator: the command gets one validated ControlConfig."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from quilt_pim.core.config import DEFAULT_BUFFER, DEFAULT_TTL, ControlConfig
from quilt_pim.core.errors import ControlError

_OPTIONS = (
    click.option(
        "--control-sock",
        default="/run/quilt/control.sock",
        show_default=True,
        help="Where multicast routers and `quiltctl multicast` ask; empty: nowhere.",
    ),
    click.option(
        "--rpf-sock",
        default="/run/quilt/rpf.sock",
        show_default=True,
        help="Where the mesh's routes answer RPF queries; empty: nowhere.",
    ),
    click.option(
        "--rpf-provider",
        default="disabled",
        show_default=True,
        help="disabled, static, or the absolute path of a Unix socket that answers RPF queries.",
    ),
    click.option(
        "--external-neighbors-enabled/--no-external-neighbors",
        default=True,
        show_default=True,
        help="Whether callers may inject PIM neighbors.",
    ),
    click.option(
        "--event-buffer-size",
        type=int,
        default=DEFAULT_BUFFER,
        show_default=True,
        help="Events that a subscriber may fall behind: 1 to 65536.",
    ),
    click.option(
        "--rpf-cache-ttl",
        type=int,
        default=DEFAULT_TTL,
        show_default=True,
        help="Seconds for which answers of an RPF provider are kept; 0: not at all.",
    ),
    click.option(
        "--pim-interface",
        "pim_interfaces",
        multiple=True,
        help="Interface that PIM is spoken on from the start; repeatable. Needs NET_RAW.",
    ),
    click.option("--control-gid", type=int, help="Group that may use both sockets besides root."),
)


def control_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command, which gets their values as `control`."""

    @functools.wraps(command)
    def wrapped(**flags: Any) -> Any:
        names = ControlConfig.__dataclass_fields__
        given = {name: flags.pop(name) for name in list(flags) if name in names}
        try:
            control = ControlConfig(**given)
        except ControlError as error:
            raise click.UsageError(str(error)) from error
        return command(**flags, control=control)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
