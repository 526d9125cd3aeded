"""Ids and tokens: their form, and that they are new (P-4)."""

from __future__ import annotations

import base64
import re
from binascii import crc_hqx

import pytest

from natslite import ids


@pytest.mark.parametrize(("make", "letter", "prefix"), [(ids.server_id, "N", 13 << 3), (ids.xkey, "X", 23 << 3)])
def test_keys_have_the_form_of_nats_keys(make, letter, prefix):
    made = {make() for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert re.fullmatch(letter + "[A-Z2-7]{55}", key)
        raw = base64.b32decode(key)
        assert raw[0] == prefix
        assert int.from_bytes(raw[-2:], "little") == crc_hqx(raw[:-2], 0)


def test_tokens_fit_into_a_subject_and_are_new():
    made = {ids.token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", token) for token in made)
