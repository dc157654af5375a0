# SPDX-License-Identifier: Apache-2.0
"""Where bundles come from: a file that is mounted, and what each source must be able to say.

A source says what it found or what is wrong, and goes on looking; whether a bundle is taken is the updater's
to decide, so that no source can be lenient.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from watchword.process.files import state_of
from watchword.trust import Bundle, BundleError, decode_bundle
from watchword.trust.bundle import MAX_BUNDLE_BYTES
from watchword.trust.bundle_forms import ENTRIES, PREVIOUS_ENTRY, to_be_read

_MOUNT = (
    "mount the service's bundle ConfigMap, or check --bundle; where Watchword's injection does that, this "
    "pod was not injected: it lacks the label watchword.dev/gate, or is older than it"
)
_MAKE = "put a bundle there, or check --bundle"
_RESTORE = (
    "restore the ProtectedService that it is made from, and see that the operator runs; what was made a "
    "moment ago is mounted within two minutes"
)
# What a kubelet makes in each folder where it mounts a ConfigMap, also where there is none (`optional`).
_KUBELETS_LINK = "..data"


class SourceProblem(msgspec.Struct, frozen=True):
    """Why there is no bundle now.

    Attributes:
        detail: what is wrong.
        remedy: what would be right.
        is_there: whether there is something where the bundle should be, also where it is no bundle; None:
            that is not known. Only an API server that answered, or a file system, knows it.
    """

    detail: str
    remedy: str
    is_there: bool | None = None


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
        self._was_there = False
        # Where a whole ConfigMap is mounted, its newer forms lie next to the one that is named.
        is_mounted = self._path.name == PREVIOUS_ENTRY
        self._paths = (
            {name: self._path.with_name(name) for name in ENTRIES}
            if is_mounted
            else {PREVIOUS_ENTRY: self._path}
        )

    async def bundles(self) -> AsyncIterator[Bundle | SourceProblem]:
        """Yield the file's bundle, and again after each change."""
        seen: object = None
        # Of a bundle only what tells it apart: the whole of it would be kept for as long as the gate runs.
        last: tuple[int, str] | SourceProblem | None = None
        while True:
            state = [state_of(path) for path in self._paths.values()]
            # What was no bundle is read again until it is one: the rest of a half-written file can come
            # within the same tick of the file system's clock, and change no time that shows.
            if state != seen or isinstance(last, SourceProblem):
                found = await asyncio.to_thread(self._read)
                mark = found if isinstance(found, SourceProblem) else (found.generation, found.digest)
                if state != seen or mark != last:
                    yield found
                seen, last = state, mark
                del found
            await asyncio.sleep(self._poll_seconds)

    def _read(self) -> Bundle | SourceProblem:
        found: dict[str, bytes] = {}
        missing: str | None = None
        try:
            for name, path in self._paths.items():
                try:
                    if path.exists() and not path.is_file():
                        # A pipe would be waited for, and for good.
                        return SourceProblem("the bundle's path is no regular file", "name the file itself")
                    with path.open("rb") as file:
                        found[name] = file.read(MAX_BUNDLE_BYTES + 1)
                except (FileNotFoundError, NotADirectoryError) as error:
                    missing = error.strerror
            data = to_be_read(found)
            if data is None:
                return self._missing(missing)
            self._was_there = True
            return decode_bundle(data)
        except OSError as error:
            return SourceProblem(f"the bundle file cannot be read: {error.strerror}", _MOUNT)
        except BundleError as problem:
            return unusable("the bundle file is no usable bundle", problem)

    def _missing(self, why: str | None) -> SourceProblem:
        """What is missing, by what is there: a folder, a kubelet's mount, or a file that was there before."""
        if self._path.with_name(_KUBELETS_LINK).is_symlink():
            how = (
                "is gone, or holds no bundle any more"
                if self._was_there
                else "is not there, or holds no bundle"
            )
            detail = f"the ConfigMap that is mounted at {self._path.parent} {how}"
            return SourceProblem(detail, _RESTORE, is_there=False)
        if self._was_there:
            return SourceProblem("the bundle file is gone", _MAKE, is_there=False)
        remedy = _MAKE if self._path.parent.is_dir() else _MOUNT
        return SourceProblem(f"the bundle file cannot be read: {why}", remedy, is_there=False)


def unusable(what: str, problem: BundleError) -> SourceProblem:
    """What is wrong with a document that should have been a bundle."""
    where = f"{problem.field}: " if problem.field else ""
    return SourceProblem(f"{what}: {where}{problem.detail}", problem.remedy, is_there=True)
