"""Loader processes: started by fork, spoken to over a pipe, killed at the end of a `with`.

A worker is a function `work(link, ...)`; its exceptions come out of the driver's next `receive`. The driver itself
does nothing while load runs, so that two cores are left for the server and the loader.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from bench.errors import BenchError, Invalid

REPLY_TIMEOUT_S = 60.0
P = ParamSpec("P")
_fork = multiprocessing.get_context("fork")


class Link:
    """One end of the pipe between driver and worker. What is sent must be picklable."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def fileno(self) -> int:
        return self._pipe.fileno()

    def send(self, value: object) -> None:
        self._pipe.send(value)

    def receive(self) -> Any:
        """The other end's next value, awaited without limit: what a worker uses."""
        return self._pipe.recv()


class Worker:
    """The driver's handle of one loader process."""

    def __init__(self, name: str, process: Any, pipe: Connection[Any, Any]) -> None:
        self.name = name
        self._process = process
        self._pipe = pipe

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def send(self, value: object) -> None:
        try:
            self._pipe.send(value)
        except BrokenPipeError:
            self.receive()  # the worker has failed: its exception is still to be read
            raise

    def receive(self, timeout_s: float = REPLY_TIMEOUT_S) -> Any:
        """The worker's next value; raises what ended the worker."""
        if not self._pipe.poll(timeout_s):
            raise Invalid(f"{self.name} did not answer within {timeout_s:.0f} s")
        try:
            value = self._pipe.recv()
        except EOFError:
            raise Invalid(f"{self.name} ended without an answer") from None
        if isinstance(value, BaseException):
            raise value
        return value

    def wait(self, timeout_s: float) -> bool:
        """Whether `receive` would return at once, within so long."""
        return self._pipe.poll(timeout_s)

    def ask(self, value: object, timeout_s: float = REPLY_TIMEOUT_S) -> Any:
        self.send(value)
        return self.receive(timeout_s)

    def kill(self) -> None:
        """End the process at once: the kernel closes its sockets."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Team:
    """The workers of one round: `with Team() as team: w = team.start(work, ...)`."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def start(self, work: Callable[Concatenate[Link, P], None], *args: P.args, **kwargs: P.kwargs) -> Worker:
        ours, theirs = _fork.Pipe()

        def run() -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.disable()  # a collection would show as the server's latency
            ours.close()
            link = Link(theirs)
            try:
                work(link, *args, **kwargs)
            except (EOFError, BrokenPipeError):
                pass  # the driver is gone
            except BenchError as error:
                link.send(error)
            except OSError as error:
                link.send(Invalid(f"{work.__name__}: {error}"))
            except Exception as error:
                link.send(RuntimeError(f"{work.__name__}: {error!r}"))

        process = _fork.Process(target=run, daemon=True)
        process.start()
        theirs.close()
        worker = Worker(work.__name__, process, ours)
        self._workers.append(worker)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for worker in self._workers:
            worker.kill()
