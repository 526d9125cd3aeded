"""The driver: runs cases against two servers in turn (ABAB), repeats what was spoiled, keeps every figure.

Called by `python -m bench` and by the smoke test. It knows cases and servers, not what they measure nor how results
are shown.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.case import Case, Figures, Row, Settings
from bench.certificates import certificate
from bench.errors import BenchError, Invalid, Lost, Unsupported
from bench.servers import Certificate, Peer, Server, running

ATTEMPTS_MAX = 2
"""How often a round is tried before it is reported as invalid."""
PAUSE_S = 0.2
"""Between two measurements: what the last one left behind (closing sockets, a collector) shall not count."""
QUIET_CPUS = 0.2
"""Processors that other processes may use: above it a round waits, and one that was disturbed is repeated."""
OTHERS = "others_cpus"
"""The figure added to every case: processors that processes other than server and loader used meanwhile."""
TURN = "longest_turn_ms"
"""The figure added to every case where the server tells the longest pass of its loop."""


@dataclass
class Outcome:
    """All figures of one case: per peer name one entry per round, None where the round was spoiled."""

    case: Case
    rounds: dict[str, list[Figures | None]]
    problems: list[str] = field(default_factory=list)
    lost: bool = False
    """Whether a message was lost: the server is wrong."""
    seconds: float = 0.0
    patience_s: float = 0.0
    """What is left of it."""

    def values(self, peer: str, figure: str) -> list[float]:
        return [figures[figure] for figures in self.rounds[peer] if figures is not None and figure in figures]

    def median(self, peer: str, figure: str) -> float | None:
        values = self.values(peer, figure)
        return statistics.median(values) if values else None

    def ratios(self, peer: str, baseline: str, row: Row) -> list[float]:
        """The peer's figure over the baseline's, round by round, so that drift of the machine cancels out."""
        pairs = zip(self.rounds[peer], self.rounds[baseline], strict=True)
        ratios = []
        for ours, theirs in pairs:
            if ours and theirs and row.figure in ours and theirs.get(row.figure):
                ratios.append(ours[row.figure] / theirs[row.figure])
        return ratios


def run_case(case: Case, peers: Sequence[Peer], settings: Settings, say: Callable[[str], None]) -> Outcome:
    """All rounds of one case, the peers in turn."""
    outcome = Outcome(case, {peer.name: [] for peer in peers}, patience_s=settings.patience_s)
    started = time.monotonic()
    rounds = min(settings.rounds, case.rounds_max)
    with certificate() if case.tls else contextlib.nullcontext() as tls:
        if case.fresh:
            for number in range(rounds):
                for peer in peers:
                    with _started([peer], tls, outcome) as servers:
                        for server in servers:
                            _measure(case, server, settings, outcome)
                say(_round_text(outcome, number))
        else:
            with _started(peers, tls, outcome) as servers:
                for number in range(rounds):
                    for server in servers:
                        _measure(case, server, settings, outcome)
                    say(_round_text(outcome, number))
    for rounds_of_peer in outcome.rounds.values():
        rounds_of_peer.extend([None] * (rounds - len(rounds_of_peer)))
    outcome.seconds = time.monotonic() - started
    return outcome


@contextlib.contextmanager
def _started(peers: Iterable[Peer], tls: Certificate | None, outcome: Outcome) -> Iterator[list[Server]]:
    """Those of the peers that can be started, one context each; a problem is noted, not raised."""
    with contextlib.ExitStack() as stack:
        servers = []
        for peer in peers:
            try:
                servers += stack.enter_context(running([peer], tls))
            except BenchError as error:
                outcome.problems.append(f"{peer.name}: {error}")
        yield servers


def _measure(case: Case, server: Server, settings: Settings, outcome: Outcome) -> None:
    figures: Figures | None = None
    for _ in range(ATTEMPTS_MAX):
        _wait_for_quiet(server, outcome)
        server.longest_turn_s()
        others = Others(server)
        try:
            figures = case.measure(server, settings)
        except Unsupported as error:
            outcome.problems.append(f"{server.name}: {error}")
            break
        except Lost as error:
            outcome.lost = True
            outcome.problems.append(f"{server.name}: MESSAGES LOST: {error}; log: {server.log_tail()}")
            break
        except Invalid as error:
            outcome.problems.append(f"{server.name}: invalid round: {error}; log: {server.log_tail()}")
            continue
        figures[OTHERS] = others.cpus()
        if (turn_s := server.longest_turn_s()) is not None:
            figures[TURN] = turn_s * 1000
        if figures[OTHERS] < QUIET_CPUS or case.fresh or outcome.patience_s <= 0:
            break
    outcome.rounds[server.name].append(figures)


def _wait_for_quiet(server: Server, outcome: Outcome) -> None:
    started = time.monotonic()
    while True:
        others = Others(server)
        time.sleep(PAUSE_S)
        if others.cpus() < QUIET_CPUS:
            return
        outcome.patience_s -= time.monotonic() - started
        if outcome.patience_s <= 0:
            return
        started = time.monotonic()


class Others:
    """How busy everybody else keeps the machine from now on: on two cores it decides what a figure is worth."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._started_s = time.monotonic()
        self._foreign_s = self._read()

    def _read(self) -> float:
        """Busy CPU seconds of the whole machine, without this process, its ended children and the server."""
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        return busy - own.user - own.system - own.children_user - own.children_system - self._server.cpu_s()

    def cpus(self) -> float:
        """Processors in use by others since the start, on average."""
        return max(0.0, self._read() - self._foreign_s) / (time.monotonic() - self._started_s)


def _round_text(outcome: Outcome, number: int) -> str:
    """One line of progress: the first figure of each peer in this round."""
    row = outcome.case.rows[0]
    parts = []
    for peer, rounds in outcome.rounds.items():
        figures = rounds[number] if number < len(rounds) else None
        parts.append(f"{peer} {figures[row.figure]:,.4g} {row.unit}" if figures else f"{peer} no figure")
    return f"{outcome.case.name}, round {number + 1}: " + ", ".join(parts)
