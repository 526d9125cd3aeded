"""Certificates from files to a context, without a socket: handshakes in memory (P-70 to P-74)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from natslite.options import Tls
from natslite.tls import TlsError, server_context

CA = trustme.CA()
STRANGER = trustme.CA()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, its key, the authority's, and what is none of these."""
    at = tmp_path_factory.mktemp("tls")
    own, other = CA.issue_cert("localhost"), CA.issue_cert("localhost")
    for blob in own.cert_chain_pems:
        blob.write_to_path(str(at / "cert.pem"), append=True)
    own.private_key_pem.write_to_path(str(at / "key.pem"))
    other.private_key_pem.write_to_path(str(at / "other.pem"))
    CA.cert_pem.write_to_path(str(at / "ca.pem"))
    (at / "empty.pem").write_text("")
    (at / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (at / "encrypted.pem").write_text(encrypted(own.private_key_pem.bytes()))
    (at / "directory").mkdir()
    return at


def encrypted(key: bytes) -> str:
    """The key with a password on it."""
    return (
        serialization.load_pem_private_key(key, None)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
        .decode()
    )


def of(
    files: Path, *, cert: str = "cert.pem", key: str = "key.pem", ca: str | None = None, verify: bool = False
) -> Tls:
    authority = None if ca is None else str(files / ca)
    return Tls(cert_file=str(files / cert), key_file=str(files / key), ca_file=authority, verify=verify)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory; the client's end. ssl.SSLError: one of them refused."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
                end.read(1)  # a client of TLS 1.3 hears only now that it was refused
            except ssl.SSLWantReadError:
                pass
    return ends[0]


def client_context(*authorities: trustme.CA, identity: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for authority in authorities:
        authority.configure_trust(context)
    if identity is not None:
        identity.issue_cert("device-1").configure_cert(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake(files, version):
    context = client_context(CA)
    context.maximum_version = version
    end = shake_hands(server_context(of(files)), context)
    assert end.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]


def test_nothing_older_than_1_2(files):
    """P-74."""
    context = client_context(CA)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(of(files)), context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_may_come_with_verify(files, version):
    """P-73."""
    context = server_context(of(files, ca="ca.pem", verify=True))
    context.maximum_version = version
    assert shake_hands(context, client_context(CA, identity=CA)).getpeercert()
    for identity in None, STRANGER:
        with pytest.raises(ssl.SSLError):
            shake_hands(context, client_context(CA, identity=identity))


def test_verify_without_an_authority_takes_those_of_the_system(files, monkeypatch):
    """As nats-server does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "ca.pem"))
    context = server_context(of(files, verify=True))
    shake_hands(context, client_context(CA, identity=CA))
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client_context(CA))


def test_an_authority_without_verify_asks_nobody(files):
    shake_hands(server_context(of(files, ca="ca.pem")), client_context(CA))


def test_a_client_cannot_make_the_server_work_again(files):
    assert server_context(of(files)).options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cert": "none.pem"}, "error reading {}/none.pem: No such file or directory"),
        ({"key": "none.pem"}, "error reading {}/none.pem: No such file or directory"),
        ({"cert": "directory"}, "error reading {}/directory: Is a directory"),
        ({"ca": "none.pem"}, "error reading {}/none.pem: No such file or directory"),
        ({"cert": "empty.pem"}, "there is no certificate in {}/empty.pem: "),
        ({"cert": "key.pem"}, "there is no certificate in {}/key.pem: "),
        ({"key": "cert.pem"}, "there is no private key in {}/cert.pem: "),
        ({"ca": "empty.pem"}, "there is no certificate in {}/empty.pem: "),
        ({"ca": "broken.pem"}, "failed to parse root ca certificate {}/broken.pem: "),
        ({"cert": "broken.pem"}, "error parsing X509 certificate/key pair {0}/broken.pem, {0}/key.pem: "),
        ({"key": "other.pem"}, "error parsing X509 certificate/key pair {0}/cert.pem, {0}/other.pem: the private key belongs"),
        ({"key": "encrypted.pem"}, "the private key in {}/encrypted.pem is encrypted: "),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(files, wrong, says):
    with pytest.raises(TlsError) as error:
        server_context(of(files, **wrong))
    assert str(error.value).startswith(says.format(files))
