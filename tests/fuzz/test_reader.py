"""The fuzzer for as long as the tests may take. Longer, and under AddressSanitizer: `python -m tests.fuzz`."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.machine import check_crowd, check_cuts, check_sockets

CHANCE = st.randoms(use_true_random=False)


@settings(max_examples=5 * settings.default.max_examples)
@given(CHANCE)
def test_any_speech_cut_anywhere(chance: Random) -> None:
    check_cuts(chance)


@settings(max_examples=2 * settings.default.max_examples)
@given(CHANCE)
def test_any_speech_on_a_socket(chance: Random) -> None:
    check_sockets(chance)


@settings(max_examples=2 * settings.default.max_examples)
@given(CHANCE)
def test_any_crowd(chance: Random) -> None:
    check_crowd(chance)
