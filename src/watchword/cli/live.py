# SPDX-License-Identifier: Apache-2.0
"""Read from a cluster, through kubectl, what its gates run on and what its resources say.

The caller's own rights decide: what they do not let be read is an error that says so, never an empty answer.
"""

import base64
import json
from difflib import get_close_matches
from typing import Any, Final

from watchword.cli.failures import UnusableInput
from watchword.cli.kubectl import run_kubectl
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, BundleError, decode_bundle
from watchword.trust.bundle_forms import ENTRIES, newest

_BUNDLE: Final = "watchword-bundle-"
_MANAGED: Final = "app.kubernetes.io/managed-by=watchword"
_KINDS: Final = ",".join(
    (
        "clustertrustedissuers.watchword.dev",
        "protectedservices.watchword.dev",
        "trustedworkloads.watchword.dev",
        "tokendesks.watchword.dev",
        "deskclients.watchword.dev",
        "agentproviders.watchword.dev",
        "namespaces",
    )
)


def live_bundle(service: NamespacedName, context: str | None) -> Bundle:
    """The bundle that the gates of one service run on.

    Raises:
        UnusableInput: there is none, it may not be read, or it is not usable.
    """
    place = (f"{_BUNDLE}{service.name}", f"--namespace={service.namespace}")
    try:
        document = _shown(run_kubectl("get", "configmap", *place, "--output=json", context=context))
    except UnusableInput as problem:
        if "NotFound" not in problem.message and "not found" not in problem.message:
            raise
        raise UnusableInput(
            f"The cluster has no bundle for {service}: no ConfigMap {place[0]} in {service.namespace}.",
            _what_there_is(service, context),
        ) from None
    return bundle_of(document)


def live_bundles(namespace: str | None, context: str | None) -> list[Bundle]:
    """The bundles of all services of a namespace; None: of the cluster.

    Raises:
        UnusableInput: they may not be read, or there are none.
    """
    where = "--all-namespaces" if namespace is None else f"--namespace={namespace}"
    data = run_kubectl("get", "configmaps", where, f"--selector={_MANAGED}", "--output=json", context=context)
    items = [each for each in _items(data) if _name_of(each)[1].startswith(_BUNDLE)]
    if not items:
        raise UnusableInput(
            f"There is no bundle in {'the cluster' if namespace is None else namespace}.",
            "Add a ProtectedService, see that the operator runs (`watchword doctor`), or name another "
            "--namespace.",
        )
    return [bundle_of(each) for each in items]


def live_objects(context: str | None) -> list[dict[str, Any]]:
    """A cluster's issuers, services, workloads, desks, clients and namespaces, as its API server gives them.

    Raises:
        UnusableInput: they may not be read, or Watchword is not installed.
    """
    asked = ("get", _KINDS, "--all-namespaces", "--output=json", "--show-managed-fields")
    return _items(run_kubectl(*asked, context=context))


def bundle_of(document: dict[str, Any]) -> Bundle:
    """The bundle that a ConfigMap holds.

    Raises:
        UnusableInput: it holds none, or one that is not usable.
    """
    place = "/".join(_name_of(document))
    entries: dict[str, bytes] = {}
    try:
        for name, text in _texts(document.get("data")):
            entries[name] = text.encode()
        for name, text in _texts(document.get("binaryData")):
            entries[name] = base64.b64decode(text, validate=True)
    except ValueError:
        raise UnusableInput(
            f"An entry of the ConfigMap {place} is neither text nor base64.",
            "See that the operator runs: `watchword doctor`.",
        ) from None
    data = newest(entries)
    if data is None:
        raise UnusableInput(
            f"The ConfigMap {place} holds no bundle.", "See that the operator runs: `watchword doctor`."
        )
    try:
        return decode_bundle(data)
    except BundleError as problem:
        raise UnusableInput(
            f"The bundle in the ConfigMap {place} is not usable: {problem.detail}.",
            "Run the command line of the operator's release.",
        ) from None


def _shown(data: bytes) -> dict[str, Any]:
    """The object that kubectl printed.

    Raises:
        UnusableInput: it printed something else.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _no_kubectl()
    return found


def _items(data: bytes) -> list[dict[str, Any]]:
    items = _shown(data).get("items")
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise _no_kubectl()
    return items


def _no_kubectl() -> UnusableInput:
    return UnusableInput(
        "What kubectl printed is not what was asked for.",
        "Try `kubectl get namespaces -o json`, and see which kubectl is on PATH.",
    )


def _name_of(document: dict[str, Any]) -> tuple[str, str]:
    metadata = document.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return str(named.get("namespace", "")), str(named.get("name", ""))


def _texts(entries: Any) -> list[tuple[str, str]]:
    given = entries.items() if isinstance(entries, dict) else ()
    return [(name, text) for name, text in given if name in ENTRIES and isinstance(text, str)]


def _what_there_is(service: NamespacedName, context: str | None) -> str:
    try:
        bundles = live_bundles(None, context)
    except UnusableInput:
        return "Check the names (`kubectl get protectedservices -A`) and the operator (`watchword doctor`)."
    there = sorted(f"{each.service.namespace}/{each.service.name}" for each in bundles)
    # What is alike first: a cluster may have hundreds.
    near = get_close_matches(str(service), there, n=3, cutoff=0.6)
    listed = [*near, *(each for each in there if each not in near)]
    return f"Choose one of: {', '.join(listed[:10])}."
