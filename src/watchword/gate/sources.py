# SPDX-License-Identifier: Apache-2.0
"""Where bundles come from, and the one place that decides whether to take one.

A bundle that does not parse, or whose generation goes back, is refused loudly and the last good one stays:
a mistake in the control plane must not become an outage, nor an old bundle a way back in.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from watchword.gate.engine import Engine
from watchword.gate.logs import LOGGER
from watchword.trust import Bundle, BundleProblem, Ruleset, decode_bundle, load
from watchword.trust.bundle import MAX_BUNDLE_BYTES

# After an error that nobody foresaw.
RESTART_SECONDS = 1.0


class SourceProblem(msgspec.Struct, frozen=True):
    """Why there is no bundle now.

    Attributes:
        detail: what is wrong.
        remedy: what would be right.
    """

    detail: str
    remedy: str


class BundleSource(Protocol):
    """Something that yields a bundle, or what is wrong, whenever that changes."""

    def bundles(self) -> AsyncIterator[Bundle | SourceProblem]:
        """Yield for as long as the gate runs."""


class FileSource:
    """A bundle in a file, looked at again and again.

    Polling sees every way in which files change: in place, by rename, and by the kubelet's swap of a symlink
    two folders up, which notifications on the file itself miss.
    """

    def __init__(self, path: str, poll_seconds: float = 0.5) -> None:
        """Watch a file."""
        self._path, self._poll_seconds = Path(path), poll_seconds

    async def bundles(self) -> AsyncIterator[Bundle | SourceProblem]:
        """Yield the file's bundle, and again after each change."""
        seen: object = None
        last: Bundle | SourceProblem | None = None
        while True:
            state = _state(self._path)
            # What was no bundle is read again until it is one: the rest of a half-written file can come
            # within the same tick of the file system's clock, and change no time that shows.
            if state != seen or isinstance(last, SourceProblem):
                found = await asyncio.to_thread(self._read)
                if state != seen or found != last:
                    yield found
                seen, last = state, found
            await asyncio.sleep(self._poll_seconds)

    def _read(self) -> Bundle | SourceProblem:
        try:
            if self._path.exists() and not self._path.is_file():
                # A pipe would be waited for, and for good.
                return SourceProblem("the bundle's path is no regular file", "name the file itself")
            with self._path.open("rb") as file:
                data = file.read(MAX_BUNDLE_BYTES + 1)
            return decode_bundle(data)
        except OSError as error:
            detail = f"the bundle file cannot be read: {error.strerror}"
            return SourceProblem(detail, "mount the service's bundle ConfigMap, or check --bundle")
        except BundleProblem as problem:
            where = f"{problem.field}: " if problem.field else ""
            return SourceProblem(
                f"the bundle file is no usable bundle: {where}{problem.detail}", problem.remedy
            )


def _state(path: Path) -> object:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_ino, found.st_size


class Keeper:
    """Takes bundles from a source into an engine.

    Attributes:
        problem: what is wrong with the newest bundle; None when it is the one in use.
    """

    def __init__(self, engine: Engine, on_adopt: Callable[[Ruleset], Awaitable[None]]) -> None:
        """Feed an engine; `on_adopt` is awaited after each new ruleset."""
        self._engine, self._on_adopt = engine, on_adopt
        self.problem: SourceProblem | None = SourceProblem(
            "no bundle was loaded yet", "wait, or check --bundle"
        )

    async def follow(self, source: BundleSource) -> None:
        """Take bundles until cancelled."""
        while True:
            try:
                async for item in source.bundles():
                    await self.take(item)
            except Exception as error:  # noqa: BLE001 - a gate that stopped to listen would never revoke again
                name = type(error).__name__
                self._refuse(SourceProblem(f"an unforeseen {name}", "this is a defect; please report it"))
            else:
                return
            await asyncio.sleep(RESTART_SECONDS)

    async def take(self, item: Bundle | SourceProblem) -> None:
        """Adopt a bundle, or say why not and keep the last good one."""
        if isinstance(item, SourceProblem):
            self._refuse(item)
            return
        active = self._engine.active
        running = active.ruleset if active else None
        name = f"{item.service.namespace}/{item.service.name}"
        if running is not None:
            if (item.generation, item.digest) == (running.generation, running.digest):
                self.problem = None
                return
            if item.generation < running.generation or (
                item.generation == running.generation and item.digest != running.digest
            ):
                detail = f"generation {item.generation} does not follow {running.generation}, which is in use"
                self._refuse(SourceProblem(detail, "make it anew: the generation of a bundle only grows"))
                return
            if name != running.service:
                detail = f"the bundle is for {name}, and this gate runs {running.service}"
                self._refuse(SourceProblem(detail, "mount the bundle of this gate's service"))
                return
        try:
            ruleset = await asyncio.to_thread(load, item)
        except BundleProblem as problem:
            where = f"{problem.field}: " if problem.field else ""
            self._refuse(SourceProblem(f"the bundle cannot be used: {where}{problem.detail}", problem.remedy))
            return
        self._engine.adopt(ruleset)
        self.problem = None
        LOGGER.info(
            "bundle in use",
            extra={
                "service": ruleset.service,
                "generation": ruleset.generation,
                "digest": ruleset.digest,
                "workloads": ruleset.workloads,
                "issuers": ruleset.issuers,
            },
        )
        await self._on_adopt(ruleset)

    def _refuse(self, problem: SourceProblem) -> None:
        self.problem = problem
        self._engine.metrics.bundle_failures.inc()
        kept = (
            "the last good bundle stays in use"
            if self._engine.active
            else "every request is refused until then"
        )
        LOGGER.error(
            "bundle refused", extra={"detail": problem.detail, "remedy": problem.remedy, "effect": kept}
        )
