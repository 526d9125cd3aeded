"""Who is let in, apart from any server (P-56, P-57)."""

from __future__ import annotations

import threading
import time

import bcrypt
import pytest
import trio

from natslite.auth import passwords
from natslite.auth.passwords import (
    COST_MAX,
    DENIED,
    TOKEN_HOLDER,
    Authenticator,
    PasswordError,
    is_bcrypt,
)
from natslite.connect import Connect
from natslite.options import Options, User


def hashed(password: str, prefix: bytes = b"2b") -> str:
    """The cheapest hash there is."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).replace(b"$2b$", b"$%b$" % prefix).decode()


ANN = User(name="ann", password="secret")
BOB = User(name="bob", password=hashed("hunter2"))


def said(user: str = "", password: str = "", token: str = "") -> Connect:
    return Connect(user=user, password=password, auth_token=token)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords for which a hash was computed."""
    computed: list[str] = []
    real = passwords._hash_matches

    def count(given: str, wanted: str) -> bool:
        computed.append(given)
        assert threading.current_thread() is not threading.main_thread()
        return real(given, wanted)

    monkeypatch.setattr(passwords, "_hash_matches", count)
    return computed


@pytest.mark.parametrize(
    ("secret", "is_one"),
    [
        ("$2a$11$abc", True), ("$2b$04$", True), ("$2x$10$x", True), ("$2y$12$x", True),
        ("$2c$11$abc", False), ("$2$11$abc", False), ("2a$11$abc", False), (" $2a$11$", False), ("$2a$1$abc", False),
        ("$2a$xx$abc", False), ("", False), ("secret", False),
    ],
)  # fmt: skip
def test_what_is_a_hash(secret, is_one):
    assert is_bcrypt(secret) is is_one


async def test_a_token():
    check = Authenticator(Options(token="s3cr3t")).check_nowait
    assert check(said(token="s3cr3t")) is TOKEN_HOLDER
    assert check(said("ann", "x", token="s3cr3t")) is TOKEN_HOLDER
    for wrong in said(), said(token="s3cr3"), said(token="s3cr3t "), said(token="S3CR3T"), said("s3cr3t", "s3cr3t"):
        assert check(wrong) is DENIED


async def test_a_user_with_a_plain_password():
    check = Authenticator(Options(users=(ANN, User(name="é", password="\U0001f600")))).check_nowait
    assert check(said("ann", "secret")) is ANN
    assert check(said("é", "\U0001f600")) is not DENIED
    for wrong in (
        said(), said("ann"), said("ann", "Secret"), said("Ann", "secret"), said("bob", "secret"), said("", "secret"),
        said(token="secret"), said("ann", "secret\0"), said("ann", "\ud800"),
    ):  # fmt: skip
        assert check(wrong) is DENIED


async def test_empty_secrets_are_secrets():
    assert Authenticator(Options(token="")).check_nowait(said()) is TOKEN_HOLDER
    nobody = User(name="", password="")
    assert Authenticator(Options(users=(nobody,))).check_nowait(said()) is nobody
    assert Authenticator(Options(users=(nobody,))).check_nowait(said("", "x")) is DENIED


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2x", b"2y"])
async def test_a_hash_is_computed_in_a_thread(prefix, hashes):
    user = User(name="bob", password=hashed("hunter2", prefix))
    authenticator = Authenticator(Options(users=(user,)))
    for right, wrong in ((said("bob", "hunter2"), said("bob", "hunter3")),):
        assert authenticator.check_nowait(right) is None
        assert authenticator.check_nowait(wrong) is None
        assert await authenticator.check(right) is user
        assert await authenticator.check(wrong) is DENIED
    assert hashes == ["hunter2", "hunter3"]


async def test_a_token_may_be_a_hash(hashes):
    authenticator = Authenticator(Options(token=hashed("s3cr3t")))
    assert await authenticator.check(said(token="s3cr3t")) is TOKEN_HOLDER
    assert await authenticator.check(said(token="x")) is DENIED
    assert await authenticator.check(said(token=authenticator._token)) is DENIED


async def test_a_success_is_remembered_for_a_minute(hashes, mock_clock):
    """P-57."""
    authenticator = Authenticator(Options(users=(BOB,)))
    assert await authenticator.check(said("bob", "hunter2")) is BOB
    mock_clock.jump(59.9)
    assert authenticator.check_nowait(said("bob", "hunter2")) is BOB
    assert authenticator.check_nowait(said("bob", "x")) is None
    mock_clock.jump(0.2)
    assert authenticator.check_nowait(said("bob", "hunter2")) is None
    assert len(hashes) == 1


async def test_a_failure_is_not_remembered(hashes):
    authenticator = Authenticator(Options(users=(BOB,)))
    for _ in range(3):
        assert await authenticator.check(said("bob", "x")) is DENIED
    assert len(hashes) == 3


async def test_a_fleet_that_comes_at_once_is_hashed_once(hashes):
    authenticator = Authenticator(Options(users=(BOB,)))
    let_in = []

    async def come() -> None:
        let_in.append(await authenticator.check(said("bob", "hunter2")))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(come)
    assert let_in == [BOB] * 100
    assert len(hashes) == 1


async def test_who_gave_up_is_not_waited_for(hashes):
    authenticator = Authenticator(Options(users=(BOB,)))
    assert await authenticator.check(said("bob", "hunter2"), lambda: False) is None
    assert hashes == []


async def test_hashes_are_computed_one_at_a_time(monkeypatch):
    """P-57."""
    running: list[int] = []
    most: list[int] = []

    def compute(given: str, wanted: str) -> bool:
        running.append(1)
        most.append(len(running))
        time.sleep(0)
        running.pop()
        return False

    monkeypatch.setattr(passwords, "_hash_matches", compute)
    authenticator = Authenticator(Options(users=(BOB,)))
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(authenticator.check, said("bob", str(i)))
    assert max(most) == 1
    assert len(most) == 20


async def test_an_unknown_user_costs_a_hash_too(hashes):
    """P-57: also with the password of somebody else, which may be remembered."""
    dear = User(name="eve", password=bcrypt.hashpw(b"x", bcrypt.gensalt(5)).decode())
    authenticator = Authenticator(Options(users=(BOB, dear)))
    assert authenticator._dummy == dear.password
    for password in "hunter2", "x":
        assert await authenticator.check(said("eve" if password == "x" else "bob", password)) is not DENIED
        assert authenticator.check_nowait(said("nobody", password)) is None
        assert await authenticator.check(said("nobody", password)) is DENIED
    assert len(hashes) == 4


async def test_a_wrong_plain_password_costs_a_hash_where_others_have_one(hashes):
    authenticator = Authenticator(Options(users=(ANN, BOB)))
    assert authenticator.check_nowait(said("ann", "secret")) is ANN
    for password in "x", "hunter2":
        assert await authenticator.check(said("ann", password)) is DENIED
    assert hashes == ["x", "hunter2"]


@pytest.mark.parametrize("given", ["x" * 73, "é" * 40, "a\0b", "\ud800", "x" * 100_000, ""])
async def test_odd_passwords_are_wrong_and_no_fault(given):
    assert await Authenticator(Options(users=(BOB,))).check(said("bob", given)) is DENIED


async def test_bcrypt_looks_at_72_bytes():
    user = User(name="long", password=hashed("x" * 72))
    assert await Authenticator(Options(users=(user,))).check(said("long", "x" * 80)) is user


def test_a_hash_that_would_take_for_ever_is_refused_at_start():
    dear = f"$2b${COST_MAX + 1}$" + "." * 53
    with pytest.raises(PasswordError, match="user 'bob' has cost 17: 16 is the most"):
        Authenticator(Options(users=(ANN, User(name="bob", password=dear))))
    with pytest.raises(PasswordError, match="the token has cost 17"):
        Authenticator(Options(token=dear))
    Authenticator(Options(token=f"$2b${COST_MAX}$" + "." * 53))


@pytest.mark.parametrize("wanted", ["$2a$11$abc", "$2a$00$" + "." * 53, "$2b$04$" + "é" * 53])
def test_a_hash_that_is_none_is_refused_at_start(wanted):
    """P-56: nobody could log in, and nobody would know why."""
    with pytest.raises(PasswordError, match="the bcrypt hash of user 'bob' is none"):
        Authenticator(Options(users=(User(name="bob", password=wanted),)))


async def test_plain_secrets_are_compared_in_constant_time():
    """P-57: a wrong first letter takes as long as a wrong last one, and an unknown user as long as a known one: medians of
    many tries, taken in turn."""
    secret = "s" * 200
    check = Authenticator(Options(users=(User(name="ann", password=secret),))).check_nowait
    cases = [said("ann", "x" + secret[1:]), said("ann", secret[:-1] + "x"), said("bob", "x" + secret[1:])]
    taken: list[list[int]] = [[] for _ in cases]
    for _ in range(3000):
        for case, times in zip(cases, taken, strict=True):
            began = time.perf_counter_ns()
            check(case)
            times.append(time.perf_counter_ns() - began)
    medians = [sorted(times)[len(times) // 2] for times in taken]
    assert max(medians) < 1.5 * min(medians)
