# SPDX-License-Identifier: Apache-2.0
"""Read a folder of manifests: what would be so if it were applied, for reviews and demonstrations.

No cluster is asked, so nothing is known of conditions. What the gates would do is compiled here, by the code
that the operator runs. A gate at an ops URL can be asked all the same, such as that of `watchword dev`.
"""

import hashlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from watchword.cli.audience_options import offline_rules
from watchword.cli.folder import Folder, open_folder
from watchword.cli.issuer_keys import take_desk_keys
from watchword.cli.manifest_files import read_folder
from watchword.cli.ops_metrics import NoMetricsError, read_metrics
from watchword.cli.placeholder_keys import stand_in
from watchword.console.gates import MAX_METRICS_BYTES, decisions_of
from watchword.console.model import Gap, Item
from watchword.console.source import (
    CLIENT,
    DESK,
    ISSUER,
    PLURALS,
    PROVIDER,
    SERVICE,
    WORKLOAD,
    GateReading,
    Gates,
    Read,
)
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, Problem, Ruleset, compile_resources, load
from watchword.trust.api.v1alpha1 import Resource

_TIMEOUT_SECONDS: Final = 5.0
# Where a service has a time at which it begins or ends to report, the folder is compiled again after this.
_TIMED_SECONDS: Final = 60.0


class _Compiled(msgspec.Struct, frozen=True):
    """What a folder compiles to; `shown` with stand-ins for keys that are not there, `exact` without."""

    digest: str
    shown: Mapping[NamespacedName, Bundle]
    exact: Mapping[NamespacedName, Bundle]
    read: Read
    changes_at: float | None = None

    def is_old(self, now: float) -> bool:
        """Whether time alone may have changed it: a time to report that was too far off is near enough."""
        return self.changes_at is not None and now >= self.changes_at


class FolderSource:
    """A folder of manifests. See `watchword.console.source.Source`."""

    is_cluster = False
    flags: tuple[str, ...] = ()

    def __init__(
        self,
        folder: str,
        cluster_id: str | None = None,
        keys: Mapping[str, bytes] | None = None,
        ops_urls: tuple[str, ...] = (),
    ) -> None:
        """Read a folder as if applied to a cluster of this id, with keys of issuers that it does not hold."""
        # A name that begins with a hyphen would be an option of the commands that pages show.
        self.folder, self.title = f"./{folder}" if folder.startswith("-") else folder, f"folder {folder}"
        self._cluster_id, self._keys, self._ops_urls = cluster_id, dict(keys or {}), ops_urls
        self._compiled: _Compiled | None = None
        self._reading = threading.Lock()

    def read(self) -> Read:
        """Read and compile the folder, if it changed; see `Source`."""
        with self._reading:
            now = _digest(dict(read_folder(Path(self.folder))))
            if self._compiled is None or self._compiled.digest != now or self._compiled.is_old(time.time()):
                found = open_folder(self.folder)
                self._compiled = self._compile(found, _digest(found.files))
            return self._compiled.read

    def bundle(self, service: NamespacedName) -> Bundle | Gap:
        """What gates would run on; see `Source`."""
        return self._of(service, is_exact=False)

    def ruleset(self, service: NamespacedName) -> Ruleset | Gap:
        """What a token would be judged by, with no key but real ones; see `Source`."""
        bundle = self._of(service, is_exact=True)
        return bundle if isinstance(bundle, Gap) else load(bundle)

    def gates(self, service: NamespacedName, labels: Mapping[str, str]) -> Gates:
        """Ask the ops URLs that were given; see `Source`."""
        del service, labels
        if not self._ops_urls:
            remedy = (
                "Name a gate's ops port with --ops-url, or open the console on a cluster (without --from)."
            )
            return Gates(gaps=(Gap("refusals", "a folder of manifests has no gates", remedy),))
        readings, gaps = [], []
        for url in self._ops_urls:
            decisions = None
            try:
                # The scheme was checked as the flag was read.
                decisions = decisions_of(
                    read_metrics(url, max_bytes=MAX_METRICS_BYTES, seconds=_TIMEOUT_SECONDS)
                )
            except (NoMetricsError, ValueError) as error:
                kind = str(error) if isinstance(error, NoMetricsError) else type(error).__name__
                why = f"{url}/metrics gives no metrics of a gate ({kind})"
                gaps.append(
                    Gap(f"counters of {url}", why, "See that the gate runs, and what --ops-listen is.")
                )
            readings.append(GateReading(url, decisions, None))
        return Gates(tuple(readings), 0, tuple(gaps))

    def _of(self, service: NamespacedName, *, is_exact: bool) -> Bundle | Gap:
        compiled = self._compiled
        if compiled is None:
            self.read()
            compiled = self._compiled
        found = None if compiled is None else (compiled.exact if is_exact else compiled.shown).get(service)
        if found is None:
            why = f"the folder compiles to no bundle for {service}"
            also = " It may need --cluster-id, for the service's own audience." if is_exact else ""
            return Gap(f"the bundle of {service}", why, f"See why: watchword compile {self.folder}.{also}")
        return found

    def _compile(self, found: Folder, digest: str) -> _Compiled:
        keys = dict(self._keys)
        desk_keys = take_desk_keys(keys, found.resources)
        now = time.time()
        is_timed = any(each.spec.report_only_until is not None for each in found.resources.services)
        rules = offline_rules(self._cluster_id or "offline")
        complete = stand_in(found.resources, keys)
        shown = compile_resources(
            complete.resources, keys=complete.keys, desk_keys=desk_keys, audiences=rules, now=now
        )
        # A token is never judged by an audience that was made up here, as `watchword verify` has it.
        judged_by = offline_rules(self._cluster_id)
        exact = compile_resources(
            found.resources, keys=keys, desk_keys=desk_keys, audiences=judged_by, now=now
        )
        problems = (*found.problems, *found.named(shown.problems))
        return _Compiled(
            digest,
            {NamespacedName(each.service.namespace, each.service.name): each for each in shown.bundles},
            {NamespacedName(each.service.namespace, each.service.name): each for each in exact.bundles},
            Read(_items(found, problems), _gaps(problems, complete.unread), digest),
            now + _TIMED_SECONDS if is_timed else None,
        )


def _items(found: Folder, problems: tuple[Problem, ...]) -> Mapping[str, Mapping[NamespacedName, Item]]:
    said: dict[tuple[str, str, str], list[str]] = {}
    sources: dict[tuple[str, str, str], str] = {}
    for each in problems:
        key = (each.kind, each.namespace, each.name)
        said.setdefault(key, []).append(str(each))
        sources[key] = each.source
    items: dict[str, dict[NamespacedName, Item]] = {}
    resources = found.resources
    by_kind: dict[str, tuple[Resource, ...]] = {
        SERVICE: resources.services,
        WORKLOAD: resources.workloads,
        ISSUER: resources.issuers,
        DESK: resources.desks,
        CLIENT: resources.clients,
        PROVIDER: resources.providers,
    }
    for kind, there in by_kind.items():
        rows: dict[NamespacedName, Item] = {}
        for resource in there:
            name = NamespacedName(resource.metadata.namespace, resource.metadata.name)
            problem = tuple(said.pop((kind, *name), ()))
            rows[name] = Item(kind, name, resource, problem, source=resource.source)
        items[kind] = rows
    for key, sentences in said.items():
        kind, place = key[0], NamespacedName(*key[1:])
        if kind in PLURALS:
            items[kind].setdefault(place, Item(kind, place, None, tuple(sentences), source=sources[key]))
    return {kind: dict(sorted(rows.items())) for kind, rows in items.items()}


def _gaps(problems: tuple[Problem, ...], unread: tuple[str, ...]) -> tuple[Gap, ...]:
    of_files = tuple(
        Gap(f"the file {each.name}", each.detail, f"{each.remedy}.", "*")
        for each in problems
        if each.kind == "File"
    )
    if not unread:
        return of_files
    what = f"the keys of {', '.join(unread[:10])}{' and others' if len(unread) > 10 else ''}"
    return (*of_files, Gap(what, "only a cluster can read them", "Give them as --jwks NAME=FILE."))


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(f"{len(name)}:{name}:{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:32]
