"""A self-signed certificate for the length of one case (the `openssl` command), as files and a client context."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.servers import Certificate

_COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem"
)


@contextlib.contextmanager
def certificate() -> Iterator[Certificate]:
    """A server certificate for localhost, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as directory:
        subprocess.run(_COMMAND.split(), cwd=directory, check=True, capture_output=True)
        cert_file, key_file = Path(directory, "cert.pem"), Path(directory, "key.pem")
        yield Certificate(cert_file, key_file, ssl.create_default_context(cafile=str(cert_file)))
