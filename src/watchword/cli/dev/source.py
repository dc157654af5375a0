# SPDX-License-Identifier: Apache-2.0
"""A folder of manifests as a source of bundles: compiled again whenever someone saves a file.

An editor leaves a file half-written for a moment. While any file cannot be read as manifests, the last good
bundle stays, so that a moment's save never shuts callers out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from watchword.cli.audience_options import offline_rules
from watchword.cli.dev.issuer import DevelopmentIssuer
from watchword.cli.failures import UnusableInput, say, warn
from watchword.cli.manifest_files import manifest_paths, read_folder
from watchword.cli.service_choice import choose_service, say_problems
from watchword.gate.bundle_file import SourceProblem
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, Compilation, Manifests, ProblemReason, compile_resources, parse_manifests
from watchword.trust.desks import DeskKeys

POLL_SECONDS: Final = 0.3
# What the cluster is called in audiences where there is none.
CLUSTER_ID: Final = "dev"


class FolderSource:
    """Compiles a folder and yields the service's bundle, generation by generation."""

    def __init__(
        self,
        folder: Path,
        service: NamespacedName | None,
        issuers: tuple[DevelopmentIssuer, ...] = (),
        desk_keys: DeskKeys | None = None,
    ) -> None:
        self._folder, self._service, self._issuers = folder, service, issuers
        # Of the one TokenDesk that runs here; None: none does.
        self._desk_keys = desk_keys
        # A gate that is started again must not seem to go back: generations start at the clock.
        self._generation = int(time.time())
        self._digest = ""

    def first(self) -> Bundle:
        """Compile once, for what must be right at the start.

        Raises:
            UnusableInput: the folder cannot be read, or which service is meant cannot be told.
        """
        manifests, compilation = self.compile()
        say_problems((*manifests.problems, *compilation.problems))
        for name in unpinned(manifests, self._issuers):
            warn(
                f"the ClusterTrustedIssuer {name} of the folder does not pin the key that this process signs "
                "with, which is new at each start: it knows no token of the development issuer. Remedy: "
                "remove the object, and this process pins its key itself, or run `watchword pin` again."
            )
        return choose_service(compilation.bundles, self._service)

    async def bundles(self) -> AsyncIterator[Bundle | SourceProblem]:
        """Yield a bundle whenever what the folder means has changed."""
        seen: object = None
        while True:
            state = await asyncio.to_thread(self.state)
            if state != seen:
                first, seen = seen is None, state
                item = await asyncio.to_thread(self._next, first)
                if item is not None:
                    yield item
            await asyncio.sleep(POLL_SECONDS)

    def _next(self, first: bool) -> Bundle | SourceProblem | None:
        try:
            manifests, compilation = self.compile()
            problems = (*manifests.problems, *compilation.problems)
            # `first()` has told them already.
            if not first:
                say_problems(problems)
            if any(problem.reason == ProblemReason.UNREADABLE for problem in problems) and not first:
                return SourceProblem("a manifest cannot be read", "fix the file that is named above")
            bundle = choose_service(compilation.bundles, self._service)
        except UnusableInput as unusable:
            return SourceProblem(unusable.message.rstrip("."), unusable.remedy.rstrip("."))
        if bundle.digest == self._digest:
            if not first:
                say("The manifests changed, and mean the same; the bundle stays.")
            # Yielded nonetheless: it clears a problem that the gate may report.
            return bundle_of(bundle, self._generation)
        self._digest = bundle.digest
        self._generation += 1
        said = f"{len(bundle.workloads)} trusted workload{'' if len(bundle.workloads) == 1 else 's'}"
        say(f"{bundle.service.namespace}/{bundle.service.name}: generation {self._generation}, {said}.")
        return bundle_of(bundle, self._generation)

    def compile(self) -> tuple[Manifests, Compilation]:
        """What the folder holds now, and what it comes to.

        Raises:
            UnusableInput: the folder cannot be read.
        """
        files = read_folder(self._folder, skips_hidden=True)
        manifests = parse_manifests(files)
        known = {issuer.metadata.name for issuer in manifests.resources.issuers}
        ours = [issuer.manifest() for issuer in self._issuers if issuer.name not in known]
        if ours:
            # The folder's own objects win: someone who pins a real `development` means it.
            added = [
                (f"(development issuer {each['metadata']['name']})", msgspec.json.encode(each))
                for each in ours
            ]
            manifests = parse_manifests([*files, *added])
        # Of one desk alone: its tokens are those of the desk that runs here.
        desks = manifests.resources.desks if self._desk_keys is not None else ()
        keys = {
            (each.metadata.namespace, each.metadata.name): self._desk_keys
            for each in desks
            if self._desk_keys is not None
        }
        return manifests, compile_resources(
            manifests.resources, audiences=offline_rules(CLUSTER_ID), desk_keys=keys, now=time.time()
        )

    def state(self) -> object:
        """What changes with the folder's files."""
        try:
            states = []
            for path in manifest_paths(self._folder, skips_hidden=True):
                found = path.stat()
                states.append((str(path), found.st_mtime_ns, found.st_ino, found.st_size))
            return tuple(states)
        except (OSError, UnusableInput) as error:
            return str(error)


def unpinned(manifests: Manifests, issuers: tuple[DevelopmentIssuer, ...]) -> list[str]:
    """The issuers of a folder that stand for a development issuer, and pin none of their keys.

    Args:
        manifests: the folder's, and those that were added to them.
        issuers: what signs here.
    """
    kids = {each.kid for each in issuers}
    names, urls = {each.name for each in issuers}, {each.url for each in issuers}
    found = []
    for each in manifests.resources.issuers:
        inline = each.spec.keys.inline
        pinned = {key.get("kid") for key in inline.get("keys", ())} if inline is not None else set()
        if (each.metadata.name in names or each.spec.issuer in urls) and not pinned & kids:
            found.append(each.metadata.name)
    return found


def bundle_of(bundle: Bundle, generation: int) -> Bundle:
    """The bundle under another generation; its digest does not depend on it."""
    return msgspec.structs.replace(bundle, generation=generation)
