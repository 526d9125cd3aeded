"""`python -m bench.telemetry`: a fleet of devices reports, dashboards watch, workers share the load.

    python -m bench.telemetry                            starts natslite and measures it
    python -m bench.telemetry --start nats-server        the same load on nats-server
    python -m bench.telemetry --server 127.0.0.1:4222    on a server that is already running

Every device is a connection of its own and publishes on `telemetry.<site>.<device>.<metric>`. At the end every
message is accounted for: exit code 1 when one was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.errors import BenchError
from bench.fleet import DELIVERED, METRICS, SENT, Heard, Listener, Plan, Sent, devices, listeners
from bench.probe import percentile
from bench.servers import Server, nats_server, natslite, raise_descriptor_limit, running
from bench.wire import Target
from bench.workers import Team, Worker

REFRESH_S = 0.2
QUEUE = b"workers"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.telemetry", description="Telemetry fan-out through any NATS server."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="HOST:PORT", help="a running server")
    where.add_argument("--start", choices=("natslite", "nats-server"), default="natslite")
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument(
        "--metrics", type=int, default=4, help=f"readings a device sends at once, at most {len(METRICS)}"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="between the reports of a device")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--payload", type=int, default=128, metavar="BYTES")
    parser.add_argument("--dashboards", type=int, default=6)
    parser.add_argument("--workers", type=int, default=4, help="members of one queue group")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    for name in ("devices", "sites", "metrics", "interval", "seconds"):
        if getattr(arguments, name) <= 0:
            parser.error(f"--{name} must be above 0")
    if arguments.metrics > len(METRICS):
        parser.error(f"--metrics: there are {len(METRICS)}")
    if arguments.server is not None and not arguments.server.rpartition(":")[2].isdecimal():
        parser.error("--server is HOST:PORT")
    return arguments


def make_plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        devices=arguments.devices,
        sites=arguments.sites,
        metrics=arguments.metrics,
        interval_s=arguments.interval,
        repeats=max(1, round(arguments.seconds / arguments.interval)),
        payload_bytes=arguments.payload,
    )


def make_listeners(plan: Plan, dashboards: int, workers: int) -> list[Listener]:
    """Dashboards of three kinds in turn (everything, one site, one metric of all), then the workers."""
    views: list[Listener] = []
    for number in range(dashboards):
        metric = METRICS[number // 3 % plan.metrics]
        patterns = (b"telemetry.>", b"telemetry.%b.>" % plan.site(number), b"telemetry.*.*." + metric)
        views.append(Listener(patterns[number % 3]))
    return views + [Listener(b"telemetry.>", QUEUE)] * workers


def matches(pattern: bytes, subject: bytes) -> bool:
    """Whether a subscription to `pattern` gets a message on `subject`."""
    wanted, tokens = pattern.split(b"."), subject.split(b".")
    for place, token in enumerate(wanted):
        if token == b">":
            return len(tokens) > place
        if place >= len(tokens) or token not in (b"*", tokens[place]):
            return False
    return len(wanted) == len(tokens)


def owed_to(plan: Plan, pattern: bytes) -> int:
    """How many of the plan's messages match."""
    subjects = (subject for device in range(plan.devices) for subject in plan.subjects(device))
    return plan.repeats * sum(matches(pattern, subject) for subject in subjects)


@dataclass(frozen=True)
class Line:
    """What one dashboard, or all workers together, got."""

    who: str
    expected: int
    delivered: int
    p50_us: float
    p99_us: float

    @property
    def lost(self) -> int:
        return self.expected - self.delivered


def make_lines(plan: Plan, who: Sequence[Listener], heard: Sequence[Heard]) -> list[Line]:
    groups: list[tuple[str, int, list[Heard]]] = []
    pairs = list(zip(who, heard, strict=True))
    for listener, got in pairs:
        if not listener.queue:
            groups.append((f"dashboard {listener.pattern.decode()}", owed_to(plan, listener.pattern), [got]))
    members = [got for listener, got in pairs if listener.queue]
    if members:
        groups.append((f"{len(members)} workers, together", plan.messages, members))
    lines = []
    for name, expected, parts in groups:
        ordered = sorted(latency for part in parts for latency in part.latencies_ns) or [0]
        delivered = sum(part.messages for part in parts)
        p50_us, p99_us = percentile(ordered, 0.5) / 1000, percentile(ordered, 0.99) / 1000
        lines.append(Line(name, expected, delivered, p50_us, p99_us))
    return lines


@dataclass(frozen=True)
class Result:
    """One whole run."""

    sent: Sent
    lines: list[Line]
    server_cpu_s: float | None
    server_rss_bytes: int | None

    @property
    def delivered(self) -> int:
        return sum(line.delivered for line in self.lines)

    @property
    def lost(self) -> int:
        return sum(line.lost for line in self.lines)


def run(target: Target, server: Server | None, plan: Plan, who: Sequence[Listener], console: Console) -> Result:
    """Connect everybody, let them talk, wait until everything has arrived."""
    progress = memoryview(mmap.mmap(-1, 64)).cast("Q")  # shared with the workers by fork
    owed: list[tuple[list[int], int]] = []
    owed += [([n], owed_to(plan, listener.pattern)) for n, listener in enumerate(who) if not listener.queue]
    members = [n for n, listener in enumerate(who) if listener.queue]
    if members:
        owed.append((members, plan.messages))
    with Team() as team:
        ears = team.start(listeners, target, who, progress)
        ears.receive()
        mouths = team.start(devices, target, plan, progress)
        mouths.receive()
        cpu_s = server.cpu_s() if server else None
        mouths.send("go")
        _show_progress(mouths, plan, progress, console)
        sent: Sent = mouths.receive()
        heard: list[Heard] = ears.ask(owed)
        used_s = server.cpu_s() - cpu_s if server and cpu_s is not None else None
        rss = server.rss_bytes() if server else None
    return Result(sent, make_lines(plan, who, heard), used_s, rss)


def _show_progress(mouths: Worker, plan: Plan, progress: memoryview, console: Console) -> None:
    """The bar, drawn by this process alone and not often: the cores belong to the server."""
    columns = (
        TextColumn("readings"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,} sent, {task.fields[delivered]:,} delivered"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=plan.messages, delivered=0)
        while True:
            bar.update(task, completed=progress[SENT], delivered=progress[DELIVERED])
            bar.refresh()
            if mouths.wait(REFRESH_S):
                break
        bar.update(task, completed=progress[SENT], delivered=progress[DELIVERED])
        bar.refresh()


def print_result(result: Result, plan: Plan, name: str, console: Console) -> None:
    sent = result.sent
    table = Table(title=f"{plan.devices:,} devices on {plan.sites} sites through {name}", title_justify="left")
    table.add_column("listener")
    for heading in ("expected", "delivered", "lost", "p50", "p99"):
        table.add_column(heading, justify="right")
    for line in result.lines:
        lost = f"[red]{line.lost:,}[/]" if line.lost else "0"
        counts = (f"{line.expected:,}", f"{line.delivered:,}", lost)
        table.add_row(line.who, *counts, f"{line.p50_us:,.0f} us", f"{line.p99_us:,.0f} us")
    console.print(table)
    console.print(
        f"sent {sent.messages:,} in {sent.seconds:.1f} s ({sent.messages / sent.seconds:,.0f}/s), delivered "
        f"{result.delivered:,} ({result.delivered / sent.seconds:,.0f}/s), lost {result.lost:,}",
        highlight=False,
    )
    if result.server_cpu_s is not None and result.server_rss_bytes is not None:
        console.print(
            f"server: {result.server_cpu_s / sent.seconds * 100:.0f} % of a core, "
            f"{result.server_cpu_s / sent.messages * 1e6:.1f} us of CPU per reading, "
            f"{result.server_rss_bytes / 2**20:.0f} MiB resident",
            highlight=False,
        )


def as_data(result: Result, plan: Plan, name: str) -> dict[str, Any]:
    return {
        "server": name,
        "devices": plan.devices,
        "sent": result.sent.messages,
        "seconds": result.sent.seconds,
        "delivered": result.delivered,
        "lost": result.lost,
        "server_cpu_s": result.server_cpu_s,
        "server_rss_bytes": result.server_rss_bytes,
        "listeners": [
            {
                "who": line.who,
                "delivered": line.delivered,
                "lost": line.lost,
                "p50_us": line.p50_us,
                "p99_us": line.p99_us,
            }
            for line in result.lines
        ],
    }


@contextlib.contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[tuple[str, Target, Server | None]]:
    if arguments.server is None:
        peer = natslite() if arguments.start == "natslite" else nats_server()
        with running([peer]) as (server,):
            yield peer.name, server.target, server
        return
    host, _, port = arguments.server.rpartition(":")
    family, _, _, _, address = socket.getaddrinfo(host or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0]
    if family != socket.AF_INET:
        raise ValueError(f"{arguments.server}: an IPv4 address is needed")
    yield arguments.server, Target(str(address[0]), int(address[1])), None


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    raise_descriptor_limit()
    console = Console()
    plan = make_plan(arguments)
    who = make_listeners(plan, arguments.dashboards, arguments.workers)
    try:
        with _server(arguments) as (name, target, server):
            started = time.monotonic()
            result = run(target, server, plan, who, console)
    except (BenchError, OSError, ValueError) as error:
        console.print(f"no result: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    print_result(result, plan, name, console)
    console.print(f"{time.monotonic() - started:.1f} s in all", highlight=False, style="dim")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_data(result, plan, name), indent=1) + "\n")
    return 1 if result.lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
