"""The command `natslite-server`: flags into one frozen Options, then the daemon. Rules P-80 and P-81.

Here and only here is the command line understood; `natslite.flags` knows how Go writes flags, this knows which there
are and what they may be together. Imports nothing heavy before it is known that a server is wanted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from natslite import __version__, flags
from natslite.flags import Flag, FlagError
from natslite.options import BOUNDS, NATS_VERSION, Options, Tls, User

PROGRAM = "nats-server"
"""How complaints begin, as tools around NATS expect."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What concerns the process and not the server."""

    pid_file: str | None = None
    ports_file_dir: str | None = None
    log_file: str | None = None
    log_time: bool = True
    log_time_utc: bool = False


SERVER = [
    Flag(("addr", "a", "net"), "address to listen on (default: 127.0.0.1 and ::1)", str, "host"),
    Flag(("port", "p"), "port to listen on, -1 for any free one (default: 4222)", int, "port"),
    Flag(("name", "n", "server_name"), "name of the server (default: its id)", str, "name"),
    Flag(("pid", "P"), "file to write the process id to", str, "file"),
    Flag(("ports_file_dir",), "directory for a file that tells the ports", str, "dir"),
    Flag(("http_port", "m"), "port for monitoring (/varz, /healthz), -1 for any free one", int, "port"),
    Flag(("config", "c"), "configuration file (not there yet)", str, "file"),
    Flag(("version", "v"), "print the version"),
    Flag(("help", "h"), "print this"),
    Flag(("help_tls",), "print what concerns TLS"),
]
LOGGING = [
    Flag(("log", "l"), "file to log to instead of stderr", str, "file"),
    Flag(("logtime", "T"), "begin log lines with the time (default: true)"),
    Flag(("logtime_utc",), "the time in UTC"),
    Flag(("debug", "D"), "log more"),
    Flag(("trace", "V"), "log everything that clients send and get"),
    Flag(("DV", "DVV"), "both"),
    Flag(("VV",), "trace, more verbosely"),
]
AUTHORIZATION = [
    Flag(("user",), "user that clients must name", str, "name"),
    Flag(("pass",), "the user's password, plain or a bcrypt hash", str, "password"),
    Flag(("auth",), "token that clients must send", str, "token"),
    Flag(("auth_timeout",), "how long a client may take to authenticate", flags.duration, "time"),
]
TLS = [
    Flag(("tls",), "speak TLS, without checking client certificates"),
    Flag(("tlscert",), "certificate of the server", str, "file"),
    Flag(("tlskey",), "private key of the certificate", str, "file"),
    Flag(("tlscacert",), "certificates that client certificates are signed by", str, "file"),
    Flag(("tlsverify",), "speak TLS, and ask clients for a certificate"),
]
LIMITS = [
    Flag(("max_payload",), "largest message (default: 1MB)", flags.size, "size"),
    Flag(("max_control_line",), "longest line of the protocol (default: 4KB)", flags.size, "size"),
    Flag(("max_pending",), "most that may wait for one client (default: 64MB)", flags.size, "size"),
    Flag(("max_connections",), "most clients (default: 65536)", int, "n"),
    Flag(("max_subscriptions",), "most subscriptions of one client (default: unlimited)", int, "n"),
    Flag(("max_subscription_tokens",), "most tokens in a subscription (default: unlimited)", int, "n"),
    Flag(("ping_interval",), "how often clients are pinged (default: 2m)", flags.duration, "time"),
    Flag(("ping_max",), "pings that may stay unanswered (default: 2)", int, "n"),
    Flag(("write_deadline",), "how long a client may take nothing (default: 10s)", flags.duration, "time"),
    Flag(
        ("lame_duck_duration",),
        "time over which clients are sent away on SIGUSR2 (default: 2m)",
        flags.duration,
        "time",
    ),
    Flag(("lame_duck_grace_period",), "time before the first is sent away (default: 10s)", flags.duration, "time"),
]
NOT_YET = [
    Flag(("jetstream", "js"), "streams"),
    Flag(("signal", "sl"), "sending signals to a running server; kill -s does", str, "signal"),
    Flag(("t",), "configuration files"),
    Flag(("https_port", "ms"), "monitoring over TLS", int, "port"),
    Flag(("log_size_limit",), "log rotation by size; SIGUSR1 reopens the file after a move", str, "size"),
    Flag(("syslog", "s"), "logging to syslog"),
    Flag(("remote_syslog", "r"), "logging to a remote syslog", str, "address"),
    Flag(("max_traced_msg_len",), "shorter traces", int, "n"),
    Flag(("client_advertise",), "another address in INFO", str, "address"),
    Flag(("profile",), "profiling", int, "port"),
]
"""Of nats-server, with what they would need. `-js=false` and the like ask for nothing and are fine."""

WITHOUT_EFFECT = [Flag(("store_dir", "sd"), "where streams are kept, which are not there yet", str, "dir")]
"""As in nats-server without `-js`."""

CLUSTERS = [
    Flag((name,), "clusters", str, "url")
    for name in ("routes", "cluster", "cluster_listen", "cluster_name", "cluster_advertise", "connect_retries")
]
CLUSTERS.append(Flag(("no_advertise",), "clusters"))

GROUPS = {
    "Server": SERVER,
    "Logging": LOGGING,
    "Authorization": AUTHORIZATION,
    "TLS": TLS,
    "Limits": LIMITS,
}


FIELDS = {
    "host": "addr",
    "port": "port",
    "server_name": "name",
    "monitor_port": "http_port",
    "token": "auth",
    "auth_timeout_s": "auth_timeout",
    "payload_bytes_max": "max_payload",
    "control_line_bytes_max": "max_control_line",
    "pending_bytes_max": "max_pending",
    "connections_max": "max_connections",
    "subscriptions_max": "max_subscriptions",
    "subscription_tokens_max": "max_subscription_tokens",
    "ping_interval_s": "ping_interval",
    "pings_outstanding_max": "ping_max",
    "write_deadline_s": "write_deadline",
    "lame_duck_duration_s": "lame_duck_duration",
    "lame_duck_grace_s": "lame_duck_grace_period",
}
"""Of Options, and the flags that set them."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Those that mean something to the daemon."""


class Complaint(Exception):
    """Something on the command line that cannot be; ends the program with status 1."""


def usage() -> str:
    parts = ["Usage: natslite-server [flags]\n"]
    parts += [f"{title}:\n{flags.usage(group)}\n" for title, group in GROUPS.items()]
    return "\n".join(parts)


def version() -> str:
    return f"nats-server: v{NATS_VERSION} (natslite {__version__})"


def read(words: Sequence[str]) -> tuple[Options, Process] | str:
    """The settings that the words of a command line stand for, or a text to print instead of running.

    Complaint: the words make no sense together; FlagError: one of them alone."""
    every = [flag for group in GROUPS.values() for flag in group] + NOT_YET + WITHOUT_EFFECT + CLUSTERS
    values, rest = flags.parse(words, every)
    if rest[:1] in (["version"], ["help"]):
        values[rest[0]] = True
    elif rest:
        raise Complaint(f'unrecognized command: "{rest[0]}"')
    if values.get("help"):
        return usage()
    if values.get("help_tls"):
        return f"TLS:\n{flags.usage(TLS)}"
    if values.get("version"):
        return version()
    # to nats-server an empty text is as good as none
    values = {name: value for name, value in values.items() if value != "" or name in ("user", "pass", "auth")}
    _complain(values)
    process = Process(
        pid_file=values.get("pid"),
        ports_file_dir=values.get("ports_file_dir"),
        log_file=values.get("log"),
        log_time=values.get("logtime", True),
        log_time_utc=values.get("logtime_utc", False),
    )
    return _options(values), process


def _complain(values: dict[str, Any]) -> None:
    if "config" in values:
        raise Complaint(
            f"configuration files are not there yet, so {values['config']!r} was not read; "
            "use flags (natslite-server -h lists them)"
        )
    for flag in NOT_YET:
        if values.get(flag.names[0], False) is not False:
            raise Complaint(f"{_names(flag)}: not available yet ({flag.help})")
    for flag in CLUSTERS:
        if values.get(flag.names[0], False) is not False:
            raise Complaint(f"{_names(flag)}: not available, natslite does not form {flag.help}")
    for field, (least, most) in BOUNDS.items():
        name = FIELDS[field]
        if not least <= values.get(name, most) <= most:
            if field.endswith("_s") and values[name] < least:
                raise Complaint(f"-{name} must be at least {least * 1000:g}ms")
            raise Complaint(f"-{name} must be between {least:,} and {most:,}, not {values[name]:,}")
    for name in ("user", "pass", "auth"):
        # an unset variable in a script must not let everybody in
        if values.get(name) == "":
            raise Complaint(f"-{name}: the value is empty")
    if "auth" in values and ("user" in values or "pass" in values):
        raise Complaint("cannot have a user and a token: use -user with -pass, or -auth")
    if ("user" in values) != ("pass" in values):
        raise Complaint("-user and -pass go together: " + ("-pass" if "user" in values else "-user") + " is missing")
    if values.get("max_payload", 0) > values.get("max_pending", Options().pending_bytes_max):
        raise Complaint("-max_payload cannot be higher than -max_pending")
    if " " in values.get("name", ""):
        raise Complaint("server name cannot contain spaces")


def _names(flag: Flag) -> str:
    return "/".join(f"-{name}" for name in flag.names)


def _options(values: dict[str, Any]) -> Options:
    given: dict[str, Any] = {field: values[flag] for field, flag in FIELDS.items() if flag in values}
    # as in nats-server, 0 is no port: the usual one for clients, none for monitoring
    if given.get("port") == 0:
        del given["port"]
    if given.get("monitor_port") == 0:
        del given["monitor_port"]
    if "user" in values:
        given["users"] = (User(name=values["user"], password=values["pass"]),)
    both = values.get("DV", False)
    given["debug"] = both or values.get("debug", False)
    given["trace"] = both or values.get("trace", False) or values.get("VV", False)
    tls = _tls(values)
    if tls is not None:
        given["tls"] = tls
    if given.get("lame_duck_duration_s", 120.0) < given.get("lame_duck_grace_s", 10.0):
        if "lame_duck_grace_s" in given:
            raise Complaint("-lame_duck_grace_period must not be longer than -lame_duck_duration")
        given["lame_duck_grace_s"] = given["lame_duck_duration_s"] / 12
    return Options(**given)


def _tls(values: dict[str, Any]) -> Tls | None:
    wanted = [name for name in ("tls", "tlsverify", "tlscert", "tlskey", "tlscacert") if values.get(name)]
    if not wanted:
        return None
    if values.get("tls") is False:
        raise Complaint(f"-tls=false and -{wanted[0]} contradict each other")
    if "tlscert" not in values:
        raise Complaint("TLS Server certificate must be present and valid: -tlscert <file> is missing")
    if "tlskey" not in values:
        raise Complaint("TLS Server private key must be present and valid: -tlskey <file> is missing")
    if values.get("tlsverify") and "tlscacert" not in values:
        raise Complaint("-tlsverify needs -tlscacert <file>, the certificates that clients are checked against")
    return Tls(
        cert_file=values["tlscert"],
        key_file=values["tlskey"],
        ca_file=values.get("tlscacert"),
        verify=values.get("tlsverify", False),
    )


def _fail(text: str) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return 1


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; its exit status."""
    try:
        settings = read(sys.argv[1:] if words is None else words)
    except FlagError as error:
        print(f"{error}\nnatslite-server -h lists the flags", file=sys.stderr)
        return 1
    except Complaint as error:
        return _fail(str(error))
    if isinstance(settings, str):
        print(settings)
        return 0
    # from here on signals wait until there is somebody to obey them: Python's own handlers would end the start with a
    # stack, or lose one that comes in the middle of an import (P-82)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    from natslite import daemon

    return daemon.main(*settings)
