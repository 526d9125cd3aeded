"""One to one at full speed through TLS. The loader encrypts and decrypts too, with Python's ssl, for both servers."""

from __future__ import annotations

import dataclasses

from bench.case import Case
from bench.throughput import flow_case

CASES: tuple[Case, ...] = (dataclasses.replace(flow_case("TLS 1-1 128B", 1, 128, rate=1.0), tls=True),)
