"""Helm, and what it makes of the chart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quilt_devcluster import binaries
from quilt_devcluster.tools import BY_PROGRAM
from tests.support.helm import Helm, Json


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, built where it is not yet."""
    folder = binaries.build(BY_PROGRAM["helm"], lambda _: None)
    return Helm(folder / "helm", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[..., dict[str, Json]]:
    """The objects that values lead to."""
    return helm.objects
