"""How Go programs take flags, whatever the flags mean. Rule P-81. What ours mean is in test_cli."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite import flags
from natslite.flags import Flag, FlagError

KNOWN = [
    Flag(("port", "p"), "a number", int, "n"),
    Flag(("name", "n"), "a text", str, "text"),
    Flag(("debug", "D"), "a switch"),
    Flag(("DV",), "a switch with a name of two letters"),
    Flag(("max_payload",), "a size", flags.size, "size"),
    Flag(("ping_interval",), "a time", flags.duration, "time"),
]


def parse(*words: str) -> tuple[dict[str, Any], list[str]]:
    return flags.parse(words, KNOWN)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["-p", "1"], {"port": 1}),
        (["--p", "1"], {"port": 1}),
        (["-p=1"], {"port": 1}),
        (["--p=1"], {"port": 1}),
        (["-port", "1"], {"port": 1}),
        (["--port=1"], {"port": 1}),
        (["-p", "-1"], {"port": -1}),
        (["-p=-1"], {"port": -1}),
        (["-p", "1", "--port", "2"], {"port": 2}),
        (["-D"], {"debug": True}),
        (["--D"], {"debug": True}),
        (["-D=false"], {"debug": False}),
        (["--debug=0"], {"debug": False}),
        (["-D", "-D=F"], {"debug": False}),
        (["-DV"], {"DV": True}),
        (["-n", "-D"], {"name": "-D"}),
        (["-n", ""], {"name": ""}),
        (["-n="], {"name": ""}),
        (["-n=a=b"], {"name": "a=b"}),
        (["--name", "--"], {"name": "--"}),
        (["-D", "-n", "x", "-p=3", "--max_payload=1K"], {"debug": True, "name": "x", "port": 3, "max_payload": 1024}),
        (["--ping_interval", "1m30s"], {"ping_interval": 90.0}),
    ],
)
def test_forms(words: list[str], values: dict[str, Any]) -> None:
    assert parse(*words) == (values, [])


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        (["foo", "-p", "1"], {}, ["foo", "-p", "1"]),
        (["-D", "true"], {"debug": True}, ["true"]),
        (["-p", "1", "--", "-D"], {"port": 1}, ["-D"]),
        (["-"], {}, ["-"]),
        (["-D", ""], {"debug": True}, [""]),
    ],
)
def test_where_flags_end(words: list[str], values: dict[str, Any], rest: list[str]) -> None:
    """At the first word that is none, or behind `--`; a switch takes no word."""
    assert parse(*words) == (values, rest)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("-prot", "port"),
        ("-Port=1", "port"),
        ("--nam", "name"),
        ("-maxpayload", "max_payload"),
        ("--max-payload=1", "max_payload"),
        ("-ping_intervall", "ping_interval"),
        ("-debgu", "debug"),
    ],
)
def test_nearest(word: str, meant: str) -> None:
    with pytest.raises(FlagError) as error:
        parse(word)
    name = word.lstrip("-").partition("=")[0]
    assert str(error.value) == f"flag provided but not defined: -{name} (did you mean -{meant}?)"


def test_nothing_near() -> None:
    with pytest.raises(FlagError) as error:
        parse("--zzzzzz")
    assert str(error.value) == "flag provided but not defined: -zzzzzz"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-p"], "flag needs an argument: -p"),
        (["--p=x"], 'invalid value "x" for flag -p: parse error'),
        (["-p", ""], 'invalid value "" for flag -p: parse error'),
        (["-D=yes"], 'invalid value "yes" for flag -D: parse error'),
        (["-D="], 'invalid value "" for flag -D: parse error'),
        (["---p"], "bad flag syntax: ---p"),
        (["--=p"], "bad flag syntax: --=p"),
    ],
)
def test_complaints(words: list[str], text: str) -> None:
    """In Go's words, with one dash whatever was typed."""
    with pytest.raises(FlagError) as error:
        parse(*words)
    assert str(error.value) == text


@given(st.integers(0, 10**18), st.sampled_from(["", "K", "kb", "M", "MB", "g", "GiB", "T"]), st.sampled_from(["", " "]))
def test_sizes(number: int, unit: str, blank: str) -> None:
    factor = 1024 ** ("KMGT".index(unit[0].upper()) + 1 if unit else 0)
    assert flags.size(f"{number}{blank}{unit}") == number * factor


@pytest.mark.parametrize("text", ["", "K", "1X", "1KK", "1.5M", "0x10", "1_000", "--1", " 1"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        flags.size(text)


@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert flags.duration(f"{hours}h{minutes}m{seconds}s{milliseconds}ms") == pytest.approx(total)
    assert flags.duration(f"{hours}h{minutes}.5m") == pytest.approx(hours * 3600 + minutes * 60 + 30)


def test_usage() -> None:
    """A line for each flag: long names with two dashes, short ones with one."""
    assert [" ".join(line.split()) for line in flags.usage(KNOWN).splitlines()] == [
        "--port, -p <n> a number",
        "--name, -n <text> a text",
        "--debug, -D a switch",
        "-DV a switch with a name of two letters",
        "--max_payload <size> a size",
        "--ping_interval <time> a time",
    ]
