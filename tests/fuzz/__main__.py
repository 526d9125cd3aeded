"""`python -m tests.fuzz`: the fuzzer for as long as one likes, on an engine built with AddressSanitizer.

It builds that engine into a directory of its own, starts itself anew with the sanitizer's library loaded, and prints
the seed of each stretch: `--seed N --rounds M` repeats one. Memory that the engine holds is compared from stretch to
stretch; Python allocates with malloc, so that the sanitizer sees each object's end and nothing hides in an arena.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).parent.parent.parent
CHECKS = ("check_cuts", "check_sockets", "check_crowd")
STRETCH_ROUNDS = 500
"""Of all checks; between two of them memory is looked at."""
WARM_UP = 3
GROWTH_BYTES_MAX = 512
"""A stretch, after the warm-up: what this program notes itself. A byte lost in each round would be as much."""


class Memory(ctypes.Structure):
    """What mallinfo2 tells."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keep")
    ]  # fmt: skip


def in_use_bytes() -> int:
    """What has been allocated and not freed; the sanitizer has an allocator of its own, which tells by another name."""
    library = ctypes.CDLL(None)
    try:
        tell = library.__sanitizer_get_current_allocated_bytes
    except AttributeError:
        library.mallinfo2.restype = Memory
        found = library.mallinfo2()
        return int(found.uordblks + found.hblkhd)
    tell.restype = ctypes.c_size_t
    return int(tell())


def run(seed: int, seconds: float, rounds: int | None) -> int:
    """All checks, again and again; the exit code."""
    from natslite.engine import connection
    from tests.fuzz import machine

    engine = Path(connection.__file__)
    sanitized = b"__asan_report" in engine.read_bytes()
    print(f"engine: {engine}{' with AddressSanitizer' if sanitized else ''}")
    end = time.monotonic() + seconds
    done = 0
    held: list[int] = []
    stretch = rounds or STRETCH_ROUNDS
    while time.monotonic() < end:
        for number in range(seed, seed + stretch):
            for check in CHECKS:
                try:
                    getattr(machine, check)(Random(f"{check} {number}"))
                except BaseException:
                    print(f"{check} failed: repeat it with --seed {number} --rounds 1", flush=True)
                    raise
        done += stretch
        if rounds is not None:
            break
        gc.collect()
        held.append(in_use_bytes())
        print(f"seeds {seed} to {seed + stretch - 1}: {done:,} rounds, {held[-1]:,} bytes in use", flush=True)
        seed += stretch
    if len(held) > WARM_UP and held[-1] - held[WARM_UP] > GROWTH_BYTES_MAX * (len(held) - WARM_UP):
        print(f"memory grows: {held}")
        return 1
    print(f"{done:,} rounds of {', '.join(CHECKS)}: no fault")
    return 0


def run_sanitized(arguments: list[str]) -> int:
    """The same on an engine that stops at the first byte it must not touch."""
    compiler = os.environ.get("CC", "gcc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        print(f"{compiler} has no AddressSanitizer library (libasan.so); --plain does without", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        print("building the engine with AddressSanitizer ...", flush=True)
        build = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*build, "--target", directory, str(ROOT)], env={**os.environ, "NATSLITE_BUILD": "asan"}, check=True
        )
        environment = {
            **os.environ,
            "LD_PRELOAD": library,
            "PYTHONMALLOC": "malloc",
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": os.pathsep.join([directory, str(ROOT)]),
            # the interpreter itself gives back little at its end: leaks are found by comparing stretches
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        }
        return subprocess.run([sys.executable, "-m", "tests.fuzz", "--plain", *arguments], env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, help="where to begin; by default chosen anew")
    parser.add_argument("--rounds", type=int, help="so many seeds and no more")
    parser.add_argument("--plain", action="store_true", help="on the engine that is installed, without the sanitizer")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "little")
    if arguments.plain:
        return run(seed, arguments.seconds, arguments.rounds)
    words = ["--seconds", str(arguments.seconds), "--seed", str(seed)]
    if arguments.rounds is not None:
        words += ["--rounds", str(arguments.rounds)]
    return run_sanitized(words)


if __name__ == "__main__":
    sys.exit(main())
