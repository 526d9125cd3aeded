"""The server's side of TLS, from Options to a context of the standard library. Rules P-70 to P-74."""

from __future__ import annotations

import ssl

from natslite.options import Tls


class TlsError(ValueError):
    """Certificates that cannot be used; the text names the file."""


def server_context(options: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `verify` every client needs a certificate signed by `ca_file`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (options.cert_file, options.key_file, options.ca_file):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise TlsError(f"error reading {path}: {error.strerror}") from None
    try:
        context.load_cert_chain(options.cert_file, options.key_file)
    except ssl.SSLError as error:
        raise TlsError(
            f"error parsing X509 certificate/key pair {options.cert_file}, {options.key_file}: {error.reason or error}"
        ) from None
    if options.ca_file is not None:
        try:
            context.load_verify_locations(options.ca_file)
        except ssl.SSLError as error:
            raise TlsError(f"failed to parse root ca certificate {options.ca_file}: {error.reason or error}") from None
    if options.verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
