"""protocol.md and what cites it: every rule has a test that names it, and every rule that is named exists.

A range names nobody: `P-30 to P-34` in a module's docstring says what the module is about, not that P-33 has a test. So
only the rules that stand alone count here, where a test or its table says them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = (ROOT / "protocol.md").read_text()
SOURCES = sorted(
    path
    for folder in (ROOT / "natslite", ROOT / "tests")
    for path in folder.rglob("*")
    if path.suffix in (".py", ".pyx", ".pxd", ".pyi") and path != Path(__file__)
)
TABLES = {"tests/natslite/scripts.py"}
"""Modules without tests of their own, whose entries are cases of the tests beside them."""

RULE = re.compile(r"^\*\*(P-\d+)\*\*", re.MULTILINE)
CITATION = re.compile(r"\bP-\d+\b")
RANGE = re.compile(r"P-\d+ (?:to P-\d+|and following)")

RULES = RULE.findall(CONTRACT)


def names(text: str) -> set[str]:
    """The rules that a text names one by one."""
    return set(CITATION.findall(RANGE.sub("", text)))


def said_by_tests(source: str) -> Iterator[str]:
    """Comments and strings of a module's tests and tables; not its docstring, nor what helpers say."""
    apart: set[int] = set()
    for i, node in enumerate(ast.parse(source).body):
        is_docstring = i == 0 and isinstance(node, ast.Expr)
        is_helper = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("test_")
        if is_docstring or is_helper:
            apart |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) and token.start[0] not in apart:
            yield token.string


def test_rules_are_numbered_once() -> None:
    assert len(RULES) > 70
    assert sorted(RULES) == sorted(set(RULES))


def test_every_rule_has_a_test_that_names_it() -> None:
    """A promise that no test cites is a promise that nobody keeps."""
    tests = [path for path in SOURCES if path.name.startswith("test_") or path.relative_to(ROOT).as_posix() in TABLES]
    named = {rule for path in tests for text in said_by_tests(path.read_text()) for rule in names(text)}
    assert [rule for rule in RULES if rule not in named] == []


@pytest.mark.parametrize("path", [ROOT / "protocol.md", *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_rule_that_is_named_exists(path: Path) -> None:
    """Also at the ends of a range, and where the contract refers to itself."""
    assert set(CITATION.findall(path.read_text())) - set(RULES) == set()


# ---- the tests of this test


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""P-1."""', set()),
        ('"""Of a module."""\n\ndef test_a():\n    """P-1, P-2."""', {"P-1", "P-2"}),
        ("def helper():\n    '''P-1'''\n    return 1  # P-2\n", set()),
        ("async def test_a():\n    f()  # P-1\n", {"P-1"}),
        ("CASES = [\n    ('echo off (P-35)', 1),\n]\n", {"P-35"}),
        ("# ---- limits (P-41 to P-43)\n# P-5 and following\n# P-60 to P-67, P-7\n", {"P-7"}),
        ("def test_a():\n    P-1\n", set()),
    ],
)
def test_who_names_a_rule(text: str, expected: set[str]) -> None:
    assert {rule for said in said_by_tests(text) for rule in names(said)} == expected
