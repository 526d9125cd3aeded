"""The plainest form of the rules about subjects (P-20 to P-25). What the engine does is compared with this elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite.subjects import is_valid_literal_subject, is_valid_subject, matches, tokens

LITERAL = [
    b"a",
    b"a.b",
    b"telemetry.site-1.dev_2.temp",
    b"foo*",
    b"f>o",
    b"*a",
    b">>",
    b"**",
    b"\xff.\x00",
    b"$SYS.a",
    b"A.a",
]
WILD = [b"*", b">", b"a.*", b"*.a", b"a.>", b"*.*", b"*.>"]
INVALID = [b"", b".", b"a.", b".a", b"a..b", b">.a", b"a.>.b", b">.>"]


def test_which_are_valid():
    assert [s for s in LITERAL + WILD if not is_valid_subject(s)] == []
    assert [s for s in INVALID if is_valid_subject(s)] == []
    assert [s for s in LITERAL if not is_valid_literal_subject(s)] == []
    assert [s for s in WILD + INVALID if is_valid_literal_subject(s)] == []


@pytest.mark.parametrize("character", list(" \t\r\n"))
def test_what_ends_a_word_is_in_no_literal_subject(character):
    for subject in (f"a{character}b", f"a.b{character}", character):
        assert not is_valid_literal_subject(subject.encode())


@pytest.mark.parametrize(
    ("pattern", "reached", "missed"),
    [
        (b"a.b", [b"a.b"], [b"a", b"a.c", b"a.b.c", b"A.b", b"a.*", b"a.>"]),
        (b"a.*", [b"a.b", b"a.*", b"a.>"], [b"a", b"a.b.c", b"b.a", b"a."]),
        (b"*", [b"a", b"*", b">"], [b"a.b", b""]),
        (b"a.>", [b"a.b", b"a.b.c", b"a.>", b"a.*.b"], [b"a", b"b.a", b"a.", b"a.b.", b"a..b"]),
        (b">", [b"a", b"a.b.c", b">"], [b"", b".", b"a.", b".a", b"a..b"]),
        (b"*.b.>", [b"a.b.c"], [b"a.b", b"a.c.b"]),
        (b"foo*", [b"foo*"], [b"foo", b"food"]),
        (b"f>o", [b"f>o"], [b"foo"]),
    ],
)
def test_what_reaches_whom(pattern, reached, missed):
    assert [s for s in reached if not matches(pattern, s)] == []
    assert [s for s in missed if matches(pattern, s)] == []


subjects = st.lists(st.sampled_from([b"a", b"b", b"*", b">", b""]), min_size=1, max_size=5).map(b".".join)


@given(subjects.filter(is_valid_subject), subjects)
def test_matches_what_a_regular_expression_matches(pattern, subject):
    parts = [{b"*": b"[^.]+", b">": b"[^.]+(?:[.][^.]+)*"}.get(token, re.escape(token)) for token in tokens(pattern)]
    assert matches(pattern, subject) == (re.fullmatch(b"[.]".join(parts), subject) is not None)
