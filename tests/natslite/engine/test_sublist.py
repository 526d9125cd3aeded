"""The sublist against the naive rule: a pattern matches a subject token by token (P-20 to P-25)."""

from __future__ import annotations

import gc
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natslite.engine.inbox import Inbox
from natslite.engine.receiver import Turn
from natslite.engine.sublist import Sublist
from natslite.subjects import matches

token = st.sampled_from([b"a", b"b", b"c", b"telemetry", b"*a", b"a>"])
literal = st.lists(token, min_size=1, max_size=4).map(b".".join)
pattern = st.tuples(st.lists(st.one_of(token, st.just(b"*")), min_size=0, max_size=4), st.booleans()).map(
    lambda drawn: b".".join([*drawn[0], *([b">"] if drawn[1] or not drawn[0] else [])])
)


def sid(tag: int) -> bytes:
    return tag.to_bytes(8, "little")


@given(
    operations=st.lists(
        st.one_of(
            st.tuples(st.just("sub"), pattern, st.sampled_from([None, b"q", b"r"])),
            st.tuples(st.just("unsub"), st.integers(0, 30), st.none()),
            st.tuples(st.just("match"), literal, st.none()),
        ),
        max_size=60,
    ),
    cache_bytes_max=st.sampled_from([0, 600, 1 << 20]),
)
def test_matches_what_the_naive_rule_matches(operations, cache_bytes_max):
    sublist = Sublist(cache_bytes_max=cache_bytes_max)
    inbox = Inbox(Turn(), sublist, None)
    live: dict[int, tuple[bytes, bytes | None]] = {}
    for number, (what, argument, queue) in enumerate(operations):
        if what == "sub":
            inbox.subscribe(argument, number, queue)
            live[number] = (argument, queue)
        elif what == "unsub":
            inbox.unsubscribe(argument)
            live.pop(argument, None)
        else:
            for _ in range(3):  # cold, seen once, cached
                plain, groups = sublist.matches(argument)
                wanted = {tag for tag, (known, group) in live.items() if matches(known, argument) and group is None}
                assert sorted(plain) == sorted(sid(tag) for tag in wanted)
                for group in (b"q", b"r"):
                    members = {t for t, (known, g) in live.items() if g == group and matches(known, argument)}
                    found = [set(g) for g in groups if set(g) & {sid(t) for t in members}]
                    assert found == ([{sid(t) for t in members}] if members else [])
    assert len(sublist) == len(live)


def test_an_empty_sublist_holds_nothing_after_ten_thousand_came_and_went():
    sublist = Sublist()
    inbox = Inbox(Turn(), sublist, None)
    patterns = [b"a.%d.b" % i for i in range(5000)] + [b"*.%d" % i for i in range(5000)]
    for tag, text in enumerate(patterns):
        inbox.subscribe(text, tag)
    order = list(range(len(patterns)))
    random.Random(1).shuffle(order)
    for tag in order:
        inbox.unsubscribe(tag)
    assert len(sublist) == sublist.size == 0
    assert sublist.matches(b"a.7.b") == ([], [])
    assert not sublist.has_interest(b"x.7")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_whoever_leaves_first_nothing_stays(order):
    """A node that has subscriptions and once had others below it was left behind."""
    sublist = Sublist()
    inbox = Inbox(Turn(), sublist, None)
    for tag, pattern in enumerate((b"x", b"x.b", b"x.b.*", b"x.>")):
        inbox.subscribe(pattern, tag)
    for tag in order:
        inbox.unsubscribe(tag)
    assert len(sublist) == sublist.size == 0


def test_an_inbox_lives_as_long_as_it_subscribes():
    """Freed in the middle of a fan-out, it would take the subscriptions with it that the fan-out is about to serve."""
    sublist = Sublist()
    Inbox(Turn(), sublist, None).subscribe(b"a", 1)
    gc.collect()
    (inbox,) = sublist.inboxes
    assert sublist.has_interest(b"a")
    inbox.close()
    assert (len(sublist), sublist.inboxes) == (0, set())


def test_the_cache_stays_within_its_bytes():
    sublist = Sublist(cache_bytes_max=4096)
    inbox = Inbox(Turn(), sublist, None)
    inbox.subscribe(b"t.>", 1)
    for _ in range(3):
        for i in range(1000):
            assert sublist.matches(b"t.%d" % i)[0] == [sid(1)]
    assert 0 < sublist.cached < 4096 // 64


def test_subjects_used_once_are_not_cached():
    sublist = Sublist()
    inbox = Inbox(Turn(), sublist, None)
    inbox.subscribe(b">", 1)
    for _ in range(5):
        for i in range(100):
            sublist.matches(b"_INBOX.abc.%d" % i)
            sublist.matches(b"$JS.ACK.s.c.1.%d" % i)
    assert sublist.cached == 0


def test_changes_name_each_pattern_while_somebody_watches():
    sublist = Sublist()
    inbox = Inbox(Turn(), sublist, None)
    sublist.changes = []
    inbox.subscribe(b"a.*", 1)
    inbox.subscribe(b"b.c", 2)
    inbox.unsubscribe(1)
    assert sublist.changes == [b"a.*", b"b.c", b"a.*"]


def test_tags_and_subjects_are_checked():
    inbox = Inbox(Turn(), Sublist(), None)
    inbox.subscribe(b"a", 1)
    for subject, tag in [(b"a", 1), (b"a..b", 2), (b"", 3), (b"a.>.b", 4)]:
        try:
            inbox.subscribe(subject, tag)
        except ValueError:
            continue
        raise AssertionError(f"{subject!r} with tag {tag} was taken")
