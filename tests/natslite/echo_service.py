"""A small service for test_service.py: answers on `echo.>`, keeps what it heard, flushes when it is cancelled."""

from __future__ import annotations

import trio

RUNNING: list[EchoService] = []


class EchoService:
    name = "echo"

    def __init__(self, options) -> None:
        self.options = options
        self.flushed = False
        self.heard: list[bytes] = []
        self.port = None
        RUNNING.append(self)

    def info(self):
        return {"echo": True}

    async def run(self, port_for_account, *, task_status) -> None:
        self.port = port = port_for_account("$G")
        port.subscribe("echo.>", self._heard)
        self.work_send, work = trio.open_memory_channel(1000)
        task_status.started()
        try:
            async for subject, reply, headers, payload in work:
                port.publish(reply.decode(), subject + b" " + payload, headers=headers)
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                self.flushed = True

    def _heard(self, record) -> None:
        subject, reply, headers, payload, _ = record
        self.heard.append(payload)
        if reply is not None:
            self.work_send.send_nowait((subject, reply, headers, payload))
