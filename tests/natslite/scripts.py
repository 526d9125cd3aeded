"""Scripts for the differential test: what one client may say after CONNECT, each rule of protocol.md in at least one
line, every -ERR among them. Tables, and the few helpers that spell them."""

from __future__ import annotations

import json
from typing import Any

from natslite import Permissions


def connect_line(fields: dict[str, Any]) -> bytes:
    return b"CONNECT " + json.dumps(fields).encode() + b"\r\n"


# ---- one client

QUIET = {"verbose": False, "pedantic": False}
VERBOSE = {"verbose": True, "pedantic": False}
PEDANTIC = {"verbose": False, "pedantic": True}
BOTH = {"verbose": True, "pedantic": True, "headers": True}
HEADERS = {**QUIET, "headers": True}
ASKS = {**HEADERS, "no_responders": True}
SILENT = {**QUIET, "echo": False}
LONG = b"a" * 4096

CASES: list[tuple[str, dict[str, Any], list[bytes]]] = [
    ("basic (P-18, P-30)", {}, [
        b"SUB foo 1\r\nPUB foo 5\r\nhello\r\nPUB foo bar 2\r\nhi\r\nPUB foo 0\r\n\r\nUNSUB 1\r\nUNSUB 99\r\nPUB foo 0\r\n\r\n",
        b"PING\r\nPONG\r\nPING\r\n",
        b"PUB nobody 3\r\nabc\r\n",
    ]),
    ("second INFO (P-5)", {**QUIET, "protocol": 1}, [
        b"PING\r\nPING\r\n",
        b"PONG\r\nSUB a 1\r\nPUB a 0\r\n\r\nPING\r\nPING\r\n",
        b"CONNECT {}\r\nPING\r\nPING\r\n",
        b"PING\r\nCONNECT {}\r\nPING\r\nPING\r\n",
        b'CONNECT {"protocol":0}\r\nPING\r\nCONNECT {"protocol":1}\r\nPING\r\n',
    ]),
    ("no second INFO for protocol 0 (P-5)", QUIET, [
        b"PING\r\nPING\r\n",
        b'PING\r\nCONNECT {"protocol":1}\r\nPING\r\nPING\r\n',
    ]),
    ("CONNECT, errors with text (P-6)", QUIET, [
        b'CONNECT {"protocol":2}\r\n',
        b'CONNECT {"protocol":-1}\r\n',
        b'CONNECT {"no_responders":true}\r\n',
        b'CONNECT {"no_responders":true,"headers":false}\r\n',
        b'CONNECT {"account":"x"}\r\n',
        b'CONNECT {"new_account":true}\r\n',
        b'CONNECT {"account":"x","protocol":5,"no_responders":true}\r\n',
        b'CONNECT {"protocol":5,"no_responders":true}\r\n',
        b'CONNECT {"verbose":true,"protocol":5}\r\n',
        b'CONNECT {"verbose":true,"account":"x"}\r\n',
        b'CONNECT {"account":"","new_account":false}\r\n',
        b'CONNECT {"no_responders":true,"headers":true}\r\n',
    ]),
    ("CONNECT, JSON (P-7, P-14)", QUIET, [
        *(b"CONNECT " + text + b"\r\n" for text in (
            b"{}", b"null", b"\t{}\t", b" {} ", b'{"verbose":true}', b'{"Verbose":true}', b'{"VERBOSE":true}',
            b'{"verbose":true,"verbose":false}', b'{"verbose":false,"Verbose":true}',
            b'{"\\u0076erbose":true}', b'{"foo":1,"name":null,"verbose":false,"Protocol":1}', b'{"ssl_required":5}',
            b'{"name":"\xff"}', b'{"name":"\\ud800"}', b'{"name":"\x7f\xc3\xa9"}', b'{"x":"\xc0\x80"}',
            b'{"a":{"b":[1,{"c":null}]}}', b'{"x":1,"x":2}', b'{"":1}', b'{"user":"u","pass":"p","auth_token":"t"}',
            b'{"jwt":"x","nkey":"y","sig":"z"}', b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}",
            b'{"protocol":null}', b'{"tls_required":true}', b'{"remote_account":"x"}',
            b'{"protocol":"1"}', b'{"protocol":1.0}', b'{"protocol":1e0}', b'{"protocol":true}', b'{"protocol":01}',
            b'{"protocol":0.5}', b'{"protocol":99999999999999999999}', b'{"name":5}', b'{"name":{}}', b'{"lang":[]}',
            b'{"version":1}', b'{"user":5}', b'{"pass":5}', b'{"auth_token":5}', b'{"nkey":5}', b'{"jwt":5}',
            b'{"sig":5}', b'{"tls_required":5}', b'{"headers":"x"}', b'{"echo":1}', b'{"verbose":"yes"}',
            b'{"verbose":1}', b'{"remote_account":5}', b'{"proxy_sig":5}', b'{"name":"a\x01b"}', b'{"name":"a\tb"}',
            b'{"x":1,}', b"{'x':1}", b"{} {}", b"{}x", b'"x"', b"1", b"true", b"[]", b'{"x":NaN}', b'{"a', b"{",
            b'{"verbose":true', b'{"x":-}', b'{"x":.5}', b'{"x":5.}', b'{"x":+5}', b'{"x":tru}', b"\xef\xbb\xbf{}",
            b'{"x":"\\x"}', b'{"x":"\\u12"}', b"", b" ", b'{"name":"a","Name":5}',
        )),
        b"CONNECT{}\r\n", b"connect{}\r\n", b"CONNECTx{}\r\n", b"CONNECT\t{}\n",
    ]),
    ("second CONNECT (P-8)", QUIET, [
        b"SUB a 1\r\nPUB a 1\r\n1\r\nCONNECT {}\r\nPUB a 1\r\n2\r\n",
        b'CONNECT {"verbose":true}\r\nCONNECT {}\r\nSUB a 1\r\n',
        b'CONNECT {"verbose":true}\r\nCONNECT {"verbose":false}\r\nCONNECT {"protocol":7}\r\n',
        b'CONNECT {"verbose":true}\r\nSUB a 1\r\nCONNECT {"verbose":"x"}\r\n',
        b'CONNECT {"echo":false,"headers":true}\r\nSUB a 1\r\nCONNECT {"pedantic":true}\r\nSUB a 2\r\nPUB a 0\r\n\r\n'
        b'CONNECT {"echo":true}\r\nSUB a 3\r\nPUB a 0\r\n\r\nHPUB a 1 1\r\nx\r\nCONNECT {"headers":null}\r\nSUB a 4\r\n'
        b'HPUB a 1 1\r\nx\r\nCONNECT {"headers":false}\r\nSUB a 5\r\nHPUB a 1 1\r\nx\r\n',
        b"SUB a q group-1\r\nCONNECT {}\r\nPUB a 0\r\n\r\nSUB a 1\r\nPUB a 0\r\n\r\n",
    ]),
    ("no verb (P-11)", QUIET, [
        b"FOO\r\n", b"XYZ\r\n", b"PUX\r\n", b"\r\n", b"\n", b"MSG foo 1 2\r\nhi\r\n", b"A+ x\r\n", b"A- x\r\n", b"LS+ x\r\n",
        b"RS+ x\r\n", b"RS- x\r\n", b"RMSG x\r\n", b"LMSG x\r\n", b"SUB\r\n", b"PUB\r\n", b"UNSUB\r\n", b"HPUB\r\n",
        b"SUBfoo 1\r\n", b"PUBfoo\r\n", b"HPUBa\r\n", b"UNSUB1\r\n", b" PING\r\n", b"\tPING\r\n", b"\rPING\n", b"PIN G\r\n",
        b"PIxG", b"SUC", b"X" * 10000, b"UNSUB\r1\n", b"SUB\rfoo 1\n", b"\x00", b"\xff\r\n", b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"SU\r\n",
        b"HMSGfoo\r\n", b"-ERR\r\n", b"-ERRx\r\n", b"-ERR\n", b"-EX", b"+x\r\n", b"+O\r\n", b"INF\r\n", b"HM\r\n",
    ]),
    ("arguments that make no sense (P-14, P-15)", HEADERS, [
        b"PUB foo\r\n", b"PUB foo 5 6 7\r\n", b"PUB foo abc\r\n", b"PUB foo -1\r\n", b"PUB foo +1\r\n", b"PUB foo 1.0\r\n",
        b"PUB foo 0x1\r\n", b"PUB foo 1234567890\r\n", b"PUB foo 0000000001\r\n", b"PUB \r\n", b"PUB 5\r\n",
        b"PUB foo bar \r\n", b"SUB foo\r\n", b"SUB \r\n", b"SUB foo a b c\r\n", b"UNSUB \r\n", b"UNSUB 1 2 3\r\n",
        b"HPUB foo\r\n", b"HPUB h 5\r\n", b"HPUB h 9 5\r\nhello\r\n", b"HPUB h r x 5 5\r\nhello\r\n", b"HPUB h x 5\r\n",
        b"HPUB h 5 x\r\n", b"HPUB h -1 3\r\n", b"HPUB h 1 1234567890\r\n", b"PUB foo 5x\r\nhello\r\n", b"PUB foo 1 2 3 4 5 6\r\n",
        b"SUB a b c d e f g\r\n", b"UNSUB a b c d e f\r\n", b"HPUB a b c d e f g h\r\n",
    ]),
    ("HPUB without headers (P-14)", QUIET, [
        b"HPUB a 0 0\r\n\r\n", b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n", b"HPUB foo 1 99999999\r\n", b"HPUB a\r\n",
    ]),
    ("tolerated (P-17)", QUIET, [
        b"+OK\r\n", b"+ok foo\r\n", b"+OK" + b"x" * 10000 + b"\r\n", b"PINGxyz abc\r\n", b"pInG\r\n", b"PING\n", b"PING\rx\n",
        b"pongx y\r\n", b"PING " + b"x" * 10000 + b"\r\n", b"INFO {}\r\n", b"INFO{}\r\n", b"INFO null\r\n", b"info \t {} \r\n",
        b'INFO {"foo":5}\r\n', b"INFO\r\n", b"INFO \r\n", b"INFO {x\r\n", b"INFO []\r\n", b"INFO 1\r\n", b"INFO {} x\r\n",
        b"-ERR \r\n", b"-ERR 'foo'\r\n", b"-err foo\n", b"-ERR\tx\r\n",
        b"HMSG foo 1 12 12\r\nNATS/1.0\r\n\r\n\r\n", b"HMSG foo\r\nx\r\n", b"HMSG \r\nx\r\n", b"HMSG foo 1 r x 1 1\r\nx\r\n",
    ]),
    ("blanks, case, size text (P-10, P-15)", QUIET, [
        b"SUB\t  zz\t 7 \r\nPUB \tzz \t1 \r\nx\r\n",
        b"SUB zz 7\r\nPUB zz 000000001\r\nx\r\nPUB zz 01\r\ny\r\nPUB zz r 002\r\nzz\r\n",
        b"sub a.b abc-DEF.1\r\npUb a.b 1\r\nx\r\nuNsUb abc-DEF.1\r\nPUB a.b 1\r\nx\r\n",
        b"SUB a  q  group-1\r\nPUB a  r  1\r\nx\r\nPUB a\tr\t1\r\ny\r\nUNSUB   group-1  \r\nPUB a 0\r\n\r\n",
        b"SUB A 1\r\nSUB a 2\r\nPUB A 0\r\n\r\nPUB a 0\r\n\r\n",
        b"PUB a 1" + b" " * 3000 + b"\r\nx\r\n",
    ]),
    ("line ends (P-12, P-13)", HEADERS, [
        b"SUB foo 1\nPUB foo 1\nx\r\nUNSUB 1\nPING\n",
        b"SUB foo 1\r\nPUB foo 2\nhi\nPING\r\n",
        b"PUB foo 2\r\nhello\r\n", b"PUB foo 5\r\nhi\r\n", b"PUB foo 2\r\nhi\rx", b"PUB foo 2\r\nhi\n\r",
        b"PUB foo 0\r\nx", b"HPUB foo 0 2\r\nhi\n", b"PUB foo 1\r\n\n\n",
        b"SUB > 1\r\nPUB foo 4\r\n\r\n\r\n\r\nPUB foo 6\r\nPING\r\n\r\n",
        b"SUB > 1\r\nPUB fo\ro 1\r\nx\r\nPUB a r\rr 1\r\nx\r\nHPUB a\rb 0 1\r\nx\r\n",
        b"SUB >\r 1\r\nSUB > a\rgroup-b\r\nPUB a 1\r\nx\r\n", b"SUB >\rq group-1\r\nPUB a 1\r\nx\r\n",
        b"SUB > 1\r\nUNSUB \r1\r\nPUB a 1\r\nx\r\n", b"SUB > 1\r\nUNSUB 1\r2\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\n",
        b"PUB a \r1\r\nx\r\n", b"SUB foo 12\r\r\nPUB foo 1\r\nx\r\n", b"SUB foo 12 \r \r\nPUB foo 1\r\nx\r\n",
        b"SUB foo 12 \r \nPUB foo 1\r\nx\r\n", b'CONNECT {"verbose":true}\r \r\n', b'CONNECT {"verb\rose":true}\r\n',
        b"SUB > 12\r\nUNSUB 12\r3\nPUB a 1\r\nx\r\nPUB a 1\r\nx\r\n",
    ]),
    ("any bytes in subjects and sids (P-20)", HEADERS, [
        b"SUB > 1\r\nPUB a\x00b\x7f\xff\x01\x0b\x0c 1\r\nx\r\n",
        b"SUB a\x00b\xff 1\xfe\x00\r\nPUB a\x00b\xff \x01.\xff 1\r\nx\r\nUNSUB 1\xfe\x00\r\nPUB a\x00b\xff 0\r\n\r\n",
        "SUB größe.温度 1\r\nPUB größe.温度 2\r\nok\r\n".encode(),
        b"SUB foo $#@!'\"{}\r\nPUB foo '\"' 1\r\nx\r\nPUB foo 0\r\n\r\n",
    ]),
    ("headers (P-31, P-32)", HEADERS, [
        b"SUB h 1\r\nHPUB h rep 22 24\r\nNATS/1.0\r\nFoo: bar\r\n\r\nhi\r\nHPUB h 22 24\r\nNATS/1.0\r\nFoo: bar\r\n\r\nhi\r\n",
        b"SUB h 1\r\nHPUB h 0 2\r\nhi\r\nHPUB h 3 5\r\nXYZhi\r\nHPUB h 5 5\r\nXYZhi\r\nHPUB h r 0 0\r\n\r\n",
        b"SUB > 1\r\nHPUB h 00 02\r\nhi\r\nHPUB h 0012 0014\r\nNATS/1.0\r\n\r\nhi\r\nHPUB  h\tr  03  0003 \r\nabc\r\n",
        b"SUB h q group-1\r\nSUB h 2\r\nHPUB h 2 2\r\nxx\r\n",
    ]),
    ("SUB subjects (P-21, P-25)", VERBOSE, [
        *(b"SUB " + subject + b" 9\r\nPUB x 0\r\n\r\n" for subject in (
            b"foo..bar", b".foo", b"foo.", b"foo.>.bar", b">.foo", b".", b"..", b"foo.>.", b">.", b".>", b"*..*", b"*.",
            b"foo*", b"f*o", b"foo>", b">>", b"**", b"a.>b", b"*.*.>", b">",
        )),
        b"SUB f*o 1\r\nPUB f*o 1\r\na\r\nPUB foo 1\r\nb\r\n", b"SUB a.>> 1\r\nPUB a.>> 0\r\n\r\nPUB a.b 0\r\n\r\n",
    ]),
    ("matching, a copy for each subscription (P-20, P-22, P-24, P-34)", QUIET, [
        b"SUB foo.* 1\r\nSUB foo.> 2\r\nSUB foo.bar 3\r\nSUB > 4\r\n" + b"".join(
            b"PUB " + subject + b" 2\r\nhi\r\n" for subject in (
                b"foo", b"foo.bar", b"foo.bar.baz", b"foo.*", b"foo.>", b">", b"*", b"foo..bar", b".foo", b"foo.", b".", b"..")
        ),
        b"SUB *.* 1\r\nSUB > 2\r\nSUB *.b 3\r\nSUB a.> 4\r\nSUB *.> 5\r\n" + b"".join(
            b"PUB " + subject + b" 0\r\n\r\n" for subject in (b"*.b", b"a.>", b">.b", b"a.>.b", b"a.b", b"a", b"a.b.c", b"b.b")
        ),
        b"SUB * 1\r\nSUB a.* 2\r\nPUB > 0\r\n\r\nPUB a.> 0\r\n\r\nPUB foo 0\r\n\r\nPUB foo.a 0\r\n\r\n",
        b"SUB a 1\r\nPUB a foo..bar 0\r\n\r\nPUB a ..> 0\r\n\r\nPUB a foo.* 0\r\n\r\nPUB a . 0\r\n\r\n",
        b"SUB a.b.c.d.e.f.g.h 1\r\nSUB a.*.c.*.e.*.g.* 2\r\nSUB *.*.*.*.*.*.*.> 3\r\nPUB a.b.c.d.e.f.g.h 0\r\n\r\n"
        b"PUB a.b.c.d.e.f.g.h.i 0\r\n\r\n",
    ]),
    ("pedantic (P-23)", PEDANTIC, [
        *(b"PUB " + subject + b" 1\r\nx\r\n" for subject in (
            b"a.*", b"*", b">", b"a.>", b"a..b", b".a", b"a.", b".", b"a*", b">x", b"a", b"a\x00", b"a.*.b")),
        b"SUB foo.* 1\r\nPUB foo.* 2\r\nhi\r\n", b"PUB a.* 99999999\r\n", b"PUB a.* 2\r\nhello\r\n", b"PUB a.* x\r\n",
        b"PUB a ..> 0\r\n\r\n", b"PUB _GR_.* 5\r\nhello\r\n", b"PUB a.* _R_.x 5\r\nhello\r\n",
    ]),
    ("pedantic and verbose (P-18, P-23, P-67)", BOTH, [
        b"SUB w.* 1\r\nPUB w.* 1\r\nx\r\n", b"PUB _GR_.* 1\r\nx\r\n", b"PUB a.* _R_.x 1\r\nx\r\n", b"SUB a..b 1\r\n",
        b"SUB w.* 1\r\nHPUB w.* 1 1\r\nx\r\n",
    ]),
    ("reserved (P-26, P-27)", VERBOSE, [
        *(b"PUB " + subject + b" 1\r\na\r\n" for subject in (
            b"_GR_.x", b"$GR.x", b"$NRG.x", b"_GR_.", b"$GR.", b"$NRG.", b"_GR_", b"$GR", b"$NRG", b"$NRGx", b"$SYS.x",
            b"$JS.API.INFO", b"$MQTT.x", b"_R_.x", b"$GNR.x", b"$JS.ACK.x", b"_GR_x.y", b"a._GR_.x", b"_GR_.*", b"$GR.>")),
        *(b"PUB x " + reply + b" 1\r\na\r\n" for reply in (
            b"_R_.x", b"_R_.", b"_R_", b"_R_x", b"$JS.ACK.a.b", b"$JS.ACK.", b"$JS.ACK", b"_GR_.x", b"_GR_.", b"$GR.x",
            b"$GR.", b"$GNR.x", b"$SYS.x", b"$NRG.x", b"_r_.x")),
        b"PUB _GR_.x _R_.x 1\r\na\r\n", b"SUB $NRGx 1\r\nPUB $NRGx 1\r\na\r\n", b"SUB $SYS.> 1\r\nPUB $SYS.x 1\r\na\r\n",
        b"SUB _GR_.x 1\r\nSUB _R_.x 2\r\nPUB _R_.x 0\r\n\r\n",
    ]),
    ("SUB bookkeeping (P-28)", VERBOSE, [
        b"SUB a 1\r\nSUB b 1\r\nPUB b 1\r\nx\r\nPUB a 1\r\ny\r\n", b"SUB a 1\r\nSUB a.. 1\r\nSUB a.. 2\r\n",
        b"SUB b _sys_ 6\r\n", b"SUB a..b _sys_ 1\r\n", b"SUB a _sys_\r\nSUB a b _sys_\r\nSUB _sys_ 3\r\n", b"SUB a _sys_x 1\r\n",
        b"SUB a..b 1\r\nSUB x 1\r\nSUB a..b 1\r\nPUB x 0\r\n\r\n", b"SUB a 1\r\nUNSUB 1\r\nSUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n",
        b"SUB a 1\r\nSUB a 2\r\nSUB a 3\r\nPUB a 0\r\n\r\nUNSUB 2\r\nPUB a 0\r\n\r\n", b"SUB a 1\r\nSUB a group-1\r\nPUB a 0\r\n\r\n",
    ]),
    ("UNSUB (P-29, P-37)", VERBOSE, [
        b"SUB a 1\r\nUNSUB 1 2\r\n" + b"PUB a 0\r\n\r\n" * 3, b"SUB b 2\r\nPUB b 0\r\n\r\nUNSUB 2 2\r\n" + b"PUB b 0\r\n\r\n" * 2,
        b"SUB a 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\nUNSUB 1 2\r\nPUB a 0\r\n\r\n", b"SUB u 9\r\nUNSUB 9 1\r\nUNSUB 9 3\r\n" + b"PUB u 0\r\n\r\n" * 4,
        *(b"SUB d 3\r\nUNSUB 3 " + max_ + b"\r\nPUB d 1\r\n1\r\n" for max_ in (
            b"abc", b"0", b"-1", b"99999999999", b"999999999", b"1", b"01", b"0000000001", b"1x", b"000000000")),
        b"SUB a 1\r\nUNSUB 1 5\r\nUNSUB 1 0\r\nPUB a 0\r\n\r\n", b"SUB a 1\r\nUNSUB 1 5\r\nUNSUB 1\r\nPUB a 0\r\n\r\n",
        b"SUB a 1\r\nUNSUB 1 2\r\nPUB a 0\r\n\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\n", b"UNSUB nope 3\r\nSUB a nope\r\nPUB a 0\r\n\r\n",
        b"SUB a 1\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB b 0\r\n\r\n",
        b"SUB a 1\r\nSUB a 2\r\nUNSUB 1 1\r\nUNSUB 2 2\r\n" + b"PUB a 0\r\n\r\n" * 3, b"SUB a 1\r\nUNSUB 1 1\r\nSUB a 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\n",
        b"SUB a q group-1\r\nUNSUB group-1 2\r\n" + b"PUB a 0\r\n\r\n" * 3,
        b"SUB a.* 1\r\nUNSUB 1 2\r\nPUB a.1 0\r\n\r\nPUB a.2 0\r\n\r\nPUB a.3 0\r\n\r\n",
    ]),
    ("echo off (P-35)", SILENT, [
        b"SUB a 1\r\nPUB a 1\r\nx\r\n", b"SUB a q group-1\r\nPUB a 1\r\nx\r\n", b"SUB > 1\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\n",
        b'SUB a 1\r\nCONNECT {"echo":true}\r\nSUB a 1\r\nPUB a 0\r\n\r\n',
    ]),
    ("queue groups (P-36)", QUIET, [
        b"SUB a q group-1\r\nSUB a q group-2\r\nSUB a 3\r\nPUB a 1\r\nx\r\n",
        b"SUB foo.* q group-1\r\nSUB foo.bar q group-2\r\n" + b"PUB foo.bar 0\r\n\r\n" * 3, b"SUB b * 4\r\nSUB b > 5\r\nPUB b 1\r\nx\r\n",
        b"SUB a p groupp-1\r\nSUB a p groupp-2\r\nSUB a q groupq-1\r\nSUB a q groupq-2\r\nSUB a q groupq-3\r\n" + b"PUB a 0\r\n\r\n" * 5,
        b"SUB a q group-1\r\nSUB a.* q group-2\r\nSUB > q group-3\r\nPUB a 0\r\n\r\nPUB a.b 0\r\n\r\nPUB c 0\r\n\r\nUNSUB group-3\r\nPUB c 0\r\n\r\n",
    ]),
    ("no responders (P-38)", ASKS, [
        b"SUB _INBOX.a 1\r\nPUB nobody1 _INBOX.a 0\r\n\r\nPUB nobody1 _INBOX.zz 0\r\n\r\nPUB nobody1 0\r\n\r\n",
        b"SUB r.a qq 1\r\nPUB nobody2 r.a 0\r\n\r\n", b"SUB r.* 1\r\nPUB nobody3 r.* 0\r\n\r\nPUB nobody3 r..a 0\r\n\r\n",
        b"SUB r 1\r\nUNSUB 1 1\r\nPUB nobody4 r 0\r\n\r\nPUB nobody4 r 0\r\n\r\n",
        b"SUB r 1\r\nPUB no..body r 0\r\n\r\nHPUB nobody5 r 12 12\r\nNATS/1.0\r\n\r\n\r\nPUB nobody5 nobody6 0\r\n\r\n",
        b"SUB r 1\r\nSUB s 2\r\nPUB s r 0\r\n\r\nPUB r r 0\r\n\r\n", b"SUB r 1\r\nPUB x _R_.x 0\r\n\r\nPUB $NRG.x r 0\r\n\r\n",
        b'CONNECT {"echo":false}\r\nSUB r 1\r\nSUB s 2\r\nPUB s r 0\r\n\r\n', b'CONNECT {"verbose":true}\r\nSUB r 1\r\nPUB s7 r 0\r\n\r\n',
        b"SUB r group-1\r\nPUB " + b"long." * 200 + b"x r 0\r\n\r\n", b'CONNECT {"no_responders":false}\r\nSUB r 1\r\nPUB s8 r 0\r\n\r\n',
    ]),
    ("control line (P-16)", QUIET, [
        b"SUB " + LONG[2:] + b" 1\r\n", b"SUB " + LONG[1:] + b" 1\r\n", b"SUB " + LONG[2:] + b" 1\n", b"SUB " + LONG[1:] + b" 1\n",
        b"SUB    \t  " + LONG[2:] + b" 1\r\n", b"SUB " + LONG[2:] + b" 1 \r\n", b"SUB " + LONG + b"a", b"PUB " + LONG + b"a",
        b"PUB " + LONG[2:] + b" 0\r\n\r\n", b"PUB " + LONG[1:] + b" 0\r\n\r\n", b"UNSUB " + LONG + b"\r\n", b"UNSUB " + LONG + b"a\r\n",
        b"PUB " + b"a" * 5000, b'CONNECT {"name":"' + LONG[11:] + b'"}\r\n', b'CONNECT {"name":"' + LONG[10:] + b'"}\r\n',
        b"CONNECT " + b"{" * 5000, b"-ERR " + LONG + b"\r\n", b"-ERR " + LONG + b"a\r\n", b"INFO " + b"a" * 5000, b"HMSG " + b"a" * 5000,
        b"HPUB " + b"a" * 5000, b"SUB " + b" " * 10000 + b"a 1\r\nPUB a 0\r\n\r\n", b"PUB " + b"a " * 6000 + b"\r\n",
        b"PUB foo 1 2 3 4" + b" " * 6000 + b"\r\n", b"SUB " + LONG[4:] + b"\r 1\r\n", b"sub foo" + b" " * 4096 + b"1\r\n",
    ]),
    ("payload size (P-40)", HEADERS, [
        b"PUB foo 1048577\r\n", b"PUB foo 999999999\r\n", b"HPUB a 99999999 99999999\r\n", b"HPUB a 1 1048577\r\n",
        b"SUB a 1\r\nPUB a 1048576\r\n" + b"x" * 1048576 + b"\r\n", b"SUB a 1\r\nHPUB a 5 1048576\r\n" + b"x" * 1048576 + b"\r\n",
        b"SUB a 1\r\nPUB a 70000\r\n" + b"x" * 70000 + b"\r\n" + b"PUB a 0\r\n\r\n",
    ]),
]  # fmt: skip

UNFINISHED = [
    b"P", b"PIN", b"PING", b"HM", b"HMSG f", b"SUB foo 1", b"SUB foo 1\r", b"PUB", b"PUB foo 5", b"PUB foo 5\r\n", b"PUB foo 5\r\nhel",
    b"PUB foo 5\r\nhello", b"PUB foo 5\r\nhello\r", b"SUB " + LONG, b"SUB " + LONG + b"\r", b"SUB " + b" " * 5000, b"CONNECT {",
    b"PING " + b"x" * 10000, b"C", b"+O", b"-ERR", b"-ERR " + LONG, b"UNSUB", b"INFO " + LONG, b"HPUB h 2 5\r\nab", b"PUB foo 1048576\r\nxy",
]  # fmt: skip
"""Nothing happens: the server waits for more."""


# ---- where authentication is required

USERS: dict[str, Permissions | None] = {
    "all": None,
    "mixed": Permissions(
        publish_allow=("foo.*", "$NRG.>", "_GR_.>", "_R_.>"), publish_deny=("foo.no",),
        subscribe_allow=("foo.>", "bar q1", "baz", "baz v*", "z.> g.*"), subscribe_deny=("foo.secret",),
    ),
    "denied": Permissions(publish_deny=("x.>", "y"), subscribe_deny=("foo.*", "w q", "v *.z", "u >")),
    "allowed": Permissions(publish_allow=("p.*",), subscribe_allow=("foo.*",)),
    "filtered": Permissions(subscribe_deny=("s.1", "s.*.x")),
    "nothing": Permissions(publish_deny=(">",), subscribe_deny=(">",)),
    "answers": Permissions(subscribe_allow=("req.>",), responses_max=2, responses_expire_s=60),
    "answers_and": Permissions(publish_allow=("p.*",), responses_max=1, responses_expire_s=60),
    "asks": Permissions(publish_allow=("zz", "s.>"), subscribe_allow=("_INBOX.>",), subscribe_deny=("_INBOX.no",)),
}  # fmt: skip


def user(name: str, **fields: Any) -> dict[str, Any]:
    return {**VERBOSE, "user": name, "pass": name, **fields}


def subs(*arguments: bytes) -> bytes:
    return b"".join(b"SUB %b s%d\r\n" % (argument, i) for i, argument in enumerate(arguments))


def pubs(*arguments: bytes) -> bytes:
    return b"".join(b"PUB %b 1\r\nx\r\n" % argument for argument in arguments)


GUARDED: list[tuple[dict[str, Any], bytes]] = [
    # what is allowed and not denied (P-60, P-61, P-62), in which order it is looked at (P-67)
    (user("mixed", pedantic=True), pubs(b"nope", b"foo.no", b"foo.*", b"foo.>", b"foo.a.b", b"foo..a", b"foo.a", b"foo")),
    (user("mixed"), pubs(b"$NRG.x", b"_GR_.x", b"_R_.x", b"nope _R_.x", b"foo.x _R_.x", b"foo.x nope", b"nope nope")),
    # subscriptions, with queues in the lists and without (P-62, P-63, P-64)
    (user("mixed"), subs(b"nope", b"foo.secret", b"foo.>", b">", b"bar q1", b"bar", b"bar q2", b"baz v*", b"baz v1", b"baz",
                         b"foo.a.b.c", b"nope..x", b"foo..x", b"foo.*", b"*.a", b"z.a g.1", b"z.a g", b"z.a", b"z.> g.1.2",
                         b"foo.> _sys_", b"foo.a any", b"foo.secret q", b"z.> g.*", b"z.a g.>", b"foo", b"foo.", b".foo")),
    (user("denied"), subs(b"foo.>", b"foo.*", b"foo.bar", b">", b"*.y", b"foo.bar.>", b"foo.bar q", b"w q", b"w", b"w r", b"v a.z",
                          b"v a.y", b"v", b"u a", b"u", b"u a.b", b"foo", b"*.*", b"*.* q", b"foo..x")),
    (user("denied"), pubs(b"x.*", b"x.>", b"*.1", b">", b"x", b"y", b"x.1.2", b"x..1", b"y.", b"*")),
    (user("denied"), subs(b">", b"*.*") + pubs(b"foo.a", b"foo.a.b", b"bar", b"a.b", b"foo")),
    (user("allowed"), subs(b"foo.bar", b"foo.*", b"foo.>", b">", b"*.bar", b"foo.bar.>", b"x.*", b"foo q", b"foo.a q")),
    (user("allowed"), pubs(b"p.>", b"p.*", b"p.a", b"p", b"p.a.b", b"q")),
    # accepted, but not everything comes (P-65, P-37)
    (user("filtered"), b"SUB s.> 1\r\nSUB s.* 2\r\nSUB > q group-3\r\n"
     + pubs(b"s.1", b"s.2", b"s.2.x", b"s.2.y", b"s.*", b"s.*.x", b"s.>", b"s.1", b"s.2")),
    (user("filtered"), b"SUB s.> 1\r\nUNSUB 1 2\r\n" + pubs(b"s.1", b"s.1", b"s.2", b"s.2", b"s.3")),
    (user("filtered"), subs(b"s.1", b"s.a.x", b"s.*.x", b"s.1 q", b"s.*.*", b"s")),
    (user("nothing"), subs(b"a", b">", b"a q") + pubs(b"a", b">", b"a..b", b"a r")),
    (user("asks", headers=True, no_responders=True), b"SUB _INBOX.> 1\r\n" + pubs(b"no _INBOX.1", b"zz _INBOX.1", b"zz _INBOX.no")),
    (user("filtered", headers=True, no_responders=True), b"SUB r 1\r\nSUB s.* 2\r\n" + pubs(b"s.1 r", b"s.2 r")),
    # answers (P-66)
    (user("answers"), pubs(b"inb", b"req.1") + subs(b"req.x", b"inb")),
    (user("answers_and"), pubs(b"inb", b"p.1") + b"SUB p.a 2\r\n" + pubs(b"p.a own", b"own", b"own", b"p.a p.b", b"p.b", b"p.b")),
    # another CONNECT, and who is not let in (P-8, P-56, P-58)
    (user("all"), subs(b"a") + b'CONNECT {"pass":"x"}\r\n'),
    (user("all"), subs(b"a") + b'CONNECT {"user":"mixed","pass":"mixed"}\r\n' + subs(b"no", b"foo.a") + pubs(b"foo.a", b"a")),
    (user("all"), subs(b"a") + b"CONNECT {}\r\n" + subs(b"b") + pubs(b"a", b"b")),
    (user("mixed"), pubs(b"no") + b'CONNECT {"user":"all","pass":"all"}\r\n' + subs(b"no") + pubs(b"no")),
    (user("all", auth_token="x"), b""),
    (user("all", **{"pass": "x"}), b""), (user("all", **{"pass": ""}), b""), (user("nobody"), b""), (QUIET, b""), ({"user": "all"}, b""),
    ({"auth_token": "all"}, b""), (user("all", protocol=7), b""), (user("all", no_responders=True), b""), (user("nobody", protocol=7), b""),
    (user("all", account="x"), b""), (user("nobody", account="x", protocol=7), b""), (user("all", protocol=1), b"PING\r\n"),
]  # fmt: skip
