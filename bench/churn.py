"""One to one at full speed while another client subscribes and unsubscribes elsewhere."""

from __future__ import annotations

from bench.case import Case, Figures, Goal, Row, Settings
from bench.load import Flow, PacedLoad, paced_publisher
from bench.servers import Server
from bench.wire import sub
from bench.workers import Team

PAIRS_PER_S = 20_000
TICKS_PER_S = 1000
BLOCKS = 500
"""Different blocks of pairs, sent in turn: 10,000 subjects."""
PAYLOAD_BYTES = 128


def churn_blocks() -> tuple[bytes, ...]:
    """SUB and UNSUB pairs on ever other subjects; half of them wildcards, as a client's reply inbox is."""
    per_tick = PAIRS_PER_S // TICKS_PER_S
    blocks = []
    for block in range(BLOCKS):
        frames = []
        for place in range(per_tick):
            number = block * per_tick + place + 1
            subject = b"_INBOX.client%d.*" % number if place % 2 else b"churn.device%d.command" % number
            frames.append(sub(subject, number) + b"UNSUB %d\r\n" % number)
        blocks.append(b"".join(frames))
    return tuple(blocks)


def measure(server: Server, settings: Settings) -> Figures:
    """The same flow twice, calm and disturbed."""
    with Team() as team:
        flow = Flow.of_block(team, server.target, subscribers=1, payload_bytes=PAYLOAD_BYTES)
        other = team.start(paced_publisher, server.target)
        other.receive()
        flow.run(settings.warm_up_s)
        calm = flow.run(settings.seconds)
        other.send(PacedLoad(churn_blocks(), TICKS_PER_S, settings.seconds))
        disturbed = flow.run(settings.seconds)
        ticks, took_s = other.receive()
    calm_rate, rate = calm.messages / calm.seconds, disturbed.messages / disturbed.seconds
    return {
        "kept": rate / calm_rate,
        "rate": rate,
        "pairs": ticks / took_s * PAIRS_PER_S / TICKS_PER_S,
    }


CASES = (
    Case(
        "1-1 128B churn",
        (
            Row("kept", "rate beside 20,000 SUB+UNSUB/s, of the calm one", "x", Goal("value", 0.7)),
            Row("rate", "messages a second", "/s"),
            Row("pairs", "SUB+UNSUB pairs a second", "/s"),
        ),
        measure,
    ),
)
