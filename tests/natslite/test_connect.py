"""What CONNECT says, apart from any server of ours (P-6 to P-9)."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from natslite.connect import DEPTH_MAX, NO_FIELDS, SECRETS, Connect, ConnectError, decode, decode_object, redacted
from tests.peers import Peer

JSON = "takes a JSON object: CONNECT {}"


def test_defaults_are_those_of_a_client_that_sent_none():
    assert decode(b"{}") == decode(b"null") == decode(b" \t{ } \r ") == Connect()
    assert (Connect().verbose, Connect().pedantic, Connect().echo, Connect().headers) == (True, True, True, False)
    assert (Connect().protocol, Connect().no_responders) == (0, False)


def test_every_field():
    said = decode(
        b'{"verbose":false,"pedantic":false,"tls_required":true,"echo":false,"headers":true,"no_responders":true,'
        b'"protocol":1,"name":"n","lang":"python3","version":"2.9","user":"u","pass":"p","auth_token":"t","nkey":"k",'
        b'"sig":"s","jwt":"j","account":"a","new_account":true,"remote_account":"r","proxy_sig":"x"}'
    )
    assert said == Connect(
        verbose=False, pedantic=False, tls_required=True, echo=False, headers=True, no_responders=True, protocol=1,
        name="n", lang="python3", version="2.9", user="u", password="p", auth_token="t", nkey="k", sig="s", jwt="j",
        account="a", new_account=True, remote_account="r", proxy_sig="x",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"VERBOSE":false,"Auth_Token":"x"}', Connect(verbose=False, auth_token="x")),
        (b'{"verbose":false,"verbose":true}', Connect()),
        (b'{"verbose":false,"VERBOSE":true,"verbose":false}', Connect(verbose=False)),
        (b'{"verbose":false,"verbose":null}', Connect(verbose=False)),
        (b'{"verbose":null,"name":null,"protocol":null}', Connect()),
        ('{"verbo\u017fe":false,"n\u212aey":"k"}'.encode(), Connect(verbose=False, nkey="k")),
        (b'{"ve\\u0072bose":false}', Connect(verbose=False)),
        ('{"pa\u00df":1,"\u0130mport":1,"password":1}'.encode(), Connect()),
        (b'{"x":1e400,"y":-1e999999999999,"z":%b}' % (b"9" * 5000), Connect()),
        (b'{"protocol":-9223372036854775808}', Connect(protocol=-(2**63))),
        (b'{"import":null,"export":{"allow":null,"Deny":["a",null],"x":1}}', Connect()),
        (b'{"unknown":[1,{"a":null}],"":1.5e3,"x":"y"}', Connect()),
        (b'{"protocol":-3}', Connect(protocol=-3)),
        (b'{"name":"a\\u0062\\n\\ud83d\\ude00"}', Connect(name="ab\n\U0001f600")),
        (b'{"name":"\xff"}', Connect(name="\ufffd")),
        (b'{"name":"\\ud800x"}', Connect(name="\ufffdx")),
        (b'{"name":"\\udc00"}', Connect(name="\ufffd")),
        (b'{"name":"\xc3\xa9"}', Connect(name="é")),
    ],
)
def test_reads_json_as_nats_server_does(text, expected):
    assert decode(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"}", b"[]", b"1", b'"x"', b"true", b"{}{}", b"{} x", b"{verbose:true}", b"{'a':1}", b'{"a":1,}',
        b'{"a" 1}', b'{"a":}', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1.}', b"\xef\xbb\xbf{}", b"{}\xc2\xa0", b"{\x0c}", b'{"a":01}', b'{"a":nul}', b'{"a":"\n"}', b'{"a":"\\x"}', b"\xff", b"NULL", b"{}\x00",
    ],
)  # fmt: skip
def test_anything_but_one_object_is_an_error(text):
    with pytest.raises(ConnectError) as error:
        decode(text)
    assert str(error.value) == JSON


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"verbose":"yes"}', '"verbose" must be true or false'),
        (b'{"VERBOSE":1}', '"verbose" must be true or false'),
        (b'{"echo":0}', '"echo" must be true or false'),
        (b'{"protocol":"1"}', '"protocol" must be a number'),
        (b'{"protocol":true}', '"protocol" must be a number'),
        (b'{"protocol":1.0}', '"protocol" must be a number'),
        (b'{"protocol":1e0}', '"protocol" must be a number'),
        (b'{"protocol":9223372036854775808}', '"protocol" must be a number'),
        (b'{"protocol":123456789012345678901234567890}', '"protocol" must be a number'),
        (b'{"name":1}', '"name" must be a string'),
        (b'{"user":["a"]}', '"user" must be a string'),
        (b'{"jwt":{}}', '"jwt" must be a string'),
        (b'{"name":[[[]]]}', '"name" must be a string'),
        (b'{"verbose":1,"verbose":false}', '"verbose" must be true or false'),
        (b'{"protocol":9223372036854775808,"protocol":0}', '"protocol" must be a number'),
        (b'{"protocol":0,"x":1,"Protocol":-9223372036854775809}', '"protocol" must be a number'),
        ('{"\u017fig":1}'.encode(), '"sig" must be a string'),
        (b'{"import":1}', '"import" must be an object with lists of subjects'),
        (b'{"Export":[]}', '"export" must be an object with lists of subjects'),
        (b'{"import":{"ALLOW":"x"}}', '"import" must be an object with lists of subjects'),
        (b'{"import":{"deny":[1]}}', '"import" must be an object with lists of subjects'),
    ],
)
def test_a_wrong_type_is_named(text, says):
    with pytest.raises(ConnectError) as error:
        decode(text)
    assert str(error.value) == says


def test_a_second_one_changes_what_it_names():
    first = decode(b'{"verbose":false,"name":"a","user":"u","pass":"p"}')
    assert decode(b'{"name":"b","user":null}', first) == msgspec.structs.replace(first, name="b")
    assert decode(b"null", first) == first


@pytest.mark.parametrize("depth", [2, 199, 200, 201, 1000, 2000, DEPTH_MAX - 1])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a]":', b"}"), (b'[1,"[",{"b":', b'},[],"\\"]"]')])
def test_depth_is_no_error(depth, start, end):
    """Nor does it use up the stack."""
    depth //= 2 if b"1" in start else 1
    assert decode(b'{"x":%b0%b,"name":"n"}' % (start * depth, end * depth)) == Connect(name="n")
    for bad in (
        b'{"x":%b0%b,"name":"n"}' % (start * depth, end * (depth - 1)),
        b'{"x":%b0%b,"name":"n"}' % (start * depth, end * (depth + 1)),
        b'{"x":%b0x%b,"name":"n"}' % (start * depth, end * depth),
        b'{"x":%b' % (start * depth),
    ):
        with pytest.raises(ConnectError):
            decode(bad)


def test_too_deep_is_an_error_and_takes_no_time():
    began = time.process_time()
    for text in (b'{"x":' + b"[" * 500_000, b"]" * 500_000, b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"):
        with pytest.raises(ConnectError):
            decode(text)
    assert time.process_time() - began < 2


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('[]{}"\\,:x\u00e9', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\x', max_size=2), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=3), nested, max_size=3), st.sampled_from([0, 150, 400, 1100]))
def test_deep_objects_are_valid_when_json_says_so(value, depth):
    """Brackets inside strings are no brackets."""
    text = json.dumps(value)
    assert decode_object(text.encode()) == value
    deep = ('{"deep":' + "[" * depth + text + "]" * depth + "}").encode()
    assert set(decode_object(deep)) == {"deep"}
    with pytest.raises(ValueError):  # noqa: PT011
        decode_object(deep[:-1])


# ---- beside nats-server

SCALARS = [
    "true", "false", "null", "1", "0", "-1", "1.0", "1e0", '"x"', '""', '"\\ud800"', '"\\u00e9"', "[]", "{}", "1e400", "-0", "00",
    "tru", "NaN", "9223372036854775808", '"\\x"', '[1,{"a":"]"}]', '{"allow":["a"]}', '{"deny":3}', '"\xff"',
]  # fmt: skip
KEYS = [
    "verbose", "VERBOSE", "verbo\u017fe", "v\\u0065rbose", "echo", "protocol", "name", "pass", "account", "import", "Export", "x", "",
    "no_responders", "headers",
]  # fmt: skip
blanks = st.sampled_from(["", "", "", " ", "\t", "\r"])
members = st.tuples(blanks, st.sampled_from(KEYS), blanks, blanks, st.sampled_from(SCALARS), blanks)
objects = st.lists(members, max_size=4).map(
    lambda drawn: "{" + ",".join('{}"{}"{}:{}{}{}'.format(*m) for m in drawn) + "}"
)
noise = st.lists(st.tuples(st.integers(0, 80), st.sampled_from([*'{}[]",:\\ 0e.n\xff', ""])), max_size=2)


@given(objects, noise)
@example('{"verbose":false,"verbose":null}', [])
@example('{"protocol":9223372036854775808,"protocol":0}', [])
def test_is_taken_as_by_nats_server(theirs, text, changes):
    """P-7: the same texts are accepted, with the same meaning as far as it shows."""
    for at, character in changes:
        text = text[:at] + character + text[at + 1 :]
    line = b"".join(c.encode("latin-1" if c < "\u0100" else "utf-8") for c in text)
    with Peer(theirs()) as peer:
        peer.send(b"CONNECT " + line + b"\r\nSUB a 1\r\nPUB a 0\r\n\r\nPING\r\n")
        answered = peer.until(b"PONG\r\n")
    assert answered == what_follows(line)


def what_follows(line: bytes) -> bytes:
    """The answer to this CONNECT, a SUB, a PUB to it and a PING."""
    try:
        said = decode(line.strip(b" \t\r"))
    except ConnectError:
        return b""
    if said.account or said.new_account:
        return b"-ERR 'Authorization Violation'\r\n"
    if said.protocol not in (0, 1):
        return b"-ERR 'invalid client protocol'\r\n"
    if said.no_responders and not said.headers:
        return b"-ERR 'no responders requires headers support'\r\n"
    return b"+OK\r\n" * 3 * said.verbose + b"MSG a 1 0\r\n\r\n" * said.echo + b"PONG\r\n"


# ---- what a log shows


@pytest.mark.parametrize("secret", SECRETS + NO_FIELDS)
@pytest.mark.parametrize(
    "form",
    ['"{}":"hunter2"', '"{}" : "hunter2"', '"{}":"hunter2', "{}:hunter2", "'{}':'hunter2'", '"{}":"a\\"hunter2"', '"{}"="hunter2"'],
)  # fmt: skip
def test_secrets_are_redacted(secret, form):
    for key in secret, secret.upper(), secret.replace("s", "\\u0073", 1).replace("k", "\\u006B", 1):
        shown = redacted(("{" + form.format(key) + ',"name":"n"}').encode())
        assert "hunter2" not in shown
        assert "[REDACTED]" in shown


@pytest.mark.parametrize(
    "text",
    [
        b'{"pass":["hunter2","b"]}', b'{"pass":{"a":"hunter2"},"x":[1]}', b'{"x":{"pass":"hunter2"}}', b'{"PASS":"hunter2"}',
        '{"pa\u017fs":"hunter2"}'.encode(), b'{"pa\\u017Fs":"hunter2"}', b'{"n\\u212aey":"hunter2"}', b'{"pass":"a,hunter2"}',
        b'{"pass":"a}hunter2"}', b'{"pass":"\\"hunter2"}', b'{"pass":\t"hunter2"}', b'{"pass":1234,"pass":"hunter2"}',
        b'{"pass":12 hunter2}', b'{"pass" "hunter2"}', b"pass hunter2", b'{"pass":\xffhunter2}', b'{"pass":"x"hunter2}',
        b'{"pass":"x"hunter2', b"--pass hunter2 --user ann", b'{"user":"a" "pass":"hunter2"}', b'{"Token":"hunter2"}',
    ],
)  # fmt: skip
def test_secrets_in_odd_places_are_redacted(text):
    assert b"hunter2" in text
    assert "hunter2" not in redacted(text)
    assert "[REDACTED]" in redacted(text)


@given(st.dictionaries(st.sampled_from(["pass", "Pass", "sig", "user", "name", "x"]), nested))
def test_no_secret_of_any_object_is_shown(said):
    said = {key: "hunter2" if key.lower() in SECRETS else value for key, value in said.items()}
    shown = redacted(json.dumps(said).encode())
    assert "hunter2" not in shown
    assert json.loads(shown) == {key: "[REDACTED]" if value == "hunter2" else value for key, value in said.items()}


def test_the_rest_is_shown_as_it_came():
    text = b'{"verbose":false,"user":"ann","name":"a \\u00e9 \xff","lang":"go","compass":"north","passed":true}'
    assert redacted(text) == text.decode(errors="replace")
    assert redacted(b'{"user":"ann","pass":"x","name":"n"}') == '{"user":"ann","pass":"[REDACTED]","name":"n"}'
    assert redacted(b'{"pass":"x","auth_token":"y"}') == '{"pass":"[REDACTED]","auth_token":"[REDACTED]"}'


def test_a_long_line_is_redacted_in_time():
    began = time.process_time()
    redacted(b'"pass":' * 10_000)
    redacted(b'"pass"' + b" " * 10_000)
    redacted(b'"pass":"' + b"\\" * 9_999)
    assert time.process_time() - began < 1
