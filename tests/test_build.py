"""Building and packaging: what goes in, what comes out, and what is said where it cannot work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import natslite
from natslite import _build

ROOT = Path(__file__).parent.parent
ENGINE = ROOT / "natslite" / "engine"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
SETTINGS = tomllib.loads(PYPROJECT)
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def test_every_module_of_the_engine_is_built():
    built = SETTINGS["tool"]["setuptools"]["ext-modules"]
    assert {module["name"] for module in built} == {f"natslite.engine.{path.stem}" for path in ENGINE.glob("*.pyx")}
    assert all(module["sources"] == [module["name"].replace(".", "/") + ".pyx"] for module in built)


def test_every_module_that_python_sees_has_a_stub():
    used = set()
    for path in [*(ROOT / "natslite").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        used |= set(re.findall(r"^\s*from natslite\.engine\.(\w+) import", path.read_text(), re.MULTILINE))
    assert used - {path.stem for path in ENGINE.glob("*.pyi")} == set()


def test_the_version_is_written_once():
    assert SETTINGS["project"]["dynamic"] == ["version"]
    assert f"## {natslite.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert natslite.__version__ not in PYPROJECT


def test_the_version_costs_nothing():
    """P-81: no search through the installed packages, and no server."""
    code = "import sys; from natslite import __version__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("natslite")} == {"natslite"}
    assert not loaded & {"importlib.metadata", "trio", "msgspec", "ssl", "json", "email", "tomllib"}


def test_the_build_tools_of_the_tests_are_those_of_the_build():
    """test extra: without them, these tests would find nothing to test."""
    assert set(SETTINGS["build-system"]["requires"]) <= set(SETTINGS["project"]["optional-dependencies"]["test"])


def test_the_readme_has_both_commands_in_a_line_each():
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv ")]
    assert [line.split(" && ")[-1] for line in commands] == [".venv/bin/natslite-server", ".venv/bin/python -m pytest"]
    assert SETTINGS["project"]["scripts"] == {"natslite-server": "natslite.cli:main"}


# ---- what is said where it cannot work


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """One on which nothing is found: no command and no header."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    return monkeypatch


def test_here_it_works():
    assert _build.why_not() is None


def test_not_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux only" in (reason := _build.why_not() or "")
    assert "darwin" in reason
    assert "container or virtual machine" in reason


def test_no_compiler(machine):
    reason = _build.why_not() or ""
    assert reason.startswith("natslite needs a C compiler to build its engine, and finds none. Install one: ")
    assert all(command in reason for command in ("apt-get install", "dnf install", "apk add"))
    machine.setenv("CC", "/opt/cc/bin/fancy -m64")
    assert "and CC=/opt/cc/bin/fancy -m64 is not there" in (_build.why_not() or "")


def test_a_compiler_of_another_name(machine, tmp_path):
    """The one that Python was built with need not be here."""
    assert _build.compiler() is None
    (tmp_path / "clang").write_text("#!/bin/sh\n")
    (tmp_path / "clang").chmod(0o755)
    assert _build.compiler() == "clang"
    machine.setenv("CC", "gcc-99")
    assert _build.compiler() is None


def test_no_headers(monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/nowhere")
    reason = _build.why_not() or ""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"needs the headers of Python {version}" in reason
    assert "/nowhere/Python.h is not there" in reason
    assert all(command in reason for command in ("python3-dev", "python3-devel", "apk add"))


def test_headers_that_do_not_compile(monkeypatch, tmp_path):
    """As where the C library's own are missing."""
    (tmp_path / "Python.h").write_text("#include <no-such-header.h>\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    reason = _build.why_not() or ""
    assert "does not get through Python.h" in reason
    assert "no-such-header.h" in reason
    assert "apt-get install build-essential" in reason


# ---- the real thing, with a smaller engine

TOY = {
    "natslite/__init__.py": '__version__ = "1.2.3"\n',
    "natslite/py.typed": "",
    "natslite/cli.py": "def main(): return 0\n",
    "natslite/engine/__init__.py": "",
    "natslite/engine/one.pxd": "cdef int twice(int x) noexcept nogil\n",
    "natslite/engine/one.pyi": "",
    "natslite/engine/one.pyx": "cdef int twice(int x) noexcept nogil:\n    return 2 * x\n",
    "natslite/engine/two.pyx": "from .one cimport twice\ndef four(x):\n    return twice(twice(x))\n",
    "README.md": "",
    "LICENSE": "",
}
MODULE = '[[tool.setuptools.ext-modules]]\nname = "natslite.engine.{0}"\nsources = ["natslite/engine/{0}.pyx"]\n'


class Project:
    """A checkout with the real settings and the real build, and a toy to build."""

    def __init__(self, at: Path) -> None:
        self.at = at
        for name, text in TOY.items():
            path = at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (at / "natslite" / "_build.py").write_text((ROOT / "natslite" / "_build.py").read_text())
        before, *blocks = PYPROJECT.split("[[tool.setuptools.ext-modules]]\n")
        after = blocks[-1].partition("\n\n")[2]
        (at / "pyproject.toml").write_text(before + MODULE.format("one") + MODULE.format("two") + "\n" + after)

    def make(self, what: str, **environment: str) -> Path:
        """What pip asks for in its build environment: a wheel or a source archive."""
        code = f"from setuptools import build_meta; print(build_meta.build_{what}('dist'))"
        done = self.run(code, **environment)
        assert done.returncode == 0, done.stderr
        return self.at / "dist" / done.stdout.split()[-1]

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=self.at, env={**os.environ, **environment}, capture_output=True, text=True
        )

    def library(self, wheel: Path) -> bytes:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"natslite/engine/two{SUFFIX}")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_a_wheel_has_everything(project, tmp_path):
    wheel = project.make("wheel")
    assert "-1.2.3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if "dist-info" not in name}
        archive.extractall(tmp_path / "installed")
    libraries = {f"natslite/engine/{name}{SUFFIX}" for name in ("one", "two")}
    assert names == {name for name in TOY if "/" in name} | {"natslite/_build.py"} | libraries
    code = f"import sys; sys.path[:0] = [{str(tmp_path / 'installed')!r}]; from natslite.engine.two import four; print(four(5))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "20\n"


def test_a_wheel_can_be_built_from_a_source_archive(project, tmp_path):
    """Making one needs no compiler."""
    with tarfile.open(project.make("sdist", CC="/nowhere/cc")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {name for name in TOY if not (unpacked / name).exists()} == set()
    project.at = unpacked
    assert project.make("wheel").exists()


def test_a_build_for_the_fuzzer_does_not_stay(project):
    """One kind of build after the other, each as asked for; the second time nothing is compiled."""
    plain = project.library(project.make("wheel"))
    assert b"__asan" not in plain
    assert b"__asan" in project.library(project.make("wheel", NATSLITE_BUILD="asan"))
    assert b"__asan" not in project.library(project.make("wheel"))
    before = {path: path.stat().st_mtime_ns for path in project.at.rglob("*.o")}
    project.make("wheel")
    assert before == {path: path.stat().st_mtime_ns for path in project.at.rglob("*.o")}
    assert before


def test_it_stops_with_a_sentence(project):
    wheel = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    for environment, said in (
        ({"CC": "/nowhere/cc"}, "natslite needs a C compiler to build its engine, and CC=/nowhere/cc is not there."),
        ({"NATSLITE_BUILD": "fast"}, "NATSLITE_BUILD=fast is not known; it may be asan or trace."),
    ):
        done = project.run(wheel, **environment)
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1].startswith(said)
        assert "Traceback" not in done.stderr
