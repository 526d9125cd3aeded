"""Header blocks as in-process clients and services write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite.headers import decode, encode


def test_the_bytes():
    assert encode({}) == b"NATS/1.0\r\n\r\n"
    assert encode({"A": "1", "b-C": ["2", "3"]}) == b"NATS/1.0\r\nA: 1\r\nb-C: 2\r\nb-C: 3\r\n\r\n"
    assert encode({"A": "é"}) == "NATS/1.0\r\nA: é\r\n\r\n".encode()
    assert encode({"A": []}) == b"NATS/1.0\r\n\r\n"
    assert encode({"A": "1"}, status="100 Idle") == b"NATS/1.0 100 Idle\r\nA: 1\r\n\r\n"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é", "\x7f", "a\t"])
def test_names_that_cannot_be(name):
    with pytest.raises(ValueError, match="is not a header name"):
        encode({name: "1"})


@pytest.mark.parametrize("value", ["a\r\nB: 2", "a\n", "\r"])
def test_values_that_cannot_be(value):
    with pytest.raises(ValueError, match="line break"):
        encode({"A": value})
    with pytest.raises(ValueError, match="line break"):
        encode({"A": ["1", value]})
    with pytest.raises(ValueError, match="line break"):
        encode({}, status=value)


@pytest.mark.parametrize(
    ("block", "status", "headers"),
    [
        (b"NATS/1.0\r\n\r\n", "", {}),
        (b"NATS/1.0 503\r\nNats-Subject: a\r\n\r\n", "503", {"Nats-Subject": ["a"]}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", "404 No Messages", {}),
        (b"NATS/1.0\r\nA:1\r\na: 2 \r\nA:  \r\nB\r\nC: d: e\r\n\r\n", "", {"A": ["1", ""], "a": ["2"], "C": ["d: e"]}),
        (b"NATS/1.0\r\nA: \xff\r\n\r\n", "", {"A": ["\ufffd"]}),
        (b"", "", {}),
        (b"NATS/1.0", "", {}),
        (b"HTTP/1.1 200\r\nA: 1\r\n\r\n", "", {}),
        (b"NATS/1.0\r\nA: 1", "", {"A": ["1"]}),
    ],
)
def test_reading(block, status, headers):
    assert decode(block) == (status, headers)


names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=8)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8).map(str.strip)


@given(st.dictionaries(names, st.lists(values, min_size=1, max_size=3), max_size=4))
def test_what_was_written_is_read(headers):
    assert decode(encode(headers)) == ("", headers)


@given(st.binary())
def test_any_bytes_can_be_read(block):
    decode(block)
    decode(b"NATS/1.0" + block)
