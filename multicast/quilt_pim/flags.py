"""Flags of the control plane, as one decorator: the command gets one validated ControlConfig."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from quilt_pim.core.config import ControlConfig
from quilt_pim.core.validate import ControlError

_HELP = {
    "control_sock": "Where multicast routers and `quiltctl multicast` ask; empty: nowhere.",
    "rpf_sock": "Where the mesh's routes answer RPF queries; empty: nowhere.",
    "rpf_provider": "disabled, static, or the absolute path of a Unix socket that answers RPF queries.",
    "external_neighbors_enabled": "Whether callers may inject PIM neighbors.",
    "event_buffer_size": "Events that a subscriber may fall behind: 1 to 65536.",
    "rpf_cache_ttl": "Seconds for which answers of an RPF provider are kept; 0: not at all.",
    "pim_interfaces": "Interface that PIM is spoken on from the start; repeatable. Needs NET_RAW.",
    "control_gid": "Group that may use both sockets besides root.",
}
# Those that differ from a flag of the field's name and of its default's type.
_SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "external_neighbors_enabled": ("--external-neighbors-enabled/--no-external-neighbors", {}),
    "pim_interfaces": ("--pim-interface", {"multiple": True}),
    "control_gid": ("--control-gid", {"type": int}),
}


def control_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command, which gets their values as `control`."""

    @functools.wraps(command)
    def wrapped(**flags: Any) -> Any:
        given = {name: flags.pop(name) for name in _HELP}
        try:
            control = ControlConfig(**given)
        except ControlError as error:
            raise click.UsageError(str(error)) from error
        return command(**flags, control=control)

    defaults = ControlConfig()
    for name, text in reversed(_HELP.items()):
        flag, more = _SPECIAL.get(name, (f"--{name.replace('_', '-')}", {}))
        option = click.option(
            flag, name, default=getattr(defaults, name), show_default=True, help=text, **more
        )
        wrapped = option(wrapped)
    return wrapped
