"""What tests of reading kubeconfigs share: the corpus, beside an authority, with addresses filled in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from quilt_devcluster.pki import Authority

CORPUS = Path(__file__).parent / "kubeconfigs"
Corpus = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A function that gives the path of a file of the corpus, with SERVER and PROXY replaced.

    Its folder holds ca.crt, serving.crt and serving.key of a server that is called api.example.com alone.
    """
    authority = Authority.create("test")
    authority.identity.write(tmp_path, "ca")
    authority.sign("api", names=("api.example.com",), server=True).write(tmp_path, "serving")
    shutil.copytree(CORPUS / "bin", tmp_path / "bin")

    def make(name: str, server: str = "192.0.2.1:6443", proxy: str = "192.0.2.9:3128") -> Path:
        text = (CORPUS / f"{name}.yaml").read_text()
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.replace("SERVER", server).replace("PROXY", proxy))
        return path

    return make
