"""Telemetry's two loader processes: the devices that publish and the clients that listen. Used by `bench.telemetry`.

Every reading carries the moment it was sent, so latencies are those of one machine's monotonic clock, from before the
publisher's send to after the listener's receive.
"""

from __future__ import annotations

import array
import random
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import Invalid
from bench.swarm import Swarm
from bench.wire import PING, PONG, Target, barrier, connect, sub
from bench.workers import Link

METRICS = (b"temperature", b"humidity", b"pressure", b"battery", b"vibration", b"power", b"flow", b"level")
STAMP = b'"at":'
STAMP_DIGITS = 19
HOUSEKEEPING_S = 1.0
"""How often the devices look for a PING of the server."""
SILENCE_S = 5.0
SENT, DELIVERED = 0, 1
"""Places in the shared progress counters."""


@dataclass(frozen=True)
class Plan:
    """What the devices do: each publishes one reading of each metric, every interval, so many times."""

    devices: int
    sites: int
    metrics: int
    interval_s: float
    repeats: int
    payload_bytes: int

    @property
    def messages(self) -> int:
        return self.devices * self.metrics * self.repeats

    def site(self, device: int) -> bytes:
        return b"site%02d" % (device % self.sites)

    def subjects(self, device: int) -> list[bytes]:
        """The subjects of one device, a metric each."""
        prefix = b"telemetry.%b.device%05d." % (self.site(device), device)
        return [prefix + metric for metric in METRICS[: self.metrics]]

    def template(self, device: int) -> bytes:
        """All readings of a device as one byte string with a `%d` for each moment of sending."""
        stamp = b'{%b%%0%dd,"value":21.5,"note":"' % (STAMP, STAMP_DIGITS)
        fixed_bytes = len(stamp % 0) + len(b'"}')
        payload = stamp + b"." * max(0, self.payload_bytes - fixed_bytes) + b'"}'
        size = max(self.payload_bytes, fixed_bytes)
        return b"".join(b"PUB %b %d\r\n%b\r\n" % (subject, size, payload) for subject in self.subjects(device))


@dataclass(frozen=True)
class Sent:
    """What the devices did."""

    messages: int
    seconds: float
    opening_s: float


def devices(link: Link, target: Target, plan: Plan, progress: memoryview) -> None:
    """Worker: one connection per device. Answers "ready" once all are connected, and `Sent` once all is handled."""
    swarm = Swarm(target, plan.devices, lambda number: b"")
    opened = swarm.open()
    if opened.refused:
        raise Invalid(f"{opened.refused} of {plan.devices} devices were refused")
    sockets = list(swarm.sockets.values())
    by_fd = {sock.fileno(): sock for sock in sockets}
    poll = select.epoll()
    for sock in sockets:
        sock.setblocking(True)
        poll.register(sock.fileno(), select.EPOLLIN)
    templates = [plan.template(device) for device in range(plan.devices)]
    order = list(range(plan.devices))
    random.Random(1).shuffle(order)  # neighbours in time are not neighbours in name
    link.send("ready")
    link.receive()
    now, stamp, sleep = time.monotonic, time.monotonic_ns, time.sleep
    started = housekept = now()
    gap_s = plan.interval_s / plan.devices
    sent = 0
    for repeat in range(plan.repeats):
        for place, device in enumerate(order):
            wait = started + repeat * plan.interval_s + place * gap_s - now()
            if wait > 0:
                sleep(wait)
            sockets[device].sendall(templates[device] % ((stamp(),) * plan.metrics))
            sent += plan.metrics
            progress[SENT] = sent
            if now() - housekept > HOUSEKEEPING_S:
                housekept = now()
                _answer_pings(poll, by_fd)
    for sock in sockets:
        barrier(sock)
    link.send(Sent(sent, now() - started, opened.seconds))
    link.receive()  # stay connected until the driver is done


def _answer_pings(poll: select.epoll, by_fd: dict[int, socket.socket]) -> None:
    for fd, _ in poll.poll(0):
        part = by_fd[fd].recv(4096)
        if not part:
            raise Invalid("a device was cut by the server")
        if PING in part:
            by_fd[fd].sendall(PONG)


@dataclass(frozen=True)
class Listener:
    """One listening connection: a dashboard, or (with a queue) a worker."""

    pattern: bytes
    queue: bytes = b""


@dataclass(frozen=True)
class Heard:
    """What one listening connection got."""

    messages: int
    latencies_ns: array.array[int]


def listeners(link: Link, target: Target, plan: Sequence[Listener], progress: memoryview) -> None:
    """Worker: all dashboards and workers. Told what is owed, it answers with a list of `Heard` once nothing lacks.

    Owed is a list of (numbers of listeners, messages that these must have received together). When nothing comes for
    `SILENCE_S` it answers too: the driver sees what is missing.
    """
    sockets = [connect(target, first=sub(listener.pattern, 1, listener.queue)) for listener in plan]
    numbers = {sock.fileno(): number for number, sock in enumerate(sockets)}
    poll = select.epoll()
    for fd in (*numbers, link.fileno()):
        poll.register(fd, select.EPOLLIN)
    counts = [0] * len(plan)
    latencies = [array.array("q") for _ in plan]
    tails = [b""] * len(plan)
    owed: list[tuple[list[int], int]] | None = None
    link.send("ready")
    heard = time.monotonic()
    while True:
        for fd, _ in poll.poll(0.5):
            if fd == link.fileno():
                owed = link.receive()
                heard = time.monotonic()
                continue
            number = numbers[fd]
            part = sockets[number].recv(262144)
            arrived = time.monotonic_ns()
            if not part:
                raise Invalid(f"the listener to {plan[number].pattern.decode()} was cut by the server")
            if PING in part:
                sockets[number].sendall(PONG)
            found, tails[number] = stamps(tails[number] + part)
            latencies[number].extend([arrived - moment for moment in found])
            counts[number] += len(found)
            progress[DELIVERED] += len(found)
            heard = time.monotonic()
        if owed is not None:
            complete = all(sum(counts[number] for number in together) >= total for together, total in owed)
            if complete or time.monotonic() - heard > SILENCE_S:
                link.send([Heard(*pair) for pair in zip(counts, latencies, strict=True)])
                return


def stamps(data: bytes) -> tuple[list[int], bytes]:
    """The moments of sending in a stretch of bytes, and the rest to put before the next stretch."""
    parts = data.split(STAMP)
    last = parts[-1]
    if len(parts) > 1 and len(last) < STAMP_DIGITS:
        parts.pop()
        rest = STAMP + last
    elif len(parts) > 1:
        rest = last[STAMP_DIGITS:]
    else:
        rest = last
    return [int(part[:STAMP_DIGITS]) for part in parts[1:]], rest
