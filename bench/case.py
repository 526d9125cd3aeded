"""What a benchmark is: a `Case` measures one server once and gives named figures; its `Row`s say which are reported.

Each domain module (throughput, latency, ...) makes cases; `bench.run` alternates them between servers; `bench.report`
shows them. A case knows nothing of other servers, rounds or tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.servers import Server

Unit = Literal["/s", "ns", "us", "ms", "s", "B", "x", ""]
Figures = dict[str, float]
"""Named results of one measurement, in the units of the rows that show them."""


@dataclass(frozen=True)
class Settings:
    """How long and how large. `scale` below 1 shrinks the numbers of clients and subscriptions, for a smoke test."""

    seconds: float = 1.5
    rounds: int = 3
    scale: float = 1.0
    patience_s: float = 15.0
    """How long a case waits in all for other processes to become quiet."""

    def scaled(self, number: int) -> int:
        return max(2, int(number * self.scale))

    @property
    def warm_up_s(self) -> float:
        return min(0.25, self.seconds / 4)


@dataclass(frozen=True)
class Goal:
    """A bound to reach, of the ratio to the baseline or of the measured value itself."""

    of: Literal["ratio", "value"]
    bound: float
    at_most: bool = False

    def is_reached(self, value: float | None, ratio: float | None) -> bool | None:
        """None where the figure to compare is missing."""
        figure = ratio if self.of == "ratio" else value
        if figure is None:
            return None
        return figure <= self.bound if self.at_most else figure >= self.bound


def at_least(ratio: float) -> Goal:
    return Goal("ratio", ratio)


def at_most(ratio: float) -> Goal:
    return Goal("ratio", ratio, at_most=True)


@dataclass(frozen=True)
class Row:
    """One line of the report: a figure of a case, named, with its unit and perhaps a goal."""

    figure: str
    label: str
    unit: Unit
    goal: Goal | None = None


@dataclass(frozen=True)
class Case:
    """One measurement: `measure(server, settings)` is called once per round and server."""

    name: str
    rows: tuple[Row, ...]
    measure: Callable[[Server, Settings], Figures]
    fresh: bool = False
    """Whether every round needs a newly started server (memory, restarts)."""
    tls: bool = False
    rounds_max: int = 100
    """Fewer rounds than asked for, where one takes long."""
