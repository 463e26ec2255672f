"""`quiltctl connectivity`: what pods find out about the way between them."""

import click

from quilt_cli.groups import Group

_EXAMPLES = ("quiltctl connectivity test", "quiltctl connectivity perf")


@click.group("connectivity", cls=Group, folder=__name__, examples=_EXAMPLES)
def connectivity() -> None:
    """Test who reaches whom and how fast, by pods."""
