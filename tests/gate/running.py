# SPDX-License-Identifier: Apache-2.0
"""A gate in this process: real engine, real app, real store; time and bundle are given."""

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx

from testing.manifests import compiled
from testing.tokens import NOW
from watchword.gate.app import GateApp
from watchword.gate.audit import AuditLog
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.usage.api import UsageApi
from watchword.trust import load
from watchword.usage import open_store


class RunningGate:
    """The gate's application with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.audit_stream = io.BytesIO()
        self.metrics = GateMetrics()
        self.audit = AuditLog(self.audit_stream, self.metrics.audit_dropped.inc)
        self.engine = Engine(
            self.metrics,
            audit=self.audit,
            audit_level="all",
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self.usage = UsageApi(self.engine, open_store(f"sqlite:///{folder}/usage.db"))
        self.app = GateApp(self.engine, self.usage)

    def adopt(self, *objects: dict[str, Any], generation: int = 1) -> None:
        """Run under these resources from now on."""
        ruleset = load(compiled(*objects, generation=generation).bundles[0])
        self.engine.adopt(ruleset)
        asyncio.run(self.usage.use_meters(ruleset.meters))

    def call(
        self,
        path: str,
        token: bytes | None = None,
        headers: list[tuple[str, str]] | None = None,
        method: str = "GET",
        content: bytes = b"",
    ) -> httpx.Response:
        """One request."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
                given = list(headers or [])
                if token is not None:
                    given.append(("authorization", f"Bearer {token.decode()}"))
                return await client.request(method, path, headers=given, content=content)

        return asyncio.run(send())

    def counted(self, result: str) -> float:
        """How many cache look-ups ended so."""
        value = self.metrics.registry.get_sample_value("watchword_cache_lookups_total", {"result": result})
        assert value is not None
        return value

    def close(self) -> None:
        """Stop its threads."""
        asyncio.run(self.usage.close())
        self.audit.close()
