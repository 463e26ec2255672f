"""`quiltctl connectivity`: what pods find out about the way between them."""

import click

from quilt_cli.groups import Group


@click.group("connectivity", cls=Group, folder=__name__, examples=("quiltctl connectivity test",))
def connectivity() -> None:
    """Test who reaches whom, by pods."""
