"""Subjects: tokens separated by dots, wildcards `*` and `>`. Rules P-20 to P-25, in their plainest form.

Pure; the engine's sublist does the same compiled, and its tests compare it with this.
"""

from __future__ import annotations


def tokens(subject: bytes) -> list[bytes]:
    """The tokens, empty ones included."""
    return subject.split(b".")


def is_valid_subject(subject: bytes) -> bool:
    """Fit for a subscription: no empty token, `>` only as the last one (P-21)."""
    parts = tokens(subject)
    return all(parts) and b">" not in parts[:-1]


def is_valid_literal_subject(subject: bytes) -> bool:
    """Fit for publishing: valid, without wildcards, and without bytes that end a word on the wire (P-23)."""
    parts = tokens(subject)
    return all(parts) and b"*" not in parts and b">" not in parts and not set(subject) & set(b" \t\r\n")


def matches(pattern: bytes, subject: bytes) -> bool:
    """Whether a message on `subject` reaches a subscription to `pattern` (P-22). The subject is taken as text: its
    own `*` and `>` are plain tokens (P-24); with an empty token it matches nothing."""
    wanted, given = tokens(pattern), tokens(subject)
    if not all(given):
        return False
    for i, token in enumerate(wanted):
        if token == b">":
            return len(given) > i
        if i >= len(given) or (token != b"*" and token != given[i]):
            return False
    return len(wanted) == len(given)
