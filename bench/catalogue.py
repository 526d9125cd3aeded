"""Every case, in the order in which they are run and shown."""

from __future__ import annotations

from bench import churn, connections, fanin, latency, memory, subscriptions, throughput, tls
from bench.case import Case

CASES: tuple[Case, ...] = (
    *throughput.CASES,
    *fanin.CASES,
    *latency.CASES,
    *churn.CASES,
    *connections.CASES,
    *memory.CASES,
    *subscriptions.CASES,
    *tls.CASES,
)
