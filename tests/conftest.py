"""Servers that many tests share. Each is started when first asked for and ends with the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.peers import Address, nats_server, natslite_thread

# One schedule of examples for a quick run, a long one on demand: HYPOTHESIS_PROFILE=long. A slow machine is no fault.
_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=60, **_quiet)
settings.register_profile("long", max_examples=5000, **_quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def servers() -> Iterator[contextlib.ExitStack]:
    """Where the shared servers end."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def theirs(servers: contextlib.ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Address]:
    """A nats-server with these flags, and this configuration file's text; one for all who ask for the same."""
    running: dict[Any, Address] = {}

    def get(*flags: str, config: str | None = None) -> Address:
        if (flags, config) not in running:
            path: Path | None = None
            if config is not None:
                path = tmp_path_factory.mktemp("theirs") / "nats.conf"
                path.write_text(config)
            running[flags, config] = servers.enter_context(nats_server(*flags, config=path)).address
        return running[flags, config]

    return get


@pytest.fixture(scope="session")
def ours(servers: contextlib.ExitStack) -> Callable[..., Address]:
    """A natslite in a thread of the tests, with these Options; one for all who ask for the same."""
    running: dict[Any, Address] = {}

    def get(**options: Any) -> Address:
        key = tuple(sorted(options.items()))
        if key not in running:
            server = servers.enter_context(natslite_thread(**options))
            running[key] = ("127.0.0.1", server.port)
        return running[key]

    return get
