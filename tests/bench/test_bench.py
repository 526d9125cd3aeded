"""The benchmarks still run and still notice what is wrong: a few cases at a hundredth of their size, and pure parts.

What they measure is not judged here.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench.load
from bench import catalogue, telemetry
from bench.__main__ import chosen
from bench.case import Case, Figures, Goal, Row, Settings, at_least, at_most
from bench.errors import Invalid, Lost
from bench.fleet import Plan, stamps
from bench.load import Flow
from bench.probe import Latencies
from bench.report import as_data, rows_of
from bench.run import Outcome
from bench.subscriptions import literal, wildcard
from bench.throughput import ColdSubjects
from bench.wire import CONNECT, PING, PONG, Target, connect, msg_bytes, pub, sub
from bench.workers import Link, Team

ROOT = Path(__file__).parents[2]
SMALL = ("--rounds", "1", "--seconds", "0.2", "--scale", "0.01", "--patience", "0")
CASES = ("1-1 128B cold-subjects", "fan-in*", "request-reply", "10,000 clients", "1,000,000 wildcard")


def run(module: str, *options: str, figures: Path) -> Any:
    """A command of the benchmarks, as people start it; what it wrote with `--json`."""
    command = [sys.executable, "-m", module, *options, "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(figures.read_text())


def test_cases_run_side_by_side(tmp_path: Path) -> None:
    """Messages are counted to the byte: exit code 0 says that neither server lost one."""
    only = [word for case in CASES for word in ("--only", case)]
    data = run("bench", *SMALL, *only, figures=tmp_path / "figures.json")
    assert [case["case"] for case in data["cases"]] == [case.name for case in chosen(CASES)]
    for case in data["cases"]:
        assert case["problems"] == []
        for row in case["rows"]:
            assert row["natslite"] is not None
            assert row["figure"] == "longest_turn_ms" or row["nats-server"] is not None
    assert data["longest_turn_ms"] > 0


@pytest.mark.parametrize("server", ["natslite", "nats-server"])
def test_telemetry(server: str, tmp_path: Path) -> None:
    options = ("--devices", "40", "--sites", "4", "--interval", "0.2", "--seconds", "0.6")
    data = run("bench.telemetry", "--start", server, *options, figures=tmp_path / "figures.json")
    assert data["lost"] == 0
    assert data["sent"] == 40 * 4 * 3
    # two see all, two one site of four, two one metric of four; the workers see all once
    assert data["delivered"] == data["sent"] * (2 + 2 / 4 + 2 / 4 + 1)


def broken_server(link: Link, listener: socket.socket, *, deliver: int, cut: bool) -> None:
    """Worker: greets two clients; of what the second publishes the first is given `deliver` bytes."""
    clients = []
    for _ in range(2):
        client, _ = listener.accept()
        client.sendall(b"INFO {} \r\n")
        received = b""
        while not received.endswith(PING):
            received += client.recv(65536)
        client.sendall(PONG)
        clients.append(client)
    subscriber, publisher = clients
    received = b""
    while not received.endswith(PING):
        received = received[-len(PING) :] + publisher.recv(1 << 20)
    if cut:
        subscriber.close()
    else:
        subscriber.sendall(b"x" * deliver)
    publisher.sendall(PONG)
    link.receive()


@pytest.mark.parametrize(
    ("deliver", "cut", "error"),
    [(0, False, Lost), (1, False, Lost), (1 << 24, False, Lost), (0, True, Invalid)],
    ids=["nothing", "one byte", "too much", "cut"],
)
def test_missing_messages_are_noticed(
    deliver: int, cut: bool, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.load, "SILENCE_S", 0.1)
    monkeypatch.setattr(bench.load, "POLL_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener, Team() as team:
        host, port = listener.getsockname()
        team.start(broken_server, listener, deliver=deliver, cut=cut)
        flow = Flow.of_block(team, Target(host, port), subscribers=1, payload_bytes=16)
        with pytest.raises(error):
            flow.run(0.001)


def test_a_closed_greeting_is_invalid() -> None:
    def close_at_once(link: Link, listener: socket.socket) -> None:
        listener.accept()[0].close()
        link.receive()

    with socket.create_server(("127.0.0.1", 0)) as listener, Team() as team:
        team.start(close_at_once, listener)
        with pytest.raises(Invalid):
            connect(Target(*listener.getsockname()))


def test_frames() -> None:
    assert pub(b"a.b", b"xy", b"r") == b"PUB a.b r 2\r\nxy\r\n"
    assert sub(b"a.*", 7, b"q") == b"SUB a.* q 7\r\n"
    assert msg_bytes(b"a.b", 7, 2) == len(b"MSG a.b 7 2\r\nxy\r\n")
    assert CONNECT.endswith(b"\r\n")


def test_cold_subjects_never_come_twice() -> None:
    source = ColdSubjects()
    seen: set[bytes] = set()
    for _ in range(12):
        block = bytes(source.data)
        subjects = re.findall(rb"PUB (\S+) 128\r\nx{128}\r\n", block)
        assert len(subjects) == source.messages
        cold = [subject for subject in subjects if b"new" in subject]
        assert len(cold) == source.messages // 2
        assert len({subject for subject in subjects if b"hot" in subject}) == 5
        assert seen.isdisjoint(cold)
        seen.update(cold)
        assert {msg_bytes(subject, 1, 128) for subject in subjects} == {source.received_frame_bytes}
        source.advance()
    assert len(seen) == 12 * source.messages // 2


@pytest.mark.parametrize("name", [literal, wildcard])
def test_a_cold_subject_matches_one_subscription(name: object) -> None:
    assert callable(name)
    pairs = [name(number) for number in range(0, 1_000_000, 7919)]
    patterns = [pattern for pattern, _ in pairs]
    assert len(set(patterns)) == len(pairs)
    for place, (_, subject) in enumerate(pairs):
        hits = [n for n, pattern in enumerate(patterns) if telemetry.matches(pattern, subject)]
        assert hits == [place]
        assert not any(telemetry.matches(pattern, subject + b".none") for pattern in patterns)


def test_stamps_are_found_across_cuts() -> None:
    plan = Plan(devices=3, sites=2, metrics=2, interval_s=1.0, repeats=1, payload_bytes=128)
    moments = [[device * 10, device * 10 + 1] for device in range(3)]
    stream = b"".join(plan.template(device) % tuple(moments[device]) for device in range(3))
    expected = [moment for pair in moments for moment in pair]
    for size in (1, 7, 24, 130, len(stream)):
        found, rest = [], b""
        for start in range(0, len(stream), size):
            more, rest = stamps(rest + stream[start : start + size])
            found += more
        assert found == expected


def test_report_compares_round_by_round() -> None:
    row = Row("rate", "messages", "/s", at_least(2.0))
    case = Case("example", (row,), lambda server, settings: {})
    rounds: dict[str, list[Figures | None]]
    rounds = {"old": [{"rate": 1.0}, None, {"rate": 2.0}], "new": [{"rate": 3.0}, {"rate": 9.0}, {"rate": 4.0}]}
    outcome = Outcome(case, rounds)
    assert rows_of(outcome, "new") == [row]
    (shown,) = as_data([outcome], "old", "new", Settings())["cases"][0]["rows"]
    assert shown["ratios"] == [3.0, 2.0]
    assert shown["ratio"] == 2.5
    assert shown["reached"] is True


def test_goals() -> None:
    assert at_most(0.5).is_reached(100.0, 0.5) is True
    assert at_most(0.5).is_reached(0.1, 0.6) is False
    assert Goal("value", 20, at_most=True).is_reached(19.0, None) is True
    assert at_least(1.0).is_reached(5.0, None) is None


def test_latencies() -> None:
    result = Latencies.of([number / 1e6 for number in range(1, 1001)])
    assert (round(result.p50_us), round(result.p99_us), round(result.longest_us)) == (501, 991, 1000)
    with pytest.raises(Invalid):
        Latencies.of([])


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in catalogue.CASES]
    assert len(set(names)) == len(names)
