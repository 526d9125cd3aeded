"""A share of the long proofs, with a seed that differs each run and is printed when something fails."""

from __future__ import annotations

import os

import pytest

from tests.proof import loads
from tests.proof.__main__ import PROOFS

SEED = int.from_bytes(os.urandom(4), "little")


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_memory_stays_flat(name: str) -> None:
    """The whole: `python -m tests.proof`."""
    proof = PROOFS[name]
    print(f"seed {SEED}: python -m tests.proof {name} --seed {SEED} --count {proof.share}")
    with loads.watched() as (daemon, flatness):
        proof.load(daemon, flatness, SEED, proof.share, print)


def test_growth_is_seen() -> None:
    flat = [100 << 20] * loads.PARTS
    loads.Flatness(flat).check()
    with pytest.raises(AssertionError, match="memory grows"):
        loads.Flatness([*flat[:-1], (102 << 20)]).check()
