# SPDX-License-Identifier: Apache-2.0
"""Read a cluster through kubectl, with the reader's own rights; each call is one GET of the API server.

kubectl holds the credentials: none of them passes through here. What may not be read becomes a gap that names
the verb, the resource and the namespace, and the rest is shown all the same.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from watchword.cli.failures import UnusableInput
from watchword.cli.kubectl import run_kubectl
from watchword.cli.live import bundle_of
from watchword.console.gates import MAX_METRICS_BYTES, read_gates
from watchword.console.model import Gap, Item
from watchword.console.source import ISSUER, PLURALS, Gates, Read, item_of
from watchword.identity import is_namespace_name
from watchword.kube.names import NamespacedName
from watchword.trust import API_VERSION, Bundle, BundleError, Ruleset, load

_FORBIDDEN: Final = "(Forbidden)"
_SEE_OPERATOR: Final = "See that the operator runs: watchword doctor."
_MISSING: Final = ("(NotFound)", "could not find the requested resource")


class ClusterSource:
    """A cluster, as one kubeconfig context reaches it. See `watchword.console.source.Source`.

    Attributes:
        calls: how many requests were made of the API server so far.
    """

    is_cluster = True
    folder = ""

    def __init__(self, context: str | None, kubeconfig: str | None, namespaces: tuple[str, ...]) -> None:
        """Read these namespaces; none: all of them."""
        self._context, self._kubeconfig, self._namespaces = context, kubeconfig, namespaces
        self.title = f"context {context}" if context is not None else "the current context"
        self.flags = (
            *((f"--context={context}",) if context is not None else ()),
            *((f"--kubeconfig={kubeconfig}",) if kubeconfig is not None else ()),
        )
        self.calls = 0
        self._counting = threading.Lock()
        # An object that did not change is not judged again: of 10,000, most are the same each time.
        self._known: dict[tuple[str, str, str], Item] = {}

    def read(self) -> Read:
        """Read the objects of each kind; see `Source`."""
        items: dict[str, dict[NamespacedName, Item]] = {}
        gaps: list[Gap] = []
        known: dict[tuple[str, str, str], Item] = {}
        digest = hashlib.sha256()
        for kind, plural in PLURALS.items():
            documents = self._list(kind, plural, gaps)
            documents.sort(key=_place)
            found: dict[NamespacedName, Item] = {}
            for document in documents:
                metadata = document["metadata"]
                version = (kind, str(metadata.get("uid")), str(metadata.get("resourceVersion")))
                item = self._known.get(version) or item_of(
                    {**document, "kind": kind, "apiVersion": API_VERSION}
                )
                known[version] = found[item.name] = item
                digest.update(repr(version).encode())
            items[kind] = found
        digest.update(repr(gaps).encode())
        self._known = known
        return Read(items, tuple(gaps), digest.hexdigest()[:32])

    def bundle(self, service: NamespacedName) -> Bundle | Gap:
        """Read the ConfigMap of a service's bundle; see `Source`."""
        name = f"watchword-bundle-{service.name}"
        path = f"/api/v1/namespaces/{service.namespace}/configmaps/{name}"
        what = f"the bundle that the gates of {service} run on"
        try:
            bundle = bundle_of(json.loads(self.get(path)))
        except UnusableInput as problem:
            if _FORBIDDEN in problem.message:
                return forbidden(what, "get", f"the ConfigMap {name}", service.namespace)
            if any(each in problem.message for each in _MISSING):
                why = f"there is no ConfigMap {name} in {service.namespace}"
                return Gap(what, why, _SEE_OPERATOR)
            return Gap(what, problem.message, problem.remedy)
        except ValueError:
            return Gap(what, f"the ConfigMap {name} is not one that the operator writes", _SEE_OPERATOR)
        found = NamespacedName(bundle.service.namespace, bundle.service.name)
        if found != service:
            # Gates would refuse it as well: callers of another service are none of this one's.
            return Gap(what, f"the bundle in the ConfigMap {name} is for {found}", _SEE_OPERATOR)
        return bundle

    def ruleset(self, service: NamespacedName) -> Ruleset | Gap:
        """The gates' own rules; see `Source`."""
        bundle = self.bundle(service)
        if isinstance(bundle, Gap):
            return bundle
        try:
            return load(bundle)
        except BundleError as problem:
            why = f"no gate of this release would take it: {problem.field} {problem.detail}"
            return Gap(f"the bundle of {service}", why, _SEE_OPERATOR)

    def gates(self, service: NamespacedName, labels: Mapping[str, str]) -> Gates:
        """Ask the gates of a service through the API server; see `Source`."""
        return read_gates(self.get, service.namespace, labels)

    def get(self, path: str) -> bytes:
        """What the API server answers to one GET.

        Raises:
            UnusableInput: kubectl fails; its message has the API server's reason.
        """
        with self._counting:
            self.calls += 1
        # What a pod answers is as long as the pod likes; the API server passes it on.
        bound = MAX_METRICS_BYTES if "/proxy/" in path else None
        return run_kubectl(
            "get", f"--raw={path}", context=self._context, kubeconfig=self._kubeconfig, max_bytes=bound
        )

    def _list(self, kind: str, plural: str, gaps: list[Gap]) -> list[dict[str, Any]]:
        is_namespaced = kind != ISSUER
        if not is_namespaced or not self._namespaces:
            try:
                return self._items(f"/apis/{API_VERSION}/{plural}")
            except UnusableInput as problem:
                if any(each in problem.message for each in _MISSING):
                    why = f"the cluster does not know {plural}.{API_VERSION.partition('/')[0]}"
                    remedy = "Install Watchword: docs/how-to/install.md."
                    gaps.append(Gap(plural, why, remedy))
                    return []
                if _FORBIDDEN not in problem.message:
                    raise
            if not is_namespaced:
                gaps.append(forbidden(plural, "list", f"{plural}.watchword.dev", "", kind))
                return []
            own = self._own_namespace()
            also = f" Shown is {own} alone; --namespace names others."
            gap = forbidden(f"{plural} of all namespaces", "list", f"{plural}.watchword.dev", "")
            gaps.append(Gap(gap.what, gap.why, gap.remedy + also, kind))
            return self._in_namespace(kind, own, gaps)
        return [each for name in self._namespaces for each in self._in_namespace(kind, name, gaps)]

    def _in_namespace(self, kind: str, namespace: str, gaps: list[Gap]) -> list[dict[str, Any]]:
        plural = PLURALS[kind]
        try:
            return self._items(f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}")
        except UnusableInput as problem:
            if _FORBIDDEN in problem.message:
                resource = f"{plural}.watchword.dev"
                gaps.append(forbidden(f"{plural} of {namespace}", "list", resource, namespace, kind))
            elif any(each in problem.message for each in _MISSING):
                why = f"the cluster does not know {plural}.watchword.dev"
                gaps.append(Gap(plural, why, "Install Watchword: docs/how-to/install.md."))
            else:
                raise
            return []

    def _items(self, path: str) -> list[dict[str, Any]]:
        found = json.loads(self.get(path)).get("items") or []
        return [each for each in found if isinstance(each, dict) and isinstance(each.get("metadata"), dict)]

    def _own_namespace(self) -> str:
        """The namespace of the kubeconfig's context."""
        printed = run_kubectl(
            "config",
            "view",
            "--minify",
            "--output=jsonpath={..namespace}",
            context=self._context,
            kubeconfig=self._kubeconfig,
        )
        name = printed.decode(errors="replace").strip()
        return name if is_namespace_name(name) else "default"


def pinned(context: str | None, kubeconfig: str | None) -> tuple[str | None, str | None]:
    """The context and the file by name: a page is of one cluster, and so are its commands, until it ends.

    Another terminal has another KUBECONFIG, and the current context is changed by other programs. What has no
    name stays None: there is no current context, as in a pod, or KUBECONFIG lists several files.
    """
    if kubeconfig is None:
        listed = [each for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
        kubeconfig = listed[0] if len(listed) == 1 else None
    if kubeconfig is not None:
        kubeconfig = str(Path(kubeconfig).absolute())
    if context is None:
        try:
            said = run_kubectl("config", "current-context", kubeconfig=kubeconfig).decode(errors="replace")
        except UnusableInput:
            return None, kubeconfig
        context = said.removesuffix("\n") or None
    return context, kubeconfig


def forbidden(what: str, verb: str, resource: str, namespace: str, kind: str = "") -> Gap:
    """What one's rights do not reach, and which right it would take."""
    where = f"in the namespace {namespace}" if namespace else "in the whole cluster"
    why = f"you may not {verb} {resource} {where}"
    remedy = f"It needs the verb {verb} on {resource} {where}; ask for a role that has it."
    return Gap(what, why, remedy, kind)


def _place(document: Mapping[str, Any]) -> tuple[str, str]:
    metadata = document["metadata"]
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))
