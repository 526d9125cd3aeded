"""The command line: what it means, what it complains about, and how. Rule P-81, and P-80 as far as flags go."""

from __future__ import annotations

import itertools
import string
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite import __version__, cli, flags
from natslite.cli import Complaint, Process
from natslite.flags import FlagError
from natslite.options import Options, Tls, User

VERSION = f"nats-server: v2.15.1 (natslite {__version__})"


def options(*words: str) -> Options:
    settings = cli.read(words)
    assert not isinstance(settings, str), settings
    return settings[0]


def process(*words: str) -> Process:
    settings = cli.read(words)
    assert not isinstance(settings, str), settings
    return settings[1]


def test_nothing_said() -> None:
    """P-80: 127.0.0.1 and ::1, port 4222, which is what Options says."""
    assert options() == Options()
    assert process() == Process()


@pytest.mark.parametrize("words", [["-p", "1"], ["-p=1"], ["--p", "1"], ["--p=1"], ["--port=1"], ["-port", "1"]])
def test_go_style(words: list[str]) -> None:
    """P-81: one dash or two, short or long, with = or a word of its own."""
    assert options(*words).port == 1


TAKEN: list[tuple[str, str, str, Any]] = [
    ("a addr net", "1.2.3.4", "host", "1.2.3.4"),
    ("p port", "-1", "port", -1),
    ("n name server_name", "x", "server_name", "x"),
    ("m http_port", "8222", "monitor_port", 8222),
    ("auth", "t0ken", "token", "t0ken"),
    ("auth_timeout", "1m30s", "auth_timeout_s", 90.0),
    ("max_payload", "8KB", "payload_bytes_max", 8192),
    ("max_control_line", "8192", "control_line_bytes_max", 8192),
    ("max_pending", "2GB", "pending_bytes_max", 2 << 30),
    ("max_connections", "5", "connections_max", 5),
    ("max_subscriptions", "5", "subscriptions_max", 5),
    ("max_subscription_tokens", "5", "subscription_tokens_max", 5),
    ("ping_interval", "500ms", "ping_interval_s", 0.5),
    ("ping_max", "0", "pings_outstanding_max", 0),
    ("write_deadline", "2s", "write_deadline_s", 2.0),
    ("lame_duck_duration", "1h", "lame_duck_duration_s", 3600.0),
    ("lame_duck_grace_period", "1s", "lame_duck_grace_s", 1.0),
    ("P pid", "f", "pid_file", "f"),
    ("ports_file_dir", "d", "ports_file_dir", "d"),
    ("l log", "f", "log_file", "f"),
    ("D debug", "", "debug", True),
    ("V trace VV", "", "trace", True),
    ("T logtime", "false", "log_time", False),
    ("logtime_utc", "", "log_time_utc", True),
]


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [(name, *rest) for names, *rest in TAKEN for name in names.split()],
    ids=lambda value: str(value),
)
def test_every_flag(name: str, text: str, field: str, value: object) -> None:
    """Each name sets its one setting, and leaves the others."""
    words = [f"-{name}={text}"] if text in ("false", "-1") else [f"-{name}", text] if text else [f"-{name}"]
    before: tuple[Options, Process] = (Options(), Process())
    after = cli.read(words)
    assert not isinstance(after, str)
    changed = {
        key: getattr(new, key)
        for old, new in zip(before, after, strict=True)
        for key in old.__struct_fields__
        if getattr(old, key) != getattr(new, key)
    }
    assert changed == {field: value}


@pytest.mark.parametrize("name", ["DV", "DVV"])
def test_debug_and_trace(name: str) -> None:
    assert (options(f"-{name}").debug, options(f"-{name}").trace) == (True, True)
    assert (options(f"-{name}=false").debug, options(f"-{name}=false").trace) == (False, False)


def test_every_listed_flag_is_tested() -> None:
    tested = {name for names, *_ in TAKEN for name in names.split()}
    tested |= {"DV", "DVV", "user", "pass", "c", "config", "v", "version", "h", "help", "help_tls"}
    tested |= {"tls", "tlscert", "tlskey", "tlscacert", "tlsverify"}
    listed = {name for group in cli.GROUPS.values() for flag in group for name in flag.names}
    assert listed == tested


def test_zero_is_no_port() -> None:
    """As in nats-server: 4222 then, and no monitoring."""
    assert options("-p", "0", "-m", "0") == Options()


def test_empty_is_not_given() -> None:
    assert options("-a", "", "-n=") == Options()
    assert process("-P", "", "--ports_file_dir=", "-l", "") == Process()


def test_last_one_wins() -> None:
    assert options("-p", "1", "--port=2").port == 2


def test_user() -> None:
    assert options("--user", "u", "--pass=p w").users == (User(name="u", password="p w"),)


def test_tls() -> None:
    assert options("--tls=false").tls is None
    pair = ["--tlscert", "c", "--tlskey", "k"]
    assert options(*pair).tls == options("--tls", *pair).tls == Tls(cert_file="c", key_file="k")
    verified = options("--tlsverify", *pair, "--tlscacert", "ca").tls
    assert verified == Tls(cert_file="c", key_file="k", ca_file="ca", verify=True)


def test_short_lame_duck() -> None:
    """A duration alone shortens the grace period with it."""
    assert options("--lame_duck_duration", "6s").lame_duck_grace_s == 0.5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--prot 1", "flag provided but not defined: -prot (did you mean -port?)"),
        ("-max_playload=1", "flag provided but not defined: -max_playload (did you mean -max_payload?)"),
        ("--tlscrt x", "flag provided but not defined: -tlscrt (did you mean -tlscert?)"),
        ("-p", "flag needs an argument: -p"),
        ("-p x", 'invalid value "x" for flag -p: parse error'),
        ("-D=maybe", 'invalid value "maybe" for flag -D: parse error'),
        ("--max_payload 1XB", 'invalid value "1XB" for flag -max_payload: not a size, such as 65536, 64KB or 1MB'),
        ("--ping_interval 5d", 'invalid value "5d" for flag -ping_interval: not a duration, such as 10s, 2m or 250ms'),
        ("---p 1", "bad flag syntax: ---p"),
        ("-=1", "bad flag syntax: -=1"),
    ],
)
def test_bad_flags(words: str, complaint: str) -> None:
    """P-81: an unknown one names the nearest that there is."""
    with pytest.raises(FlagError) as error:
        cli.read(words.split())
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("foo", 'unrecognized command: "foo"'),
        ("-p 1 foo -D", 'unrecognized command: "foo"'),
        ("-c x.conf", "configuration files are not there yet, so 'x.conf' was not read; use flags"),
        ("-js", "-jetstream/-js: not available yet (streams)"),
        ("-js -sd=/data", "-jetstream/-js: not available yet (streams)"),
        ("-t", "-t: not available yet (configuration files)"),
        ("-sl quit", "-signal/-sl: not available yet (sending signals"),
        ("-ms 8443", "-https_port/-ms: not available yet (monitoring over TLS)"),
        ("--log_size_limit 1", "-log_size_limit: not available yet (log rotation"),
        ("-s", "-syslog/-s: not available yet (logging to syslog)"),
        ("-r udp://h:1", "-remote_syslog/-r: not available yet"),
        ("--max_traced_msg_len 1", "-max_traced_msg_len: not available yet"),
        ("--client_advertise h", "-client_advertise: not available yet"),
        ("--profile 1", "-profile: not available yet"),
        ("--cluster nats://h:1", "-cluster: not available, natslite does not form clusters"),
        ("--routes nats://h:1", "-routes: not available, natslite does not form clusters"),
        ("--no_advertise", "-no_advertise: not available, natslite does not form clusters"),
        ("--user u", "-user and -pass go together: -pass is missing"),
        ("--pass p", "-user and -pass go together: -user is missing"),
        ("--auth t --user u --pass p", "cannot have a user and a token"),
        ("--auth=", "-auth: the value is empty"),
        ("--user u --pass=", "-pass: the value is empty"),
        ("-p 65536", "-port must be between -1 and 65,535, not 65,536"),
        ("-m -2", "-http_port must be between -1 and 65,535, not -2"),
        ("--max_payload 0", "-max_payload must be between 1 and 999,999,999, not 0"),
        ("--max_payload 128MB", "-max_payload cannot be higher than -max_pending"),
        ("--max_pending 512KB --max_payload 1MB", "-max_payload cannot be higher than -max_pending"),
        ("--max_pending 99999999999999GB", "-max_pending must be between 1 and"),
        ("--max_subscriptions 99999999999999999999", "-max_subscriptions must be between"),
        ("--max_subscription_tokens 256", "-max_subscription_tokens must be between"),
        ("--write_deadline 0", "-write_deadline must be at least 1ms"),
        ("--ping_max -1", "-ping_max must be between 0 and"),
        ("--ping_interval 99999999999999h", "-ping_interval must be between"),
        ("--lame_duck_duration 1s --lame_duck_grace_period 2s", "-lame_duck_grace_period must not be longer than"),
        ("--tls", "TLS Server certificate must be present and valid"),
        ("--tls --tlscert c", "TLS Server private key must be present and valid"),
        ("--tlskey k", "TLS Server certificate must be present and valid"),
        ("--tlsverify --tlscert c --tlskey k", "-tlsverify needs -tlscacert"),
        ("--tls=false --tlscert c --tlskey k", "-tls=false and -tlscert contradict each other"),
    ],
)
def test_complaints(words: str, complaint: str) -> None:
    with pytest.raises(Complaint) as error:
        cli.read(words.split())
    assert str(error.value).startswith(complaint)


def test_name_with_space() -> None:
    with pytest.raises(Complaint, match="server name cannot contain spaces"):
        cli.read(["-n", "a b"])


def test_refused_flags_that_ask_for_nothing() -> None:
    assert options("-js=false", "-t=false", "-s=false") == Options()


@pytest.mark.parametrize(
    ("text", "bytes_"), [("0", 0), ("65536", 65536), ("1K", 1024), ("1kb", 1024), ("3MiB", 3 << 20), ("-1", -1)]
)
def test_size(text: str, bytes_: int) -> None:
    assert flags.size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("2m", 120), ("1h1m1s", 3661), ("1.5s", 1.5), ("250ms", 0.25), ("7", 7)]
)
def test_duration(text: str, seconds: float) -> None:
    assert flags.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1s ", "-x", "1x", "1s2"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        flags.duration(text)


def test_a_store_without_streams() -> None:
    """As for nats-server: it says where they would be, and no more."""
    assert options("-sd", "/data") == options()


def test_a_negative_duration() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        flags.duration("-1m30s")


NAMES = [flag.names for group in [*cli.GROUPS.values(), cli.NOT_YET, cli.CLUSTERS] for flag in group]
WORD = st.one_of(
    st.sampled_from(list(itertools.chain.from_iterable(NAMES))).flatmap(
        lambda name: st.sampled_from([f"-{name}", f"--{name}", f"-{name}=1", f"-{name}=x", f"-{name}="])
    ),
    st.text(string.printable, max_size=8),
    st.from_regex(r"-{0,3}[0-9a-z]{1,9}(=-?[0-9]{1,30}(KB|s|)?)?", fullmatch=True),
)


@given(st.lists(WORD, max_size=6))
def test_any_words(words: list[str]) -> None:
    """Whatever is typed is understood or complained about, with one line of text."""
    complaint = ""
    try:
        settings = cli.read(words)
    except (FlagError, Complaint) as error:
        complaint = str(error)
    assert complaint or isinstance(settings, str) or isinstance(settings[0], Options)


# ---- as a command


@pytest.mark.parametrize("words", [["-v"], ["--version"], ["version"], ["-p", "1", "-v"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """P-81: what scripts take the number from."""
    assert cli.main(words) == 0
    assert capsys.readouterr() == (VERSION + "\n", "")


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["help"], ["help", "me"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: natslite-server [flags]\n")
    for group in cli.GROUPS.values():
        for flag in group:
            for name in flag.names:
                assert f"-{name}" in out
    assert max(map(len, out.splitlines())) <= 120


def test_help_tls(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help_tls"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "--tlscacert <file>" in out


def test_failures_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """P-81: exit code 1, a text on stderr, nothing on stdout."""
    assert cli.main(["--prot", "1"]) == 1
    assert capsys.readouterr() == (
        "",
        "flag provided but not defined: -prot (did you mean -port?)\nnatslite-server -h lists the flags\n",
    )
    assert cli.main(["foo"]) == 1
    assert capsys.readouterr() == ("", 'nats-server: unrecognized command: "foo"\n')


def test_version_is_quick() -> None:
    """Whoever only asks for the version does not wait for what a server needs."""
    code = "import sys; from natslite.cli import main; main(['-v']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[1].split())
    assert not loaded & {"trio", "ssl", "h11", "bcrypt", "argparse", "difflib", "json", "natslite.server"}
