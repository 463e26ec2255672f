"""The files of a release: the chart's values, the wheel, the list of contents, the checksums."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from quilt_devcluster import DevclusterError, paths
from release import commandline, sbom, sums
from release.chart import CHART, pinned
from release.source import Source

ROOT = paths.project_root()
HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
PACKAGES = HATCH["build"]["targets"]["wheel"]["packages"]
PAGES = "cli/quilt_cli/ui/static"
DIGESTS = {"node": f"sha256:{'1' * 64}", "operator": f"sha256:{'2' * 64}"}


def source(folder: Path) -> Source:
    return Source(folder, "0.1.0", "0" * 40, 1_700_000_000)


def test_the_charts_values_name_the_images_by_digest_and_keep_their_comments() -> None:
    before = (ROOT / CHART / "values.yaml").read_text()
    after = pinned(before, "registry.example.com/team", "7.8.9", DIGESTS)
    wanted = yaml.safe_load(before)
    wanted["image"] |= {"registry": "registry.example.com/team", "tag": "7.8.9"}
    for name, digest in DIGESTS.items():
        wanted["image"][name]["digest"] = digest
    assert yaml.safe_load(after) == wanted
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 4
    assert after.count("#") == before.count("#")


def test_a_chart_without_such_values_is_no_releases() -> None:
    with pytest.raises(DevclusterError, match="lacks"):
        pinned("image: {registry: '', tag: '', node: {}, operator: {digest: ''}}", "r", "1", DIGESTS)


def test_the_wheel_is_the_same_when_it_is_built_again(tmp_path: Path) -> None:
    made = []
    for name in ("first", "second"):
        folder = tmp_path / name
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        for path in ("LICENSE", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / path, folder)
        made.append(commandline.wheel(source(folder), folder / "dist"))
    assert sums.sha256(made[0]) == sums.sha256(made[1])
    pages = {str(path.relative_to(ROOT / "cli")) for path in (ROOT / PAGES).iterdir()}
    assert pages <= {*zipfile.ZipFile(made[0]).namelist()}
    assert len(pages) > 10


def test_contents_are_listed_once_and_in_the_same_words(tmp_path: Path) -> None:
    pex = tmp_path / "quiltctl-0.1.0-linux-amd64.pex"
    wheels = {"rich-15.0.0-py3-none-any.whl": "", "py_yaml-6.0.3-cp311-cp311-manylinux_2_17_x86_64.whl": ""}
    with zipfile.ZipFile(pex, "w") as archive:
        archive.writestr("PEX-INFO", json.dumps({"distributions": wheels}))
    libc = sbom.Package("deb", "libc6", "2.36-9+deb12u10", "amd64")
    module = sbom.Package("golang", "golang.org/x/sys", "v0.35.0")
    found = frozenset({libc, module, sbom.pypi("rich", "15.0.0")})
    artifacts = [
        sbom.of_single_file(pex, "0" * 64),
        sbom.Artifact("quilt-mesh-node linux/amd64", "1" * 64, found, image=True),
    ]
    text = sbom.document(source(tmp_path), artifacts)
    assert text == sbom.document(source(tmp_path), reversed(artifacts))
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    purls = [component["purl"] for component in document["components"] if "purl" in component]
    assert sorted(purls) == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        "pkg:golang/golang.org/x/sys@v0.35.0",
        "pkg:pypi/py-yaml@6.0.3",
        "pkg:pypi/rich@15.0.0",
    ]
    needed = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert len(needed["quilt-mesh-node linux/amd64"]) == 3
    assert len(needed[pex.name]) == 2
    assert len(needed["quilt-mesh@0.1.0"]) == 2


def test_checksums_are_those_that_the_usual_program_checks(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    written = sums.write(tmp_path)
    assert sums.write(tmp_path).read_text() == written.read_text(), "it has no line of itself"
    check = ["sha256sum", "--check", "--strict", written.name]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, text=True).stdout == "one: OK\ntwo: OK\n"
