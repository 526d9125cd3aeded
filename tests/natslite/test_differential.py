"""After CONNECT every byte is as from nats-server: the same scripts go to both, and what comes back must be equal but
for ids, the choice within a queue group, and the order of one message's copies.

Rules P-5 to P-43 and P-60 to P-67, by the tables of `scripts`; then scripts of several clients drawn by Hypothesis.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite import Permissions, User
from tests.natslite.scripts import (
    CASES,
    GUARDED,
    HEADERS,
    PEDANTIC,
    QUIET,
    SILENT,
    UNFINISHED,
    USERS,
    VERBOSE,
    connect_line,
    pubs,
    user,
)
from tests.natslite.wires import Certificates
from tests.peers import Address, Peer, ServerEnd, frames, nats_server, natslite_server

Server = Callable[..., Address]

# ---- comparing

COMPARED = ("version", "proto", "headers", "auth_required", "max_payload", "client_ip", "connect_info", "remote_account",
            "api_lvl", "host", "tls_required", "tls_verify", "ldm")  # fmt: skip
MEMBER = re.compile(rb"(\bgroup\w*)-\w+")
"""A sid such as `group1-b` is a member of a queue group: which of them gets a message is chance."""

NOBODY = re.compile(rb"^(HMSG \S+) \S+( \d+ \d+\r\nNATS/1\.0 503\r\n)")
"""P-38: of several subscriptions that match the reply any one is named."""

DELIVERY = re.compile(rb"H?MSG (\S+) (\S+) ")


def plain(frame: bytes) -> bytes:
    """A frame without what differs from run to run."""
    if frame.startswith(b"INFO "):
        info = json.loads(frame[5:])
        return b"INFO " + json.dumps({key: info[key] for key in COMPARED if key in info}).encode()
    return NOBODY.sub(rb"\1 any\2", MEMBER.sub(rb"\1", frame))


def canonical(data: bytes) -> list[bytes]:
    """The frames, with the copies of one message in a fixed order."""
    found: list[bytes] = []
    copies: list[bytes] = []
    message: object = None
    for frame in map(plain, frames(data)):
        match = DELIVERY.match(frame)
        this = match and (match[1], frame[match.end() :])
        if this is None or this != message:
            found += sorted(copies)
            copies = []
            message = this
        if this is None:
            found.append(frame)
        else:
            copies.append(frame)
    return found + sorted(copies)


def said_once(heard: list[bytes]) -> list[bytes]:
    """P-23: nats-server repeats this one when it happens to read the control line and the payload separately."""
    twice = b"-ERR 'Invalid Publish Subject'\r\n"
    return [frame for i, frame in enumerate(heard) if not (i and frame == heard[i - 1] == twice)]


def spoken(address: Address, script: bytes) -> list[bytes]:
    """What the server says to a client that sends the script and then hangs up."""
    with Peer(address) as peer:
        peer.send(script)
        return canonical(peer.rest())


def spoken_until_closed(address: Address, script: bytes) -> list[bytes]:
    """What the server says to a client that sends the script and waits to be closed."""
    with Peer(address) as peer:
        peer.send(script)
        return canonical(peer.eof())


def answers(heard: list[bytes]) -> bool:
    """Whether the PING at a script's end was answered, with or without the second INFO behind it."""
    return b"PONG\r\n" in heard[-2:] and heard[-1][:5] in (b"PONG\r", b"INFO ")


def spoken_in_pieces(address: Address, pieces: Sequence[bytes]) -> list[bytes]:
    """As `spoken`, each piece sent when the server, which runs in this process, has read the one before."""
    with Peer(address) as peer:
        end = ServerEnd(peer)
        for piece in pieces:
            peer.send(piece)
            if not end.wait_read():
                break
        return canonical(peer.rest())


# ---- one client: tables of scripts


class Case(NamedTuple):
    fields: dict[str, Any]
    script: bytes

    @property
    def bytes(self) -> bytes:
        return connect_line(self.fields) + self.script


def table() -> list[Any]:
    """The cases as parameters of a test."""
    return list(_table())


def _table() -> Iterator[Any]:
    for name, fields, scripts in CASES:
        for script in scripts:
            shown = script.decode(errors="backslashreplace")
            yield pytest.param(Case(fields, script), id=f"{name}: {shown if len(shown) < 100 else shown[:90] + '...'}")


@pytest.mark.parametrize("case", table())
def test_one_client(ours: Server, theirs: Server, case: Case) -> None:
    """What comes, and whether the connection then still answers PING."""
    script = case.bytes + b"PING\r\n"
    wanted = spoken(theirs(), script)
    assert spoken(ours(), script) == wanted
    if not answers(wanted):
        assert spoken_until_closed(theirs(), script) == wanted
        assert spoken_until_closed(ours(), script) == wanted


@pytest.mark.parametrize("case", [p for p in table() if len(p.values[0].script) < 100])
def test_byte_by_byte(ours: Server, case: Case) -> None:
    """P-19. Every byte is read before the next is sent."""
    script = case.script + b"PING\r\n"
    whole = spoken(ours(), connect_line(case.fields) + script)
    pieces = [connect_line(case.fields), *(script[i : i + 1] for i in range(len(script)))]
    assert spoken_in_pieces(ours(), pieces) == whole


@pytest.mark.parametrize("start", UNFINISHED)
def test_unfinished(ours: Server, theirs: Server, start: bytes) -> None:
    """The server waits, and goes away when the client does."""
    script = connect_line(HEADERS) + start
    assert spoken(theirs(), script) == spoken(ours(), script) == []


def test_after_control_line_comes_the_answer(ours: Server, theirs: Server) -> None:
    """P-23, P-40: these -ERR do not wait for the payload."""
    for server in theirs(), ours():
        with Peer(server) as peer:
            peer.connect(**PEDANTIC)
            peer.send(b"PUB a.* 5\r\n")
            assert peer.frame() == b"-ERR 'Invalid Publish Subject'\r\n"


@pytest.mark.parametrize("script", [
    b'CONNECT {"verbose":false}\nSUB a 1\r\nPUB a 1\r\nx\r\n', b'connect{"headers":true}\r\n' + connect_line(SILENT) + b"SUB a 1\r\nPUB a 0\r\n\r\n",
    b"SUB a 1\r\n" + connect_line(QUIET) + b"SUB b 2\r\nCONNECT {}\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n", connect_line({**VERBOSE, "protocol": 2}),
])  # fmt: skip
def test_connect_itself(ours: Server, theirs: Server, script: bytes) -> None:
    """P-55, P-8: ended by LF alone, said twice, cut anywhere, it means the same, and the same as to nats-server."""
    script += b"PING\r\n"
    wanted = spoken(theirs(), script)
    assert spoken(ours(), script) == wanted
    assert spoken_in_pieces(ours(), [script[i : i + 1] for i in range(len(script))]) == wanted


# ---- limits that are set (P-41 to P-43)


@pytest.mark.parametrize("script", [
    b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nSUB d 4\r\nSUB a 1\r\nSUB a..b 5\r\nUNSUB 1\r\nSUB d 4\r\nSUB e 5\r\nSUB a _sys_ 6\r\n",
    b"SUB a 1\r\nUNSUB 1 1\r\nSUB b 2\r\nSUB c 3\r\nSUB d 4\r\nPUB a 0\r\n\r\nSUB d 4\r\n",
    b"SUB a.b.c.d 1\r\nSUB a..b.c 1\r\nSUB a.b.c. 1\r\nSUB a..b 1\r\nSUB a.b.c 1\r\nSUB a.b.c.d 1\r\nSUB a..b 1\r\nSUB a.b.c.d q 7\r\n",
    b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nSUB a.b.c.d 4\r\nSUB a.b.c.d _sys_ 4\r\n",
    b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nCONNECT {}\r\nSUB d 1\r\n",
    b"PUB a 11\r\n", b"SUB a 1\r\nPUB a 10\r\n0123456789\r\n", b"PUB a.* 11\r\n",
    b"SUB " + b"a" * 62 + b" 1\r\n", b"SUB " + b"a" * 63 + b" 1\r\n",
])  # fmt: skip
def test_limits(ours: Server, theirs: Server, script: bytes) -> None:
    """P-16, P-40, P-42, P-43."""
    theirs_address = theirs(config="max_subscriptions: 3\nmax_sub_tokens: 3\nmax_payload: 10\nmax_control_line: 64")
    ours_address = ours(subscriptions_max=3, subscription_tokens_max=3, payload_bytes_max=10, control_line_bytes_max=64)
    script = connect_line(VERBOSE) + script + b"PING\r\n"
    assert spoken(ours_address, script) == spoken(theirs_address, script)


def test_too_many_connections(ours: Server, theirs: Server) -> None:
    """P-3, P-41: INFO, the -ERR, the end."""
    for server in theirs(config="max_connections: 2"), ours(connections_max=2):
        with Peer(server) as a, Peer(server) as b:
            a.connect()
            b.connect()
            with Peer(server) as refused:
                assert refused.eof() == b"-ERR 'maximum connections exceeded'\r\n"
            a.ping()


def test_no_connections(ours: Server, theirs: Server) -> None:
    for server in theirs(config="max_connections: 0"), ours(connections_max=0), ours(connections_max=-1):
        with Peer(server) as refused:
            assert refused.eof() == b"-ERR 'maximum connections exceeded'\r\n"


# ---- what comes by itself


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


WAYS = ["open", "token", "tls", "tls with client certificates"]


@pytest.fixture(params=WAYS)
def way(
    request: pytest.FixtureRequest, ours: Server, theirs: Server, certificates: Certificates
) -> tuple[Address, Address, ssl.SSLContext | None, dict[str, str]]:
    """Both servers set up alike, what their clients need for TLS, and what they say in CONNECT."""
    files = ["--tlscert", certificates.cert_file, "--tlskey", certificates.key_file]
    if request.param == "open":
        return ours(), theirs(), None, {}
    if request.param == "token":
        return ours(token="x"), theirs("--auth", "x"), None, {"auth_token": "x"}
    if request.param == "tls":
        return ours(tls=certificates.options()), theirs("--tls", *files), certificates.client(), {}
    flags = ["--tlsverify", *files, "--tlscacert", certificates.ca_file]
    return ours(tls=certificates.options(verify=True)), theirs(*flags), certificates.client(known=True), {}


def assert_same_info(came: bytes, wanted: bytes) -> None:
    """P-4: the same keys in the same order, but for natslite's version, and the same values but for ids."""
    assert plain(came) == plain(wanted)
    assert came.startswith(b"INFO {")
    assert came.endswith(b"} \r\n")
    keys = list(json.loads(came[5:]))
    assert [key for key in keys if key != "natslite"] == list(json.loads(wanted[5:]))
    assert re.fullmatch(r"N[A-Z2-7]{55}", json.loads(came[5:])["server_id"])
    assert re.fullmatch(r"X[A-Z2-7]{55}", json.loads(came[5:])["xkey"])


def test_first_info(way: tuple[Address, Address, ssl.SSLContext | None, dict[str, str]]) -> None:
    """P-1, P-2, P-4, P-70, P-73."""
    ours_address, theirs_address, context, fields = way
    came = []
    for server in ours_address, theirs_address:
        with Peer(server, info=False) as peer:
            came.append(peer.line())
    info = json.loads(came[0][5:])
    assert (info.get("tls_required"), info.get("auth_required")) == (context and True, True if fields else None)
    assert_same_info(*came)


def test_second_info(way: tuple[Address, Address, ssl.SSLContext | None, dict[str, str]]) -> None:
    """P-4, P-5: all of the first one again, and that the client is connected; with TLS it is no earlier."""
    ours_address, theirs_address, context, fields = way
    came = []
    for server in ours_address, theirs_address:
        with Peer(server, info=False) as peer:
            first = json.loads(peer.line()[5:])
            if context is not None:
                peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
            peer.send(connect_line({**QUIET, "protocol": 1, **fields}) + b"PING\r\n")
            assert peer.frame() == b"PONG\r\n"
            came.append(peer.frame())
            second = json.loads(came[-1][5:])
            assert second == {**first, "connect_info": True, "remote_account": "$G"}
            assert peer.ping() == []
    assert_same_info(*came)


def test_info_of_lame_duck_mode() -> None:
    """P-4, P-83: to clients of protocol 1; to the others nothing."""
    came = []
    for server in natslite_server, nats_server:
        with (
            server() as daemon,
            Peer(daemon.address) as peer,
            Peer(daemon.address) as old,
            Peer(daemon.address) as mute,
        ):
            peer.connect(protocol=1)
            assert b'"connect_info":true' in peer.frame()
            old.connect()
            daemon.process.send_signal(signal.SIGUSR2)
            came.append(peer.frame())
            assert json.loads(came[-1][5:])["ldm"] is True
            assert peer.ping() == old.ping() == mute.ping() == []
            daemon.kill()
    assert_same_info(*came)


def test_no_info_of_lame_duck_mode_before_the_first_pong() -> None:
    """P-5, P-83: a client that waits for its PONG expects nothing else."""
    came = []
    for server in nats_server, natslite_server:
        with server() as daemon, Peer(daemon.address) as told, Peer(daemon.address) as early:
            told.connect(protocol=1)
            told.frame()
            early.send(connect_line({**VERBOSE, "protocol": 1}))
            assert early.frame() == b"+OK\r\n"
            daemon.process.send_signal(signal.SIGUSR2)
            told.frame()
            came.append(early.ping())
            daemon.kill()
    assert came == [[], []]


def test_authentication_timeout(ours: Server, theirs: Server) -> None:
    """P-52."""
    for server in ours(token="x", auth_timeout_s=0.2), theirs(config='authorization: {token: "x", timeout: 0.2}'):
        began = time.monotonic()
        assert spoken_until_closed(server, b"") == [b"-ERR 'Authentication Timeout'\r\n"]
        assert time.monotonic() - began > 0.19


def test_stale_connection(ours: Server, theirs: Server) -> None:
    """P-46, P-48."""
    for server in (
        ours(ping_interval_s=0.2, pings_outstanding_max=1),
        theirs(config='ping_interval: "200ms"\nping_max: 1'),
    ):
        began = time.monotonic()
        assert spoken_until_closed(server, connect_line(QUIET)) == [b"PING\r\n", b"-ERR 'Stale Connection'\r\n"]
        assert time.monotonic() - began > 0.39
        with Peer(server) as peer:
            peer.connect()
            for _ in range(3):
                assert peer.frame() == b"PING\r\n"
                peer.send(b"PONG\r\n")


def test_who_gets_it_in_a_queue_group_is_fair(ours: Server, theirs: Server) -> None:
    """P-36."""
    for server in ours(), theirs():
        with Peer(server) as publisher, Peer(server) as a, Peer(server) as b, Peer(server) as c:
            publisher.connect()
            for member in a, b, c:
                member.connect().command(b"SUB fair q 1")
            publisher.command(*[b"PUB fair 0\r\n"] * 600)
            shares = [len(member.ping()) for member in (a, b, c)]
            assert sum(shares) == 600
            assert min(shares) > 130, shares  # six standard deviations


# ---- authentication (P-50 to P-58) and permissions (P-60 to P-67)


def config_of(users: dict[str, Permissions | None]) -> str:
    """The same users for nats-server."""
    entries = []
    for name, rules in users.items():
        entry: dict[str, Any] = {"user": name, "password": name}
        if rules is not None:
            permissions: dict[str, Any] = {}
            for side in "publish", "subscribe":
                lists = {kind: list(getattr(rules, f"{side}_{kind}")) for kind in ("allow", "deny")}
                if any(lists.values()):
                    permissions[side] = {kind: entries for kind, entries in lists.items() if entries}
            if rules.responses_max:
                permissions["allow_responses"] = {
                    "max": rules.responses_max, "expires": f"{rules.responses_expire_s:g}s"
                }  # fmt: skip
            entry["permissions"] = permissions
        entries.append(entry)
    return "authorization: " + json.dumps({"users": entries})


@pytest.fixture(scope="module")
def guarded(ours: Server, theirs: Server) -> tuple[Address, Address]:
    """Both servers with the same users, each with the name as password."""
    users = tuple(User(name=name, password=name, permissions=rules) for name, rules in USERS.items())
    return ours(users=users), theirs(config=config_of(USERS))


@pytest.mark.parametrize(("fields", "script"), GUARDED)
def test_guarded(guarded: tuple[Address, Address], fields: dict[str, Any], script: bytes) -> None:
    """P-60, P-61, P-62, P-63, P-64: what is refused, in which words, and what passes."""
    ours_address, theirs_address = guarded
    script = connect_line(fields) + script + b"PING\r\n"
    wanted = spoken(theirs_address, script)
    assert spoken(ours_address, script) == wanted
    if not answers(wanted):
        assert spoken_until_closed(ours_address, script) == wanted


@pytest.mark.parametrize("fields", [{"auth_token": "s3cr3t"}, {"auth_token": "x"}, {"auth_token": ""}, {}, {"user": "s3cr3t"},
                                    {"auth_token": "s3cr3t", "user": "x", "pass": "y"}, {"auth_token": "s3cr3t", "verbose": True}])  # fmt: skip
def test_token(ours: Server, theirs: Server, fields: dict[str, Any]) -> None:
    """P-56, P-58."""
    script = connect_line({**QUIET, **fields}) + b"PING\r\n"
    assert spoken(ours(token="s3cr3t"), script) == spoken(theirs("--auth", "s3cr3t"), script)


@pytest.mark.parametrize("start", [b"PING\r\n", b"SUB a 1\r\n", b"PUB a 0\r\n\r\n", b"FOO\r\n", b"P", b"\x00", b"+OK\r\n", b"INFO {}\r\n",
                                   b"-ERR 'x'\r\n", b"CX", b"c\r\n", b"CONNECT " + b"a" * 5000, b" CONNECT {}\r\n"])  # fmt: skip
def test_first_bytes_where_authentication_is_required(guarded: tuple[Address, Address], start: bytes) -> None:
    """P-50: each verb as the first bytes, on both."""
    ours_address, theirs_address = guarded
    wanted = spoken_until_closed(theirs_address, start)
    assert spoken_until_closed(ours_address, start) == wanted
    assert len(wanted) == 1


def test_answers(guarded: tuple[Address, Address]) -> None:
    """P-66, with a requestor and a responder."""

    def run(server: Address, name: str, requests: Sequence[bytes], answers: Sequence[bytes]) -> object:
        with Peer(server) as asker, Peer(server) as answerer:
            asker.connect(**user("all", verbose=False)).command(b"SUB inb.> 1", b"SUB p.> 1")
            answerer.connect(**user(name, verbose=False)).command(b"SUB req.> 1")
            asker.send(b"".join(b"PUB req.1 %b 0\r\n\r\n" % reply for reply in requests))
            asker.ping()
            answerer.send(pubs(*answers))
            return answerer.ping(), asker.ping()

    for name in "answers", "answers_and":
        for requests, answers in (
            ([], [b"inb.1"]),
            ([b"inb.1"], [b"inb.1"] * 4),
            ([b"inb.1", b"inb.2"], [b"inb.1", b"inb.2", b"inb.2", b"inb.2", b"inb.1", b"inb.1"]),
            ([b"inb.*"], [b"inb.x", b"inb.*", b"inb.*", b"inb.*"]),
            ([b"inb.1"] * 2, [b"inb.1"] * 4),
            ([b"inb.1"] * 3, [b"inb.1"] * 4),
            ([b"inb.1"] * 4, [b"inb.1"] * 4),
            ([b"p.1", b"inb.1"], [b"p.1", b"p.1", b"p.1", b"inb.1", b"inb.1", b"inb.1"]),
            ([b"inb..1"], [b"inb..1"] * 3),
        ):
            ours_address, theirs_address = guarded
            assert run(ours_address, name, requests, answers) == run(theirs_address, name, requests, answers), requests


def test_a_denied_member_is_passed_over(guarded: tuple[Address, Address]) -> None:
    """P-36, P-65: another member of the group gets the message."""
    for server in guarded:
        with Peer(server) as asker, Peer(server) as denied, Peer(server) as member:
            asker.connect(**user("all", verbose=False))
            denied.connect(**user("filtered", verbose=False)).command(b"SUB s.> g 1")
            member.connect(**user("all", verbose=False)).command(b"SUB s.> g 1")
            asker.command(*[b"PUB s.1 0\r\n"] * 20)
            assert (len(denied.ping()), len(member.ping())) == (0, 20)


# ---- several clients

TOKENS = st.sampled_from([b"a", b"b", b"*", b">", b"c"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=3).map(b".".join)
ODD_SUBJECTS = st.sampled_from([b"a..b", b".a", b"a.", b"a*", b">.a", b"_GR_.x", b"$NRG.x"])
SIDS = st.integers(0, 4)
PAYLOADS = st.sampled_from([b"", b"x", b"\r\n", b"PING\r\n", b"hello world", b"y" * 50])


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """One command, mostly a good one; no PING, which is the barrier between steps."""
    subject = draw(st.one_of(SUBJECTS, SUBJECTS, SUBJECTS, ODD_SUBJECTS))
    kind = draw(st.sampled_from(["sub", "sub", "queue", "pub", "pub", "pub", "hpub", "unsub", "max", "odd"]))
    if kind == "sub":
        return b"SUB %b %d\r\n" % (subject, draw(SIDS))
    if kind == "queue":
        group = draw(st.sampled_from([b"groupp", b"groupq"]))
        return b"SUB %b %b %b-%d\r\n" % (subject, group, group, draw(SIDS))
    if kind == "unsub":
        return b"UNSUB %b%d\r\n" % (draw(st.sampled_from([b"", b"groupp-", b"groupq-"])), draw(SIDS))
    if kind == "max":
        return b"UNSUB %d %d\r\n" % (draw(SIDS), draw(st.integers(0, 3)))
    if kind == "odd":
        return draw(st.sampled_from([
            b"+OK\r\n", b"PONG\r\n", b"INFO {}\r\n", b"CONNECT {}\r\n", b'CONNECT {"echo":false}\r\n', b'CONNECT {"verbose":true}\r\n',
            b'CONNECT {"pedantic":true}\r\n', b'CONNECT {"headers":true,"no_responders":true}\r\n', b"SUB x _sys_ 1\r\n",
        ]))  # fmt: skip
    reply = draw(st.one_of(st.just(b""), SUBJECTS.map(lambda s: s + b" "), st.just(b"_R_.x ")))
    payload = draw(PAYLOADS)
    if kind == "hpub":
        header = draw(st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n", b"h"]))
        return b"HPUB %b %b%d %d\r\n%b%b\r\n" % (subject, reply, len(header), len(header + payload), header, payload)
    return b"PUB %b %b%d\r\n%b\r\n" % (subject, reply, len(payload), payload)


CONNECTS = st.fixed_dictionaries(
    {"verbose": st.booleans(), "pedantic": st.booleans(), "echo": st.booleans(), "headers": st.just(True)},
    optional={"no_responders": st.booleans()},
)
STEPS = st.lists(st.tuples(st.integers(0, 2), st.lists(commands(), min_size=1, max_size=5).map(b"".join)), max_size=12)


def conversation(
    address: Address, connects: Sequence[dict[str, Any]], steps: Sequence[tuple[int, bytes]]
) -> list[object]:
    """What each client has received after each step."""
    heard: list[object] = []
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(address)).connect(**fields) for fields in connects]
        for peer in peers:
            peer.buffer.clear()
        for at, script in steps:
            peers[at % len(peers)].send(script)
            # its own PONG first: what it published has then been handed to the others
            order = [at % len(peers), *(i for i in range(len(peers)) if i != at % len(peers))]
            came = {i: said_once(canonical(b"".join(peers[i].ping()))) for i in order}
            # which member of a group, and so which client, got a message is chance
            chance = [
                frame for frames_ in came.values() for frame in frames_ if b" group" in frame.partition(b"\r\n")[0]
            ]
            heard.append(sorted(chance))
            heard.append([[frame for frame in came[i] if frame not in chance] for i in range(len(peers))])
    return heard


@given(connects=st.lists(CONNECTS, min_size=1, max_size=3), steps=STEPS)
def test_conversations(
    ours: Server, theirs: Server, connects: list[dict[str, Any]], steps: list[tuple[int, bytes]]
) -> None:
    """Drawn scripts of up to three clients, whole commands."""
    assert conversation(ours(), connects, steps) == conversation(theirs(), connects, steps)
