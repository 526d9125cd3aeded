"""Publishers at full speed: one to one, one to many, to nobody, and to subjects never seen before."""

from __future__ import annotations

from collections.abc import Callable

from bench.case import Case, Figures, Row, Settings, at_least, at_most
from bench.load import BLOCK_BYTES, Flow, Source
from bench.servers import Server
from bench.wire import msg_bytes, pub
from bench.workers import Team

NS = 1e9


def measure_flow(server: Server, settings: Settings, make: Callable[[Team], Flow], receivers: int = 1) -> Figures:
    """Warm a flow up, run it, and relate messages and the server's CPU to what was delivered."""
    with Team() as team:
        flow = make(team)
        flow.run(settings.warm_up_s)
        cpu_s = server.cpu_s()
        run = flow.run(settings.seconds)
        cpu_s = server.cpu_s() - cpu_s
    handled = run.messages * receivers
    return {
        "rate": handled / run.seconds,
        "cpu_ns": cpu_s / handled * NS,
        "loader_ns": run.loader_cpu_s / handled * NS,
    }


def flow_case(name: str, subscribers: int, payload_bytes: int, rate: float, cpu: float | None = None) -> Case:
    """1 to `subscribers`, all messages alike; `rate` and `cpu` are goals as ratios to the baseline."""

    def measure(server: Server, settings: Settings) -> Figures:
        def make(team: Team) -> Flow:
            return Flow.of_block(team, server.target, subscribers=subscribers, payload_bytes=payload_bytes)

        return measure_flow(server, settings, make, receivers=max(1, subscribers))

    what = "deliveries" if subscribers > 1 else "messages"
    rows = (
        Row("rate", f"{what} a second", "/s", at_least(rate)),
        Row(
            "cpu_ns", f"server CPU per {what.removesuffix('s').replace('ie', 'y')}", "ns", at_most(cpu) if cpu else None
        ),
    )
    return Case(name, rows, measure)


class ColdSubjects:
    """Blocks in which every second message goes to a subject never sent before, the others to five known ones.

    All frames have one length, so a new number is written into the block by a few strided copies: the digits of the
    block's number are the same in each cold subject, and the place in the block makes them differ.
    """

    DIGITS = 7

    def __init__(self, payload_bytes: int = 128) -> None:
        payload = b"x" * payload_bytes
        hot = [self._frame(b"hot", number, payload) for number in range(5)]
        self._frame_bytes = len(hot[0])
        self.messages = BLOCK_BYTES // self._frame_bytes // 10 * 10
        frames = []
        for place in range(self.messages):
            frames.append(self._frame(b"new", place, payload) if place % 2 else hot[place // 2 % 5])
        self.data: bytes | bytearray = bytearray(b"".join(frames))
        self._cold = self.messages // 2
        self._first_digit = self._frame_bytes + len(b"PUB t.new0000.")
        self._number = 0

    @classmethod
    def _frame(cls, kind: bytes, place: int, payload: bytes) -> bytes:
        return pub(b"t.%b%04d.%b.v" % (kind, place, b"0" * cls.DIGITS), payload)

    @property
    def received_frame_bytes(self) -> int:
        return msg_bytes(b"t.new0000.%b.v" % (b"0" * self.DIGITS), 1, 128)

    def advance(self) -> None:
        assert isinstance(self.data, bytearray)
        old, self._number = b"%07d" % self._number, self._number + 1
        for place, (before, after) in enumerate(zip(old, b"%07d" % self._number, strict=True)):
            if before != after:
                start = self._first_digit + place
                self.data[start :: 2 * self._frame_bytes] = bytes((after,)) * self._cold


def measure_cold_subjects(server: Server, settings: Settings) -> Figures:
    """1 to 1 over a wildcard, 5 in 10 subjects new."""

    def make(team: Team) -> Flow:
        source = ColdSubjects()
        check: Source = source
        return Flow(team, server.target, check, subscribers=1, pattern=b"t.>", frame_bytes=source.received_frame_bytes)

    return measure_flow(server, settings, make)


CASES = (
    flow_case("1-1 16B", 1, 16, rate=4.0),
    flow_case("1-1 128B", 1, 128, rate=3.0),
    flow_case("1-10 128B", 10, 128, rate=3.0),
    flow_case("1-100 128B", 100, 128, rate=2.0, cpu=0.33),
    flow_case("1-1 1KiB", 1, 1024, rate=1.25),
    flow_case("1-1 64KiB", 1, 64 * 1024, rate=1.25),
    flow_case("publish-only 16B", 0, 16, rate=2.0),
    Case(
        "1-1 128B cold-subjects",
        (
            Row("rate", "messages a second, 5 in 10 subjects new", "/s", at_least(2.0)),
            Row("cpu_ns", "server CPU per message", "ns"),
        ),
        measure_cold_subjects,
    ),
)
