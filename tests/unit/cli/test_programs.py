"""What people meet first: names, help, versions, typing errors, narrow terminals, no colors."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace as struct_replace
from rich.console import Console

from quilt_cli.commands.multicast import table
from quilt_cli.commands.status import show
from quilt_cli.core import multicast
from quilt_cli.core.status import report
from quilt_cli.core.versions import versions
from quilt_cli.groups import Command, Group
from quilt_cli.main import cli
from quilt_crds.wire import Meta, QuiltNode
from tests.support import cli_snapshots as some
from tests.support.cli_fakeapi import FakeApi

ROOT = Path(__file__).parents[3]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
LONG = f"ip-10-1-2-3.eu-central-1.{'compute-' * 5}internal.a-very-long-domain.example"


def commands(
    group: Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their words, groups too."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


def run(*arguments: str, **settings: str | int) -> Result:
    return CliRunner().invoke(cli, list(arguments), **settings)  # type: ignore[arg-type]


# Calls a program with each of its arguments in turn, and prints how each call ends.
CALL = """
import sys
import MODULE as module
program, *flags = sys.argv[1:]
for flag in flags:
    sys.argv = [program, flag]
    try:
        module.NAME()
    except SystemExit as end:
        print(flag, "ends with", end.code)
"""


@pytest.mark.parametrize("program", sorted(SCRIPTS))
def test_every_program_tells_its_flags_and_its_version(program: str) -> None:
    """u11: Each program answers `--help`, `-h` and `--version`, and ends well."""
    module, _, name = SCRIPTS[program].partition(":")
    code = CALL.replace("MODULE", module).replace("NAME", name)
    flags = ("--help", "-h", "--version")
    command = [sys.executable, "-c", code, program, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    called = "kubectl quilt" if program == "kubectl-quilt" else program
    assert done.stdout.count(f"Usage: {called} ") == 2
    assert f"{called}, version {version('quilt-mesh')}\n" in done.stdout
    assert all(f"{flag} ends with 0\n" in done.stdout for flag in flags)


def test_every_help_fits_ends_in_examples_and_cuts_no_sentence() -> None:
    for words, command in commands():
        shown = run(*words, "--help", terminal_width=80)
        assert shown.exit_code == 0
        text, _, examples = shown.output.partition("\nExamples:\n")
        assert max(map(len, text.splitlines())) <= 80
        assert "..." not in text.replace("[ARGS]...", ""), text
        assert isinstance(command, Command)
        assert len(examples.splitlines()) == len(command.examples) > 0
        assert command.help


def test_every_example_is_a_command_that_exists() -> None:
    known = {words for words, _ in commands()}
    for _, command in commands():
        assert isinstance(command, Command)
        for example in command.examples:
            words = example.partition("quiltctl ")[2].replace(")", " ").split()
            length = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
            assert any(tuple(words[:n]) in known for n in range(length, 0, -1)), example


def test_commands_are_where_their_name_says() -> None:
    """A group's folder holds all of it: nothing is registered elsewhere."""
    for words, command in commands():
        folder = ".".join(["quilt_cli.commands", *words[:-1]])
        module = command.callback and command.callback.__module__
        assert words == () or str(module).startswith(folder), words


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("statsu",), "status"),
        (("multicast", "group"), "groups"),
        (("status", "--outptu", "json"), "--output"),
    ],
)
def test_a_typing_error_is_answered_with_what_was_meant(typed: tuple[str, ...], meant: str) -> None:
    found = run(*typed)
    assert found.exit_code == 2
    assert f"Did you mean '{meant}'?" in found.output


@pytest.mark.parametrize(("called", "shown"), [("quiltctl", "quiltctl"), ("kubectl-quilt", "kubectl quilt")])
def test_usage_names_the_program_as_it_was_called(called: str, shown: str) -> None:
    code = f"import sys; sys.argv = [{called!r}, 'check', '-h']; from quilt_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"Usage: {shown} check " in done.stdout
    assert f"  {shown} check --pre\n" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script_that_asks_for_completions(shell: str) -> None:
    assert "_QUILTCTL_COMPLETE" in run("completion", shell).output


def narrow(*, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False, no_color=True)


def text_of(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue())
    return [word.strip() for line in plain.splitlines() for word in line.split("  ")]


def long_names() -> tuple[QuiltNode, ...]:
    subnets = ("10.42.1.0/24", "fd00:10:42:1::/64")
    return tuple(
        QuiltNode(Meta(f"{LONG}-{index}"), status=struct_replace(node.status, subnets=subnets))
        for index, node in enumerate(some.healthy().mesh_nodes)
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_addresses_of_nodes_with_long_names_stay_whole(terminal: bool) -> None:
    """u10: In 80 columns, names of over 63 characters with dots and addresses are shown whole, not folded."""
    nodes = long_names()
    out = narrow(terminal=terminal)
    show(report(some.healthy(mesh_nodes=nodes, kube_nodes=(), subnets=())), out)
    shown = text_of(out)
    for node in nodes:
        assert len(node.name) > 63
        assert any(word == node.name for word in shown)
        assert any(word == node.status.host_ip for word in shown)
        assert any(word == "10.42.1.0/24, fd00:10:42:1::/64" for word in shown)


def test_groups_with_long_lists_stay_whole() -> None:
    """u10: Multicast tables that are too wide become blocks, in which each name is whole."""
    out = narrow()
    found = {"group": "239.1.1.1", "interface": "quilt0", "members": ["veth7"], "nodes": [LONG, "n2"]}
    table(multicast.GROUPS, [found])(out)
    assert any(word.endswith(f"{LONG}, n2") for word in text_of(out))


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)
    show(report(some.healthy(mesh_nodes=(some.mesh_node(1, "Down"),))), out)
    assert isinstance(out.file, io.StringIO)
    codes = {part.partition("m")[0] for part in out.file.getvalue().split("\x1b[")[1:]}
    assert codes <= {"0", "1", "2"}, "bold and dim are no colors"


def test_the_version_tells_all_parts_and_what_differs(api: FakeApi, tmp_path: Path) -> None:
    labels = {"app.kubernetes.io/version": "0.2.0", "helm.sh/chart": "quilt-mesh-0.2.0"}
    for path in ("quiltnetworks", "quiltsubnets"):
        api.answers[f"/apis/quilt.io/v1alpha1/{path}"] = (200, {"items": []})
    nodes = [{"metadata": {"name": name}, "status": {"version": "0.2.0"}} for name in ("n1", "n2")]
    api.answers["/apis/quilt.io/v1alpha1/quiltnodes"] = (200, {"items": nodes})
    operator = {"metadata": {"name": "quilt-operator", "namespace": "q", "labels": labels}}
    api.answers["/apis/apps/v1/deployments"] = (200, {"items": [operator]})
    config = str(api.kubeconfig(tmp_path))
    shown = run("version", "--kubeconfig", config)
    assert shown.exit_code == 0, shown.output
    for line in ("Agents:   0.2.0 (2 nodes)", "Operator: 0.2.0", "Chart:    quilt-mesh-0.2.0"):
        assert line in shown.output
    assert f"This command is {version('quilt-mesh')}, the mesh 0.2.0" in shown.output
    document = json.loads(run("--kubeconfig", config, "version", "-o", "json").stdout)
    assert document["agents"] == {"0.2.0": 2}


def test_the_version_without_a_cluster_is_the_commands_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = run("version", "--client")
    assert (alone.exit_code, alone.stdout) == (0, f"Client:   {version('quilt-mesh')}\n")
    away = run("version", "--kubeconfig", str(tmp_path / "none"))
    assert away.exit_code == 2
    assert away.stdout == alone.stdout


def test_skew_is_reported_in_a_sentence() -> None:
    healthy = some.healthy()
    assert versions("0.1.0", healthy).skew == "All parts have the same version."
    second = some.mesh_node(2)
    newer_node = QuiltNode(second.metadata, status=struct_replace(second.status, version="0.2.0"))
    mixed = (some.mesh_node(1), newer_node)
    assert "0.1.0 and 0.2.0 side by side" in versions("0.1.0", replace(healthy, mesh_nodes=mixed)).skew
    assert healthy.operator is not None
    newer = replace(healthy, operator=replace(healthy.operator, version="0.2.0"))
    assert "finish the upgrade" in versions("0.1.0", newer).skew
    assert "not installed" in versions("0.1.0", replace(healthy, installed=False)).skew


def test_modules_of_other_commands_are_not_imported() -> None:
    """`quiltctl status` waits for no library that another command needs."""
    asked = "from quilt_cli.main import cli; cli(['status', '-h'], standalone_mode=False)"
    code = f"import sys; {asked}; print('pyroute2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
