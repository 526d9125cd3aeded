"""`python -m tests.proof [NAME ...]`: proofs that take minutes. The tests run a share of each."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.peers import Daemon
from tests.proof import loads


@dataclass(frozen=True)
class Proof:
    """One load, what it shows, and how much of it there is."""

    shows: str
    load: Callable[[Daemon, loads.Flatness, int, int, Callable[[str], None]], None]
    whole: int
    share: int


# ten million messages take a few seconds, and fewer do not fill the caches: here the share is the whole
PROOFS = {
    "messages": Proof("memory stays flat over so many messages", loads.messages, 10_000_000, 10_000_000),
    "connects": Proof("memory stays flat over so many connections", loads.connects, 100_000, 20_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(f"{n}: {p.shows}" for n, p in PROOFS.items())
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--count", type=int, help="instead of the whole")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PROOFS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROOFS)}")
    failed = False
    for name in arguments.names or PROOFS:
        proof = PROOFS[name]
        count = arguments.count or proof.whole
        print(f"{name}: {proof.shows}, {count:,}; seed {arguments.seed}", flush=True)
        started = time.monotonic()
        try:
            with loads.watched() as (daemon, flatness):
                proof.load(daemon, flatness, arguments.seed, count, lambda text: print(f"  {text}", flush=True))
        except AssertionError as error:
            print(f"{name}: FAILED: {error}")
            failed = True
        else:
            print(f"{name}: proved in {time.monotonic() - started:.0f} s, {flatness.growth_bytes:,} bytes of growth")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
