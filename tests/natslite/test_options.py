"""Options of an embedding program: what cannot be is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from natslite import Options, User
from natslite.options import BOUNDS


def test_the_defaults_can_be() -> None:
    Options()


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for wrong in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"{name} must be between"):
            Options(**{name: wrong})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"token": "x", "users": (User(name="a", password="b"),)}, "exclude each other"),
        ({"users": (User(name="a", password="b"), User(name="a", password="c"))}, "one name"),
        ({"payload_bytes_max": 2000, "pending_bytes_max": 1000}, "cannot be higher than"),
        ({"lame_duck_grace_s": 2.0, "lame_duck_duration_s": 1.0}, "must not be longer than"),
    ],
)
def test_contradictions(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Options(**fields)
