"""Objects of other releases: what fits is read, what does not is as if it were absent, nothing is raised."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_kube.decoding import convert
from quilt_kube.listwatch import decoder


class Part(msgspec.Struct, frozen=True):
    text: str = ""
    number: int = 5


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    many_texts: tuple[str, ...] = ()


decode = decoder(Thing)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, Thing()),
        ({"part": {"text": "a", "more": 1}}, Thing(Part("a"))),
        ({"part": {"text": "a", "number": "six"}, "manyTexts": ["b"]}, Thing(Part("a"), (), ("b",))),
        ({"part": None, "manyTexts": ["a", 1, "b"]}, Thing(Part(), (), ("a", "b"))),
        ({"part": [], "parts": [{"text": "a"}, 7]}, Thing(Part(), (Part("a"),))),
        ({"part": [], "parts": [{"text": "a", "number": "six"}]}, Thing(Part(), (Part("a"),))),
        ({"part": {"text": ["a"], "number": {}}, "manyTexts": "a"}, Thing()),
        ([], Thing()),
    ],
)
def test_what_fits_is_read(raw: Any, expected: Thing) -> None:
    assert decode(json.dumps(raw).encode()) == expected
    assert convert(raw, Thing) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["part", "parts", "manyTexts", "text", "number"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_nothing_is_raised_for_any_json(raw: Any) -> None:
    thing = decode(json.dumps(raw).encode())
    assert msgspec.convert(msgspec.to_builtins(thing), Thing) == thing


def test_what_is_not_json_is_raised() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"}{")
