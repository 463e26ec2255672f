"""`quiltctl policy`: network policies, and what they mean for a connection."""

import click

from quilt_cli.groups import Group


@click.group(
    "policy",
    cls=Group,
    folder=__name__,
    examples=("quiltctl policy list", "quiltctl policy explain shop/db-0 --from shop/web-1 --port 5432/tcp"),
)
def policy() -> None:
    """Look at network policies and what they decide."""
