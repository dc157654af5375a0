# SPDX-License-Identifier: Apache-2.0
"""Where a desk's configuration comes from when no API server is followed: files, looked at again and again.

A folder holds the manifests of the TokenDesk and of its DeskClients, `bundles/` the bundles of services,
`keys/` the signing keys, and `secrets/` digests of clients' secrets. What is not whole yet changes nothing.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from watchword.desk.admin.standing import AdminStanding, StandingUnknownError, standing_of
from watchword.desk.configuration import Configuration, KeyRecord, clients_of
from watchword.desk.minting import SigningKey, SigningKeyError
from watchword.desk.published import Mark, PublishingError, decode_mark, encode_mark
from watchword.process.files import state_of
from watchword.trust import Bundle, BundleError, decode_bundle, parse_manifests
from watchword.trust.api.v1alpha1 import DeskClient, TokenDesk
from watchword.trust.bundle import MAX_BUNDLE_BYTES

POLL_SECONDS: Final = 0.5
# A new key signs so long after it was made, where some bundle still lacks it.
SIGNS_AFTER_SECONDS: Final = 600.0
_MANIFESTS: Final = (".yaml", ".yml", ".json")


class SourceProblem(msgspec.Struct, frozen=True):
    """Why there is no configuration, or no new one.

    Attributes:
        detail: what is wrong.
        remedy: what would be right.
    """

    detail: str
    remedy: str


class DeskSource(Protocol):
    """Something that yields a configuration, or what is wrong, whenever that changes."""

    def configurations(self) -> AsyncIterator[Configuration | SourceProblem]:
        """Yield for as long as the desk runs."""

    async def standing(self, client: str) -> AdminStanding:
        """Whether a client is an admin, by what is there now. Raises StandingUnknownError."""
        ...


def standing_in(found: Configuration | SourceProblem, client: str) -> AdminStanding:
    """Whether a client is an admin by a configuration that no admission policy guards: who writes it decides.

    Raises:
        StandingUnknownError: there is no configuration.
    """
    if isinstance(found, SourceProblem):
        raise StandingUnknownError(found.detail)
    ours = clients_of(found)
    return standing_of(next((each for each in ours if each.metadata.name == client), None), ours)


class ClientVersions:
    """Counts the versions of DeskClients where no API server does: a change that is seen makes another one.

    Without it, an admin's flag that was withdrawn and set again would be the one of before, tokens included.
    """

    def __init__(self) -> None:
        """Nothing was seen."""
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], DeskClient] | None = None

    def of(self, clients: Iterable[DeskClient]) -> tuple[DeskClient, ...]:
        """The same objects, each with the generation that it has come to."""
        with self._lock:
            before, after = self._seen, dict[tuple[str, str], DeskClient]()
            for each in clients:
                key = (each.metadata.namespace, each.metadata.name)
                known = None if before is None else before.get(key)
                generation = 0 if before is None else time.time_ns()
                if known is not None and known.spec == each.spec:
                    generation = known.metadata.generation
                metadata = msgspec.structs.replace(each.metadata, generation=generation)
                after[key] = msgspec.structs.replace(each, metadata=metadata)
            self._seen = after
            return tuple(after.values())


class FolderDeskSource:
    """A desk's configuration in a folder."""

    def __init__(
        self, folder: Path, desk: tuple[str, str], cluster_id: str, poll_seconds: float = POLL_SECONDS
    ) -> None:
        """Read a folder for the TokenDesk with this namespace and name."""
        self._folder, self._desk, self._cluster_id = folder, desk, cluster_id
        self._poll_seconds = poll_seconds
        self._versions = ClientVersions()

    async def configurations(self) -> AsyncIterator[Configuration | SourceProblem]:
        """Yield what the folder says, and again after each change."""
        seen: object = None
        last: Configuration | SourceProblem | None = None
        while True:
            state = await asyncio.to_thread(self._state)
            if state != seen or isinstance(last, SourceProblem):
                found = await asyncio.to_thread(self.read)
                if state != seen or not isinstance(found, SourceProblem) or found != last:
                    yield found
                seen, last = state, found
            await asyncio.sleep(self._poll_seconds)

    async def standing(self, client: str) -> AdminStanding:
        """Whether a client is an admin, by the files as they are now."""
        return standing_in(await asyncio.to_thread(self.read), client)

    def read(self) -> Configuration | SourceProblem:
        """What the folder says now."""
        try:
            return self._read()
        except OSError as error:
            return SourceProblem(f"{self._folder} cannot be read: {error.strerror}", "make it readable")
        except SigningKeyError as error:
            return SourceProblem(
                f"a file of keys/ holds no signing key: {error}", "put P-256 keys in PEM there"
            )
        except BundleError as problem:
            return SourceProblem(f"a file of bundles/ is no bundle: {problem.detail}", problem.remedy)

    def _read(self) -> Configuration | SourceProblem:
        manifests = parse_manifests([(path.name, _bytes(path)) for path in self._manifests()])
        if manifests.problems:
            return SourceProblem(str(manifests.problems[0]), manifests.problems[0].remedy)
        resources = manifests.resources
        desks = [each for each in resources.desks if self._desk == _name(each)]
        if len(desks) != 1:
            detail = f"{self._folder} holds no TokenDesk {'/'.join(self._desk)}"
            return SourceProblem(detail, "put its manifest there, or name another one by --token-desk")
        return Configuration(
            desk=desks[0],
            cluster_id=self._cluster_id,
            clients=self._versions.of(resources.clients),
            secrets={
                (path.parent.name, path.name): _bytes(path).decode("utf-8", "replace")
                for path in self._secrets()
            },
            bundles=tuple(_bundle(path) for path in self._files("bundles")),
            keys=tuple(_key(path) for path in reversed(self._files("keys"))),
        )

    def _files(self, part: str) -> list[Path]:
        return _entries(self._folder / part)

    def _manifests(self) -> list[Path]:
        return [path for path in self._files("") if path.name.endswith(_MANIFESTS)]

    def _secrets(self) -> list[Path]:
        return [path for folder in self._files("secrets") for path in _entries(folder)]

    def _state(self) -> object:
        """What changes with each file that is read, and with no other: the desk publishes next to them."""
        read = (*self._manifests(), *self._files("bundles"), *self._files("keys"), *self._secrets())
        return tuple((str(path), state_of(path)) for path in read)


class FilePublisher:
    """Publishes into two files of a folder, each whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Write into a folder, which must exist."""
        self._mark, self._revocations = folder / "store.json", folder / "revocations.json"

    async def read(self) -> Mark | None:
        """The mark that was written last."""
        try:
            data = await asyncio.to_thread(self._mark.read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PublishingError(f"{self._mark} cannot be read: {error.strerror}") from None
        return decode_mark(data)

    async def write(self, mark: Mark, revocations: bytes) -> None:
        """Write both files."""
        try:
            await asyncio.to_thread(_write_whole, self._revocations, revocations)
            await asyncio.to_thread(_write_whole, self._mark, encode_mark(mark))
        except OSError as error:
            detail = f"{self._mark.parent} cannot be written to: {error.strerror}"
            raise PublishingError(detail) from None


def _write_whole(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BUNDLE_BYTES + 1)
    if len(data) > MAX_BUNDLE_BYTES:
        raise OSError(0, f"{path.name} is larger than {MAX_BUNDLE_BYTES} bytes")
    return data


def _bundle(path: Path) -> Bundle:
    return decode_bundle(_bytes(path))


def _key(path: Path) -> KeyRecord:
    made_at = path.stat().st_mtime
    return KeyRecord(SigningKey.from_pem(_bytes(path)), made_at + SIGNS_AFTER_SECONDS, made_at)


def _name(desk: TokenDesk) -> tuple[str, str]:
    return desk.metadata.namespace, desk.metadata.name
