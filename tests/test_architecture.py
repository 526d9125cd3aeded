"""Imports point one way, and who may touch the world is written down here.

The tables are the architecture: a new module gets its place in LAYERS, a new need of the outside an entry in MAY_USE,
each with the thought that it costs. Read from the sources, so that an import inside a function counts too; what is only
imported for the type checker does not.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ROOT / "natslite"
ENGINE = PRODUCT / "engine"

LAYERS: list[set[str]] = [
    {"natslite"},  # the version; what it exports is imported when asked for
    {"flags", "headers", "ids", "log", "logfile", "options", "stats", "subjects"},
    {"addresses", "connect", "tls"},
    {"auth", "auth.passwords"},
    {"engine"},
    {"client", "service", "trace"},
    {"session"},
    {"transport"},
    {"server"},
    {"monitor", "monitor.certificate", "monitor.varz"},
    {"monitor.http"},
    {"daemon"},
    {"cli"},
    {"__main__"},
]
"""A module imports from the layers above it in this list, never from its own or from one below."""

APART = {"_build"}
"""Runs where the product is built, not where it runs."""

ENGINE_LAYERS: list[set[str]] = [
    {"linux", "table", "timers"},
    {"receiver"},
    {"sublist"},
    {"permissions"},
    {"outbound", "reader"},
    {"connection", "inbox"},
    {"batch"},
    {"interest"},
    {"hub"},
]
"""The same inside the engine."""

EXPORTED = {
    "Client": "client",
    "Message": "client",
    "NoResponders": "client",
    "Subscription": "client",
    "Server": "server",
    "open_server": "server",
    "Options": "options",
    "Permissions": "options",
    "Tls": "options",
    "User": "options",
}
"""What `from natslite import ...` really is."""

MAY_USE: dict[str, set[str]] = {
    # who waits
    "trio": {"auth.passwords", "client", "daemon", "monitor.http", "server", "service", "session", "transport"},
    # the process and the machine
    "os": {"addresses", "auth.passwords", "daemon", "ids", "logfile", "monitor.http", "monitor.varz", "server"},
    "gc": {"daemon"},
    "platform": {"server"},
    "resource": {"daemon"},
    "signal": {"cli", "daemon"},
    "sys": {"__main__", "cli", "daemon"},
    # clocks and chance: everybody else gets them as arguments
    "time": {"logfile", "monitor.http"},
    "datetime": {"monitor.certificate", "monitor.http", "monitor.varz", "server"},
    "random": {"session"},
    "secrets": set(),
    # sockets and files
    "socket": {"addresses", "daemon", "server", "transport"},
    "select": {"logfile", "transport"},
    "ssl": {"monitor.certificate", "tls", "transport"},
    "pathlib": set(),
    "threading": {"logfile"},
    "queue": {"logfile"},
    # never: a second loop, a second process, a guess at what is installed
    "asyncio": set(),
    "concurrent": set(),
    "multiprocessing": set(),
    "subprocess": set(),
    "importlib": {"service"},
    "logging": set(),
    # what others wrote
    "h11": {"monitor.http"},
    "bcrypt": {"auth.passwords"},
}
"""What only some may import. Other modules of the standard library are free."""

FOR_ALL = {"msgspec"}
"""Other libraries nobody may import."""

ONLY_WHEN_NEEDED = {"bcrypt", "json", "difflib", "natslite.monitor", "natslite.transport", "natslite.daemon"}
"""Imported inside functions, except by modules that are themselves imported so: they would slow every start."""

LATE = {"monitor.http", "monitor.varz", "monitor.certificate", "transport", "daemon"}
"""Modules that are imported inside functions."""

ENGINE_MAY_USE = {"cython", "cpython", "libc"}
"""What compiled code cimports besides its own modules. It knows no Python of ours and no trio."""

ENGINE_IMPORTS = {"hub": {"os", "natslite.engine.connection"}}
"""Python that compiled code imports."""

LINUX = re.compile(r"\bsys/(epoll|eventfd|timerfd|signalfd|inotify)\.h\b|\bmalloc\.h\b")
KNOWS_LINUX = {"linux"}
"""Of the engine; everything else runs wherever trio does."""

# ---- reading imports


def name_of(path: Path) -> str:
    """`auth.passwords` for natslite/auth/passwords.py, `natslite` for the package itself."""
    parts = path.relative_to(PRODUCT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "natslite"


MODULES = {name_of(path): path for path in sorted(PRODUCT.rglob("*.py"))}
COMPILED = {path.stem for path in ENGINE.iterdir() if path.suffix in (".pyx", ".pxd")}


def is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def imports(node: ast.AST, depth: int = 0) -> Iterator[tuple[str, bool]]:
    """Full names of all that is imported at run time, and whether at once."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, depth == 0) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are written in full"
            yield from ((f"{child.module}.{alias.name}", depth == 0) for alias in child.names)
        elif isinstance(child, ast.If) and is_for_types(child.test):
            yield from imports(ast.Module(child.orelse, []), depth)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, depth + inside)


def imports_of(module: str) -> list[tuple[str, bool]]:
    return list(imports(ast.parse(MODULES[module].read_text())))


def ours(full: str) -> str | None:
    """The module of natslite that a full name comes from; None: not ours."""
    package, _, rest = full.partition(".")
    if package != "natslite":
        return None
    rest = EXPORTED.get(rest, rest)
    if rest.split(".")[0] == "engine":
        return "engine"
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest or "natslite"


def layer(name: str, layers: list[set[str]]) -> int:
    return next(i for i, names in enumerate(layers) if name in names)


# ---- the product


def test_every_module_has_one_place():
    placed = [name for names in LAYERS for name in names]
    assert len(placed) == len(set(placed))
    assert set(placed) | APART == set(MODULES), "a new module goes into LAYERS, one that is gone out of it"


@pytest.mark.parametrize("module", sorted(set(MODULES) - APART - {"natslite"}))
def test_imports_point_one_way(module):
    own = layer(module, LAYERS)
    used = {name for full, _ in imports_of(module) if (name := ours(full)) is not None}
    wrong = {name for name in used - {module} if layer(name, LAYERS) >= own}
    assert wrong == set(), f"{module} is in layer {own} of LAYERS and must not know these"


def test_the_package_imports_nothing_at_once():
    """`import natslite` is for the version; everything else is imported when it is asked for."""
    assert {full for full, at_once in imports_of("natslite") if at_once} <= {
        "__future__.annotations",
        "typing.Any",
        "typing.TYPE_CHECKING",
    }


@pytest.mark.parametrize("module", sorted(set(MODULES) - APART))
def test_who_may_use_what(module):
    used = {full.partition(".")[0] for full, _ in imports_of(module)} - {"natslite", "__future__"}
    refused = {name for name in used if name in MAY_USE and module not in MAY_USE[name]}
    assert refused == set(), "pure modules take time, chance and bytes as arguments; see MAY_USE"
    unknown = used - set(MAY_USE) - FOR_ALL - sys.stdlib_module_names
    assert unknown == set(), "natslite stands on trio, msgspec, h11 and bcrypt alone"


@pytest.mark.parametrize("module", sorted(set(MODULES) - APART - LATE - {"__main__"}))
def test_what_is_imported_only_when_needed(module):
    at_once = {full for full, at_once in imports_of(module) if at_once}
    early = {full for full in at_once if any(f"{full}.".startswith(f"{late}.") for late in ONLY_WHEN_NEEDED)}
    assert early == set()


def test_the_tables_name_modules_that_exist():
    named = set().union(*MAY_USE.values()) | LATE | set(EXPORTED.values())
    assert named <= set(MODULES)


@pytest.mark.parametrize("path", [*MODULES.values(), *sorted(ENGINE.glob("*.p[xy][dxi]"))], ids=lambda path: path.name)
def test_nobody_knows_the_stream_layer(path):
    """jetstore imports natslite, never the other way; a service is named by a string and imported as one."""
    assert re.search(r"^\s*(from|c?import)\s+jetstore\b", path.read_text(), re.MULTILINE) is None


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"auth", "engine", "monitor"}))
def test_a_module_says_what_it_is(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())), "a module opens by saying what it is"


# ---- the engine

LINE = re.compile(r"^\s*(?:from\s+(\S+)\s+(c?import)|(c?import)\s+([\w.]+))", re.MULTILINE)


def engine_imports(path: Path) -> Iterator[tuple[str, bool]]:
    """What a .pyx or .pxd names, and whether compiled."""
    for found in LINE.finditer(path.read_text()):
        yield found[1] or found[4], (found[2] or found[3]) == "cimport"


def test_every_compiled_module_has_one_place():
    placed = [name for names in ENGINE_LAYERS for name in names]
    assert len(placed) == len(set(placed))
    assert set(placed) == COMPILED, "a new compiled module goes into ENGINE_LAYERS"


@pytest.mark.parametrize("path", sorted(ENGINE.glob("*.p[xy][dx]")), ids=lambda path: path.name)
def test_the_engine_knows_nothing_of_its_users(path):
    own = layer(path.stem, ENGINE_LAYERS)
    for name, compiled in engine_imports(path):
        if name.startswith("."):
            other = name.lstrip(".")
            assert other in COMPILED, f"{name} is not of the engine"
            assert layer(other, ENGINE_LAYERS) < own, f"{path.stem} must not know {other}"
        elif compiled:
            assert name.partition(".")[0] in ENGINE_MAY_USE
        else:
            assert name in ENGINE_IMPORTS.get(path.stem, set())


@pytest.mark.parametrize("path", sorted(ENGINE.glob("*.pyi")), ids=lambda path: path.name)
def test_stubs_know_no_more(path):
    for full, _ in imports(ast.parse(path.read_text())):
        if full.startswith("natslite."):
            assert full.startswith("natslite.engine."), f"{path.name} names {full}"


@pytest.mark.parametrize("path", sorted(ENGINE.glob("*.p[xy][dx]")), ids=lambda path: path.name)
def test_who_knows_linux(path):
    assert path.stem in KNOWS_LINUX or LINUX.search(path.read_text()) is None


# ---- the tests of this test


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import trio.lowlevel, os", [("trio.lowlevel", True), ("os", True)]),
        ("from natslite import ids", [("natslite.ids", True)]),
        ("def f():\n    import bcrypt", [("bcrypt", False)]),
        ("class C:\n    import x", [("x", True)]),
        ("if TYPE_CHECKING:\n    import x\nelse:\n    import y", [("y", True)]),
        ("try:\n    import x\nexcept ImportError:\n    async def f():\n        from a.b import c", [("x", True), ("a.b.c", False)]),
    ],
)  # fmt: skip
def test_imports_are_found_wherever_they_are(text, expected):
    assert list(imports(ast.parse(text))) == expected


def test_names_are_traced_to_modules():
    assert ours("natslite.auth.passwords.Denied") == "auth.passwords"
    assert ours("natslite.engine.hub.Hub") == "engine"
    assert ours("natslite.open_server") == "server"
    assert ours("natslite.__version__") == "natslite"
    assert ours("nats.aio") is None
