"""YAML 1.2 scalars, nothing that surprises, and every refusal with its place."""

from __future__ import annotations

import math
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.jobs.strict_yaml import parse_yaml, to_yaml

SCALARS = {
    "1e-3": 0.001,
    "1.5E+2": 150.0,
    ".5": 0.5,
    "5.": 5.0,
    "-0": 0,
    "+12": 12,
    "0x1F": 31,
    "0o17": 15,
    "true": True,
    "False": False,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "~": None,
    "null": None,
    "": None,
    "2024-01-31": "2024-01-31",
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    '"1"': "1",
    "'true'": "true",
    "1.2.3": "1.2.3",
    "nan": "nan",
    ".inf": math.inf,
    "-.INF": -math.inf,
}


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_are_yaml_1_2(text: str) -> None:
    value, problems = parse_yaml(f"a: {text}\n")
    assert problems == []
    assert value == {"a": SCALARS[text]}
    assert isinstance(value, dict)
    assert type(value["a"]) is type(SCALARS[text])


def test_not_a_number_is_read_as_one() -> None:
    value, problems = parse_yaml(".nan")
    assert problems == []
    assert isinstance(value, float)
    assert math.isnan(value)


REFUSALS = {
    "a: 1\nb: {c: 2, c: 3}\na: 4\n": ["b.c: given twice, on lines 2 and 2", "a: given twice, on lines 1 and 3"],
    "a: 010": ['a: line 1, column 4: 010 could mean two numbers; write 10, or "010" if it is text'],
    "a: [1, -007]": ["a[1]: line 1, column 8: -007 could mean two numbers; write 7"],
    "a: &x 1": ["a: line 1, column 4: anchors (&name) are not allowed"],
    "a: *x": ["a: line 1, column 4: aliases (*name) are not allowed; write the value out"],
    "a: !!python/object/apply:os.system [ls]": ["a: line 1, column 4: tags (tag:yaml.org,2002:python/object"],
    "a: ! 5": ["a: line 1, column 4: tags (!) are not allowed"],
    "a:\n  <<: {b: 1}": ["a: line 2, column 3: merge keys (<<) are not allowed; write the keys out"],
    "a: 1\n---\nb: 2": ["line 2, column 1: a second document; expected only one"],
    "? [a]\n: 1": ["line 1, column 3: a key that is a list or mapping; expected text"],
    "a: b: c": ["line 1, column 5: mapping values are not allowed in this context"],
    "a:\n\t- b": ["line 2, column 1: found character"],
    'a: "b': ["line 1, column 6: found unexpected end of stream"],
    "a: \x07": ['character "\\x07" at position 3 is not allowed in YAML'],
    "a: \ud800": ["text that is not valid Unicode"],
    "a: " + "9" * 5000: ["a: line 1, column 4: a number of 5,000 characters"],
    "a: " + "[" * 30: ["line 1, column 23: nested deeper than 20 levels"],
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_name_the_place(text: str) -> None:
    _, problems = parse_yaml(text)
    assert len(problems) == len(REFUSALS[text])
    for problem, words in zip(problems, REFUSALS[text], strict=True):
        assert str(problem).startswith(words)


def test_a_quoted_merge_key_is_only_a_key() -> None:
    assert parse_yaml('"<<": 1') == ({"<<": 1}, [])


def test_twenty_levels_are_allowed_and_huge_nests_end_at_once() -> None:
    """A megabyte of brackets, and a billion laughs, are refused before they cost anything."""
    assert parse_yaml("[" * 20 + "]" * 20)[1] == []
    assert len(parse_yaml("[" * 21 + "]" * 21)[1]) == 1
    laughs = "a: &a [x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]" for i in range(20)
    )
    start = time.perf_counter()
    for text in ("[" * 1_000_000, "{a: " * 250_000, laughs):
        assert parse_yaml(text)[1]
    assert time.perf_counter() - start < 5


text_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [*SCALARS, "010", "-", "=", "<<"]
)
scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False) | text_values
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text_values, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(text_values, values, max_size=5))
@settings(max_examples=400, deadline=None)
def test_what_is_written_reads_back_with_the_same_types(value: dict[str, object]) -> None:
    """Text that looks like a number in any YAML stays text; numbers stay numbers."""
    text = to_yaml(value)  # type: ignore[arg-type]  # hypothesis does not know that these are YAML values
    found, problems = parse_yaml(text)
    assert problems == []
    assert repr(found) == repr(value)


@given(
    st.dictionaries(
        st.text("abcxyz", min_size=1), st.booleans() | st.integers() | st.text("0179.eExo_:-+yn", max_size=6)
    )
)
@settings(max_examples=300, deadline=None)
def test_readers_of_yaml_1_1_agree(value: dict[str, object]) -> None:
    """PyYAML's own safe loader, which reads YAML 1.1, gets the same values."""
    assert yaml.safe_load(to_yaml(value)) == value  # type: ignore[arg-type]


@given(st.text(st.sampled_from(list("ab:-[]{}#&*!|>'\"%@`,? \n\t0.~<=")), max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_gives_a_value_or_problems(text: str) -> None:
    """No exception escapes; and a value that was read without problems can be written and read again."""
    value, problems = parse_yaml(text)
    if not problems:
        assert repr(parse_yaml(to_yaml({"a": value}))) == repr(({"a": value}, []))
