"""Building the engine: setuptools' build_ext, with a sentence where it cannot work.

Named in pyproject.toml's `[tool.setuptools.cmdclass]`; never imported by the product. NATSLITE_BUILD=asan builds with
AddressSanitizer (see tests/fuzz), NATSLITE_BUILD=trace with line tracing for profilers.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fno-strict-aliasing", "-Wno-unused-function"]
ASAN_FLAGS = ["-O1", "-g", "-fsanitize=address", "-fno-omit-frame-pointer"]


def why_not() -> str | None:
    """What stands in the way of building, and what to do about it; None: nothing."""
    if sys.platform != "linux":
        return (
            f"natslite runs on Linux only (its engine uses epoll), and this is {sys.platform}. "
            "Run it in a Linux container or virtual machine."
        )
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None and shutil.which("cc") is None and shutil.which("gcc") is None:
        return (
            f"natslite needs a C compiler to build its engine, and {compiler!r} is not there. "
            "Install one: 'apt-get install build-essential' on Debian or Ubuntu, 'dnf install gcc' on Fedora, "
            "'apk add build-base' on Alpine."
        )
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return (
            f"natslite needs the headers of Python {sys.version_info[0]}.{sys.version_info[1]} to build its engine, "
            f"and {sysconfig.get_path('include')}/Python.h is not there. Install them: 'apt-get install python3-dev' "
            "on Debian or Ubuntu, 'dnf install python3-devel' on Fedora, 'apk add python3-dev' on Alpine."
        )
    return None


class BuildEngine(build_ext):
    """Cythonizes and compiles all modules of the engine, two at a time."""

    def finalize_options(self) -> None:
        reason = why_not()
        if reason is not None:
            raise SystemExit(reason)
        kind = os.environ.get("NATSLITE_BUILD", "")
        directives: dict[str, Any] = {"language_level": 3, "linetrace": kind == "trace"}
        workers = min(8, os.cpu_count() or 1)
        self.distribution.ext_modules = cythonize(
            self.distribution.ext_modules,
            compiler_directives=directives,
            build_dir="build/cython" + ("-" + kind if kind else ""),
            nthreads=workers if workers > 1 else 0,
            quiet=True,
        )
        super().finalize_options()
        self.parallel = self.parallel or workers
        for extension in self.extensions:
            extension.extra_compile_args = ASAN_FLAGS if kind == "asan" else FLAGS
            if kind == "asan":
                extension.extra_link_args = ["-fsanitize=address"]
            if kind == "trace":
                extension.define_macros.append(("CYTHON_TRACE_NOGIL", "1"))
