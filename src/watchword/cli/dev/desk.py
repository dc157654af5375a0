# SPDX-License-Identifier: Apache-2.0
"""The desk of a folder's one TokenDesk, next to the development gate and in the same process.

Its key is in this process's memory only and new at each start: its tokens are good nowhere else. It runs on a
thread and an event loop of its own; what it revokes is handed to the gate's.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from watchword.cli.dev.issuer import DevelopmentIssuer
from watchword.cli.dev.source import CLUSTER_ID, POLL_SECONDS, FolderSource
from watchword.cli.failures import UnusableInput
from watchword.cli.options import Address
from watchword.desk.admin.standing import AdminStanding
from watchword.desk.configuration import Configuration, KeyRecord, public_keys_of
from watchword.desk.minting import SigningKey
from watchword.desk.ops import DeskReadiness
from watchword.desk.published import Mark
from watchword.desk.serve import DeskSettings, running
from watchword.desk.sources import ClientVersions, SourceProblem, standing_in
from watchword.gate.engine import Engine
from watchword.process.listening import CannotStartError
from watchword.process.logs import LOGGER
from watchword.trust.derived_audience import desk_audience
from watchword.trust.desk_revocations import DeskDocument, Revocations, read_desk_document
from watchword.trust.desks import DeskKeys

_STARTS_WITHIN_SECONDS: Final = 30.0
_ENDS_WITHIN_SECONDS: Final = 10.0


class DevelopmentDesk:
    """A desk in a thread; a context manager, and a source and a publisher to the desk itself.

    Attributes:
        keys: its public keys, for bundles.
        address: HOST:PORT at which it answers, inside of the block.
        admin_address: the same of its admin API; empty: it has none.
        issuer: its issuer URL.
        audience: its own audience.
    """

    def __init__(
        self,
        folder: Path,
        issuers: tuple[DevelopmentIssuer, ...],
        listen: Address,
        *,
        admin_listen: Address | None = None,
        store: str,
        rate: float,
    ) -> None:
        """Find the folder's TokenDesk.

        Raises:
            UnusableInput: there is none, or more than one.
        """
        self._records = (KeyRecord(SigningKey.generate()),)
        self._versions = ClientVersions()
        self.keys = DeskKeys(public_keys_of(self._records))
        self._source = FolderSource(folder, None, issuers, self.keys)
        found = self._source.compile()[0].resources.desks
        if len(found) != 1:
            count = "no usable TokenDesk" if not found else f"{len(found)} TokenDesks"
            raise UnusableInput(
                f"--desk-listen: the folder holds {count}.", "Keep exactly one TokenDesk in it."
            )
        self._name = (found[0].metadata.namespace, found[0].metadata.name)
        self.issuer, self.audience = found[0].spec.issuer, desk_audience(CLUSTER_ID, *self._name)
        self.address, self.admin_address = str(listen), ""
        self._settings = DeskSettings(
            store=store,
            listen=str(listen),
            ops_listen=None,
            admin_listen=None if admin_listen is None else str(admin_listen),
            addresses_per_second=rate,
            addresses_burst=max(1, int(2 * rate)),
            subjects_per_second=rate,
            subjects_burst=max(1, int(2 * rate)),
            registrations_per_hour=0.0,
            shutdown_grace_seconds=2,
        )
        self._engine: tuple[Engine, asyncio.AbstractEventLoop] | None = None
        self._revocations, self._service = DeskDocument(), ""
        self._is_up, self._stop = threading.Event(), threading.Event()
        self._problem: CannotStartError | None = None
        self._readiness: DeskReadiness | None = None
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def __enter__(self) -> "DevelopmentDesk":
        """Return once the desk answers.

        Raises:
            UnusableInput: it cannot start, or is not ready in time; with what it says of that.
        """
        self._thread.start()
        is_up = self._is_up.wait(_STARTS_WITHIN_SECONDS)
        if self._problem is not None:
            said = str(self._problem)
            for flag in ("--listen", "--admin-listen", "--store"):
                said = said.replace(flag, f"--desk-{flag.removeprefix('--')}")
            sentence, _, remedy = said.partition(" Remedy: ")
            raise UnusableInput(sentence, f"{remedy[:1].upper()}{remedy[1:]}.")
        if not is_up:
            self._end()
            why, remedy = self._why_not_ready()
            raise UnusableInput(
                f"--desk-listen: the desk is not ready after {_STARTS_WITHIN_SECONDS:.0f} s: {why}.",
                f"{remedy[:1].upper()}{remedy[1:]}.",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._stop.set()
        # Bounded: a store that does not answer keeps no one from ending. The thread is a daemon.
        self._thread.join(_ENDS_WITHIN_SECONDS)

    def _why_not_ready(self) -> tuple[str, str]:
        document = {} if self._readiness is None else self._readiness.document()[1]
        return document.get("why", "it does not say why"), document.get("remedy", "see the log above")

    def tell(self, service: str, engine: Engine) -> None:
        """Hand the revocations of `namespace/name` to its gate; called on the gate's event loop."""
        self._service = service
        self._engine = engine, asyncio.get_running_loop()
        self._apply(engine)

    async def configurations(self) -> AsyncIterator[Configuration | SourceProblem]:
        """What the folder says, and again after each change."""
        seen: object = None
        while True:
            state = await asyncio.to_thread(self._source.state)
            if state != seen:
                seen = state
                yield await asyncio.to_thread(self._configuration)
            await asyncio.sleep(POLL_SECONDS)

    async def standing(self, client: str) -> AdminStanding:
        """Whether a client is an admin, by the files as they are now."""
        return standing_in(await asyncio.to_thread(self._configuration), client)

    async def read(self) -> Mark | None:
        """No mark: keys are as new as the process, and no store can be older than they are."""
        return None

    async def write(self, mark: Mark, revocations: bytes) -> None:
        """Hand what is revoked to the gate."""
        del mark
        self._revocations = read_desk_document(revocations)
        if self._engine is not None:
            engine, loop = self._engine
            with contextlib.suppress(RuntimeError):  # the gate's loop has ended
                loop.call_soon_threadsafe(self._apply, engine)

    def _apply(self, engine: Engine) -> None:
        engine.revoke(self._revocations.services.get(self._service, Revocations()))

    def _configuration(self) -> Configuration | SourceProblem:
        try:
            manifests, compilation = self._source.compile()
        except UnusableInput as unusable:
            return SourceProblem(unusable.message.rstrip("."), unusable.remedy.rstrip("."))
        found = [
            each
            for each in manifests.resources.desks
            if (each.metadata.namespace, each.metadata.name) == self._name
        ]
        if not found:
            return SourceProblem(f"the folder holds no TokenDesk {'/'.join(self._name)}", "put it back")
        return Configuration(
            desk=found[0],
            cluster_id=CLUSTER_ID,
            clients=self._versions.of(manifests.resources.clients),
            bundles=tuple(each for each in compilation.bundles if each.desk is not msgspec.UNSET),
            keys=self._records,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except CannotStartError as problem:
            self._problem = problem
        except Exception as error:  # noqa: BLE001 - a thread's end is seen by no one else
            LOGGER.error("the desk ended unforeseen", extra={"error_type": type(error).__name__})
            detail = f"--listen: the desk failed ({type(error).__name__})"
            self._problem = CannotStartError(f"{detail}. Remedy: report it with what the log says")
        finally:
            self._is_up.set()

    async def _serve(self) -> None:
        async with running(
            self._settings,
            self,
            self,
            self._listens,
            self._judges,
            on_admin_listening=self._listens_to_admins,
        ) as desk:
            while desk.state is None and not self._stop.is_set():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
            if desk.state is not None:
                self._is_up.set()
            await asyncio.to_thread(self._stop.wait)

    def _judges(self, readiness: DeskReadiness) -> None:
        self._readiness = readiness

    def _listens(self, address: str) -> None:
        self.address = address

    def _listens_to_admins(self, address: str) -> None:
        self.admin_address = address
