"""Results as a table for people (rich) and as JSON for machines. Knows outcomes, measures nothing."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.case import Goal, Row, Settings, Unit
from bench.run import OTHERS, TURN, Outcome

TURN_GOAL = Goal("value", 20.0, at_most=True)
TURN_ROW = Row(TURN, "longest turn of the loop, CPU", "ms", TURN_GOAL)
OTHERS_MAX = 0.15
"""Processors: above it other processes had a hand in the figures."""
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def show_value(value: float | None, unit: Unit) -> str:
    """A figure with its unit, three digits that count."""
    if value is None:
        return "-"
    if unit == "/s":
        for size, prefix in _PREFIXES:
            if value >= size:
                return f"{value / size:.3g} {prefix}/s"
        return f"{value:.3g} /s"
    if unit == "B":
        return f"{value / 1024:.1f} KiB" if value >= 10_000 else f"{value:,.0f} B"
    return (f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}").rstrip()


def show_goal(row: Row) -> str:
    """How its goal reads in the table."""
    if row.goal is None:
        return ""
    sign = "<=" if row.goal.at_most else ">="
    return f"{sign} {row.goal.bound:g}x" if row.goal.of == "ratio" else f"{sign} {row.goal.bound:g} {row.unit}".rstrip()


def rows_of(outcome: Outcome, candidate: str) -> list[Row]:
    """The case's rows, and the longest turn where it is known."""
    turn = [TURN_ROW] if outcome.values(candidate, TURN) else []
    return [*outcome.case.rows, *turn]


def _figure(outcome: Outcome, peer: str, row: Row) -> float | None:
    values = outcome.values(peer, row.figure)
    if row.figure == TURN:
        return max(values, default=None)  # the longest is a promise, not an average
    return statistics.median(values) if values else None


def _others(outcome: Outcome, peers: Sequence[str]) -> float:
    return max((cpus for peer in peers for cpus in outcome.values(peer, OTHERS)), default=0.0)


def as_data(outcomes: Sequence[Outcome], baseline: str, candidate: str, settings: Settings) -> dict[str, Any]:
    """Everything measured, for JSON."""
    cases = []
    for outcome in outcomes:
        rows = []
        for row in rows_of(outcome, candidate):
            ratios = outcome.ratios(candidate, baseline, row)
            ratio = statistics.median(ratios) if ratios else None
            value = _figure(outcome, candidate, row)
            rows.append(
                {
                    "figure": row.figure,
                    "label": row.label,
                    "unit": row.unit,
                    baseline: _figure(outcome, baseline, row),
                    candidate: value,
                    "ratio": ratio,
                    "ratios": ratios,
                    "goal": show_goal(row) or None,
                    "reached": row.goal.is_reached(value, ratio) if row.goal else None,
                }
            )
        cases.append(
            {
                "case": outcome.case.name,
                "rows": rows,
                "rounds": outcome.rounds,
                "problems": outcome.problems,
                "lost": outcome.lost,
                "others_cpus": _others(outcome, (baseline, candidate)),
                "seconds": round(outcome.seconds, 1),
            }
        )
    machine = {"system": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}
    run = {"rounds": settings.rounds, "seconds": settings.seconds, "scale": settings.scale}
    turns = [turn for outcome in outcomes for turn in outcome.values(candidate, TURN)]
    return {
        "baseline": baseline,
        "candidate": candidate,
        "machine": machine,
        "settings": run,
        "longest_turn_ms": max(turns, default=None),
        "cases": cases,
    }


def print_table(data: dict[str, Any], console: Console) -> None:
    """The table: medians, ratio of the rounds' pairs with its range, goal, and whether it is reached."""
    baseline, candidate = data["baseline"], data["candidate"]
    table = Table(title=f"{candidate} beside {baseline}", title_justify="left")
    for heading in ("case", "figure"):
        table.add_column(heading)
    for heading in (baseline, candidate, "ratio", "range", "goal", "reached"):
        table.add_column(heading, justify="right")
    for case in data["cases"]:
        name = case["case"]
        for row in case["rows"]:
            table.add_row(name, row["label"], *_cells(row, baseline, candidate))
            name = ""
        table.add_section()
    if data["longest_turn_ms"] is not None:
        longest = data["longest_turn_ms"]
        reached = TURN_GOAL.is_reached(longest, None)
        goal = show_goal(TURN_ROW)
        table.add_row("all of them", TURN_ROW.label, "", show_value(longest, "ms"), "", "", goal, _mark(reached))
    console.print(table)
    disturbed = [
        f"{case['case']} ({case['others_cpus']:.1f})" for case in data["cases"] if case["others_cpus"] > OTHERS_MAX
    ]
    if disturbed:
        console.print(
            f"Other processes used processors meanwhile: {', '.join(disturbed)}.", style="yellow", highlight=False
        )
    for case in data["cases"]:
        for problem in case["problems"]:
            console.print(f"{case['case']}: {problem}", style="red" if case["lost"] else "yellow", markup=False)


def _cells(row: dict[str, Any], baseline: str, candidate: str) -> tuple[str, ...]:
    ratio, ratios = row["ratio"], row["ratios"]
    return (
        show_value(row[baseline], row["unit"]),
        show_value(row[candidate], row["unit"]),
        f"{ratio:.2f}x" if ratio is not None else "",
        f"{min(ratios):.2f}-{max(ratios):.2f}" if len(ratios) > 1 else "",
        row["goal"] or "",
        _mark(row["reached"]) if row["goal"] else "",
    )


def _mark(reached: bool | None) -> str:
    return {True: "[green]yes[/]", False: "[red]no[/]", None: "?"}[reached]
