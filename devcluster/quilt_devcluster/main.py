"""The command `quilt-devcluster`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from quilt_devcluster import binaries, bringup, hostpackages, images, paths, report, state
from quilt_devcluster import cnp as cnp_suite
from quilt_devcluster import netpol as netpol_suite
from quilt_devcluster.cluster import DEFAULT_NAME, Cluster
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind
from quilt_devcluster.netpol import Outcome

_PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="The cluster's name.")


def _say(text: str) -> None:
    click.echo(text, err=True)


class _Group(click.Group):
    """Shows our errors as text, without a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DevclusterError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(
    cls=_Group,
    context_settings={"auto_envvar_prefix": "QUILT_DEVCLUSTER", "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="quilt-mesh")
def cli() -> None:
    """A real Kubernetes on this machine, without a container engine or prebuilt downloads."""


@cli.command()
@click.option("--images", "product_too", is_flag=True, help="Build the product's images at the same time.")
def build(product_too: bool) -> None:
    """Build the programs and base images that clusters are made of (the first time: about ten minutes)."""
    from quilt_devcluster import product

    hostpackages.install_missing(_say)
    # The images wait for downloads while the programs keep the processors busy.
    with ThreadPoolExecutor() as pool:
        products = pool.submit(product.build, _say) if product_too else None
        binaries.build_all(_say)
        images.ensure_base_archives(_say)
    if products is not None:
        products.result()


@cli.command()
@click.option("--load", is_flag=True, help="Load the images into the running cluster too.")
@click.option(
    "--release", default="", help="The Debian to make them on, such as trixie; default: this one's."
)
@_name
def image(load: bool, release: str, name: str) -> None:
    """Build the product's images from the Containerfile and print their archives."""
    from quilt_devcluster import product

    built = product.build(_say, release)
    for archive in built:
        click.echo(archive)
    if load:
        Cluster.attach(name).load_images(*built)


@cli.command()
@_name
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(min=0), help="How many nodes.")
@click.option("--control-plane-only", is_flag=True, help="No nodes at all.")
@click.option("--allocate-node-cidrs", is_flag=True, help="Let the controller-manager give nodes pod ranges.")
@click.option("--dual-stack", is_flag=True, help="Services, nodes and pods have IPv6 beside IPv4.")
@click.option(
    "--proxy-mode",
    type=click.Choice(["nftables", "iptables"]),
    default=Kind().proxy_mode,
    show_default=True,
    help="How kube-proxy works.",
)
@click.option("--proxy-cluster-cidr", is_flag=True, help="Tell kube-proxy the pod networks (clusterCIDR).")
@click.option("--max-pods", default=Kind().max_pods, show_default=True, help="The kubelets' limit.")
def up(name: str, nodes: int, control_plane_only: bool, **switches: Any) -> None:
    """Start a cluster; returns when its API is ready and its nodes are registered."""
    count = 0 if control_plane_only else nodes
    cluster = Cluster.up(name, count, progress=_say, **switches)
    _say(f"export KUBECONFIG={cluster.kubeconfig}")


@cli.command()
@_name
@click.option("--all", "everything", is_flag=True, help="All clusters on this machine.")
def down(name: str, everything: bool) -> None:
    """End a cluster, also one that crashed; nothing of it is left."""
    for each in state.names() if everything else [name]:
        _say(f"cluster {each!r} is down" if bringup.down(each) else f"there was no cluster {each!r}")


@cli.command()
@_name
def status(name: str) -> None:
    """Show a cluster's nodes and programs."""
    click.echo(report.status(Cluster.attach(name)))


@cli.command(name="list")
def list_clusters() -> None:
    """List the clusters on this machine."""
    for each in state.names():
        click.echo(each)


@cli.command()
@_name
@click.option("--path", is_flag=True, help="Print the file's path instead of its content.")
def kubeconfig(name: str, path: bool) -> None:
    """Print a kubeconfig for the programs of this machine."""
    file = Cluster.attach(name).kubeconfig
    click.echo(file if path else file.read_text())


_focus = click.option("--focus", default="", help="Only tests whose name this regular expression matches.")


@cli.command()
@_name
@_focus
def netpol(name: str, focus: str) -> None:
    """Run Kubernetes' own tests of network policies on a cluster with a pod network that enforces them."""
    _report(netpol_suite.run(Cluster.attach(name), focus, _say))


@cli.command()
@_name
@_focus
def cnp(name: str, focus: str) -> None:
    """Run the conformance tests of ClusterNetworkPolicy there."""
    _report(cnp_suite.run(Cluster.attach(name), focus, _say))


def _report(outcomes: Sequence[Outcome]) -> None:
    if failed := [outcome.name for outcome in outcomes if not outcome.passed]:
        raise DevclusterError(f"{len(failed)} of {len(outcomes)} failed: {'; '.join(failed)}.")
    _say(f"all {len(outcomes)} passed")


@cli.command()
@click.option("--short", is_flag=True, help="The short choice of tests, on the kernels marked for it.")
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Write the counts here too.")
@click.argument("names", nargs=-1)
def kernels(short: bool, page: Path | None, names: tuple[str, ...]) -> None:
    """Run the kernel tests on Debian's kernels NAMES (all of tests/kernels.toml) in virtual machines."""
    from quilt_devcluster.kernels import results, runs
    from quilt_devcluster.kernels.plan import read_plan

    outcomes = runs.run_all(names, _say, short=short)
    click.echo(results.table(outcomes))
    if page is not None:
        plan = read_plan(runs.plan_file(paths.project_root()).read_text())
        page.write_text(results.page(plan, outcomes, page.read_text() if page.exists() else ""))
    if bad := results.complaint(outcomes):
        raise DevclusterError(bad, hint="the consoles are in the folder log of the cache: kernel-NAME.log")


def _become(program: str, name: str, args: tuple[str, ...]) -> None:
    cluster = Cluster.attach(name)
    path = binaries.program(program)
    sys.stdout.flush()
    os.execve(path, [program, *args], {**os.environ, **cluster.environment()})  # noqa: S606 - becoming the program is the point


@cli.command(context_settings=_PASS_THROUGH, add_help_option=False)
@_name
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, args: tuple[str, ...]) -> None:
    """Run kubectl as administrator; --name comes before kubectl's own arguments."""
    _become("kubectl", name, args)


@cli.command(context_settings=_PASS_THROUGH, add_help_option=False)
@_name
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def helm(name: str, args: tuple[str, ...]) -> None:
    """Run helm as administrator; --name comes before helm's own arguments."""
    _become("helm", name, args)


@cli.command(name="exec", context_settings=_PASS_THROUGH)
@_name
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(name: str, node: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a node's namespaces (network, mounts, host name, process ids); exit with its code."""
    argv = command[1:] if command[0] == "--" else command
    inside = Cluster.attach(name).exec_argv(node, argv)
    # Terminal, signals and exit code are the program's own.
    os.execv(shutil.which(inside[0]) or inside[0], inside)  # noqa: S606


@cli.command(name="load-image")
@_name
@click.argument(
    "archives", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def load_image(name: str, archives: tuple[Path, ...]) -> None:
    """Load image archives (docker or OCI, tar) on every node."""
    Cluster.attach(name).load_images(*archives)


@cli.command(name="add-node")
@_name
def add_node(name: str) -> None:
    """Add a node and print its name."""
    click.echo(Cluster.attach(name).add_node())


def _node_command(command: str, method: str, text: str) -> None:
    @cli.command(name=command, help=text)
    @_name
    @click.argument("node")
    def run(name: str, node: str) -> None:
        getattr(Cluster.attach(name), method)(node)


_node_command("remove-node", "remove_node", "Cut a node's power and delete it with its Node object.")
_node_command(
    "stop-node", "kill_node", "Cut a node's power: everything of it is gone at once, its disk stays."
)
_node_command("start-node", "start_node", "Boot a node after stop-node.")
_node_command("stop-kubelet", "stop_kubelet", "Kill a node's kubelet and leave it off; its pods run on.")
_node_command("start-kubelet", "start_kubelet", "Start a node's kubelet after stop-kubelet.")


@cli.command(name="restart-apiserver")
@_name
def restart_apiserver(name: str) -> None:
    """Kill the API servers (SIGKILL) and wait until their successors are ready."""
    Cluster.attach(name).restart_apiserver()


def main() -> None:
    """Entry point of the console script."""
    cli()


if __name__ == "__main__":
    main()
