"""The cost model agrees with what was measured, and the page with the model."""

from __future__ import annotations

import pytest

from bench import model


@pytest.mark.parametrize("formula", model.FORMULAS, ids=lambda one: f"{one.what}: {one.text}")
def test_a_formula_agrees_with_what_was_measured(formula: model.Formula) -> None:
    wrong = {what: off for what, off in formula.deviations().items() if abs(off) > model.TOLERANCE}
    assert not wrong


def test_the_page_is_as_the_model_says() -> None:
    text = model.PAGE.read_text()
    assert model.page(text) == text
