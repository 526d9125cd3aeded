"""The server's side of TLS, from Options to a context of the standard library. Rules P-70 to P-74.

Made once by the server before it listens. It knows no socket; what goes over one is `natslite.transport`'s.
"""

from __future__ import annotations

import ssl

from natslite.options import Tls

TICKETS = 1
"""Sent after each handshake, as by Go's TLS: clients that keep it come back at a fraction of the cost."""


class TlsError(ValueError):
    """Certificates that cannot be used; the text names the file."""


def server_context(options: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `verify` every client needs a certificate signed by `ca_file`, or by an authority that the
    system trusts if there is no such file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # work for the server whenever the client likes
    context.num_tickets = TICKETS
    _look_at(options.cert_file, "CERTIFICATE-----", "certificate")
    _look_at(options.key_file, "PRIVATE KEY-----", "private key")
    try:
        context.load_cert_chain(options.cert_file, options.key_file, password=lambda: _no_password(options.key_file))
    except (ssl.SSLError, OSError) as error:
        files = f"{options.cert_file}, {options.key_file}"
        raise TlsError(f"error parsing X509 certificate/key pair {files}: {_reason(error)}") from None
    if options.ca_file is not None:
        _look_at(options.ca_file, "CERTIFICATE-----", "certificate")
        try:
            context.load_verify_locations(options.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise TlsError(f"failed to parse root ca certificate {options.ca_file}: {_reason(error)}") from None
    elif options.verify:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    if options.verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _look_at(path: str, mark: str, what: str) -> None:
    """The library does not say which file it could not read, nor that one holds something else."""
    try:
        with open(path, "rb") as file:
            found = mark.encode() in file.read()
    except OSError as error:
        raise TlsError(f"error reading {path}: {error.strerror}") from None
    if not found:
        raise TlsError(f"there is no {what} in {path}: a PEM file with -----BEGIN {mark} is needed")


def _no_password(path: str) -> str:
    # without this, the library asks whoever sits at the terminal, and waits
    raise TlsError(f"the private key in {path} is encrypted: write it without a password, 'openssl pkey -in {path}'")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return "the private key belongs to another certificate" if reason == "KEY_VALUES_MISMATCH" else str(reason)
