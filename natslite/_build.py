"""Building the engine: setuptools' build_ext, with a sentence where it cannot work.

Named in pyproject.toml's `[tool.setuptools.cmdclass]`; never imported by the product. NATSLITE_BUILD=asan builds with
AddressSanitizer and checked array bounds, NATSLITE_BUILD=trace with line tracing for profilers. Everything is checked
when something is to be compiled and not before, so that a source archive can be made anywhere.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools.command.build_ext import build_ext

SANITIZERS = ["-fsanitize=address,bounds"]
FLAGS = {
    "": ["-O3", "-fno-strict-aliasing", "-Wno-unused-function"],
    "asan": ["-O1", "-g", *SANITIZERS, "-fno-sanitize-recover=bounds", "-fno-omit-frame-pointer"],
    "trace": ["-O3", "-fno-strict-aliasing", "-Wno-unused-function"],
}
"""Of the compiler, for each value of NATSLITE_BUILD."""

WORKERS_MAX = 8
"""Modules that are compiled at once; there are hardly more."""

BUILT = Path("build", "engine")
"""Says how the engine was last built here: what was built otherwise is built anew, whatever its date."""


def compiler() -> str | None:
    """The C compiler to use; None: there is none. One that was asked for is not replaced by another."""
    asked = os.environ.get("CC")
    for command in [asked] if asked else [sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]:
        if command and shutil.which(shlex.split(command)[0]):
            return str(command)
    return None


def why_not() -> str | None:
    """What stands in the way of building, and what to do about it; None: nothing."""
    if sys.platform != "linux":
        return (
            f"natslite runs on Linux only (its engine uses epoll), and this is {sys.platform}. "
            "Run it in a Linux container or virtual machine."
        )
    install = (
        "'apt-get install build-essential' on Debian or Ubuntu, 'dnf install gcc' on Fedora, "
        "'apk add build-base' on Alpine"
    )
    command = compiler()
    if command is None:
        asked = f", and CC={os.environ['CC']} is not there" if os.environ.get("CC") else ", and finds none"
        return f"natslite needs a C compiler to build its engine{asked}. Install one: {install}."
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        return (
            f"natslite needs the headers of Python {sys.version_info[0]}.{sys.version_info[1]} to build its engine, "
            f"and {include}/Python.h is not there. Install them: 'apt-get install python3-dev' on Debian or Ubuntu, "
            "'dnf install python3-devel' on Fedora, 'apk add python3-dev' on Alpine."
        )
    tried = subprocess.run(
        [*shlex.split(command), f"-I{include}", "-E", "-", "-o", os.devnull],
        input="#include <Python.h>\n",
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        complaint = next(
            (line for line in tried.stderr.splitlines() if "error" in line), f"exit code {tried.returncode}"
        )
        return (
            f"natslite cannot build its engine: {command!r} does not get through Python.h ({complaint.strip()}). "
            f"Often the C library's headers are missing: {install}."
        )
    return None


class BuildEngine(build_ext):
    """Cythonizes and compiles all modules of the engine, several at a time."""

    def run(self) -> None:
        kind = os.environ.get("NATSLITE_BUILD", "")
        if kind not in FLAGS:
            raise SystemExit(f"NATSLITE_BUILD={kind} is not known; it may be {' or '.join(filter(None, FLAGS))}.")
        reason = why_not()
        if reason is not None:
            raise SystemExit(reason)
        os.environ["CC"] = compiler() or ""
        workers = min(WORKERS_MAX, len(os.sched_getaffinity(0)))
        self.parallel = self.parallel or workers
        how = f"{kind} {FLAGS[kind]} Cython {Cython.__version__} Python {sys.version}"
        self.force = self.force or not BUILT.exists() or BUILT.read_text() != how
        BUILT.unlink(missing_ok=True)  # a build that fails half-way is neither
        translated = cythonize(
            self.extensions,
            compiler_directives={"language_level": 3, "linetrace": kind == "trace"},
            build_dir="build/cython" + ("-" + kind if kind else ""),
            nthreads=workers if workers > 1 else 0,
            force=bool(self.force),
            quiet=True,
        )
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:  # setuptools has made notes on these: they stay
            extension.sources = sources[extension.name]
            extension.extra_compile_args = FLAGS[kind]
            if kind == "asan":
                extension.extra_link_args = SANITIZERS
            if kind == "trace":
                extension.define_macros.append(("CYTHON_TRACE_NOGIL", "1"))
        super().run()
        BUILT.parent.mkdir(exist_ok=True)
        BUILT.write_text(how)
