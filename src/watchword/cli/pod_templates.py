# SPDX-License-Identifier: Apache-2.0
"""Where an object holds pod templates, and where it asks for something that no pod of it would be given.

A template is known by its form and not by the kind around it: a list of kinds lacks the next one, and a pod
of a kind that is not in the list would start without its gate, without a word.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from watchword.injection.names import CALL_LABEL, CALLS_ANNOTATION, EXCHANGE_LABEL, GATE_LABEL

Object = dict[str, Any]
_ASKS: Final = (GATE_LABEL, CALL_LABEL, EXCHANGE_LABEL)
# Kinds of Kubernetes that make pods. One of them with a label and no template asks in vain.
_MAKE_PODS: Final = frozenset(
    {
        "Pod",
        "PodTemplate",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
    }
)
_REMEDY: Final = "write it under metadata.labels of the pod template, or remove it"
# A DaemonSet has a pod on each node.
_SEVERAL: Final = 2


class PodTemplate(msgspec.Struct, frozen=True):
    """A pod template in an object.

    Attributes:
        pod: the template itself, a part of the object; the object itself where that is a Pod.
        path: where it is, such as `spec.template`; empty for a Pod.
        replicas: how many pods are made of it; None: not said.
    """

    pod: Object
    path: str
    replicas: int | None


class Unanswered(msgspec.Struct, frozen=True):
    """A label of Watchword's where it does nothing.

    Attributes:
        path: of the labels or annotations that hold it.
        label: its name.
        remedy: where it should be.
        is_harmless: nothing of this kind makes pods: it came with labels for all objects.
    """

    path: str
    label: str
    remedy: str
    is_harmless: bool


def items_of(document: Object) -> Iterator[Object]:
    """The object itself, or what a list of any kind holds (`List`, `DeploymentList`), lists in it too.

    Raises:
        ValueError: an entry of a list is no object.
    """
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        for each in items:
            if not isinstance(each, dict):
                raise ValueError(f"an entry of a {document['kind']} is no object")
            yield from items_of(each)
    else:
        yield document


def pod_templates(document: Object) -> Iterator[PodTemplate]:
    """Every pod template of an object, by its form: `spec.containers` next to `metadata`."""
    if _is_core(document, "Pod"):
        yield PodTemplate(document, "", 1)
        return
    for path, holder, part in _parts(document, ""):
        if path and _is_pod(part):
            # A template may leave its metadata out, which then asks for nothing.
            yield PodTemplate(part, path, _replicas(document, holder))


def unanswered(document: Object) -> Iterator[Unanswered]:
    """Every label of an object that asks where it asks in vain. Empty where a pod template of it asks too."""
    templates = list(pod_templates(document))
    asked = {name for each in templates for name in _ASKS if name in _texts(each.pod, "labels")}
    inside = {id(each.pod) for each in templates}
    makes_no_pods = not templates and _is_built_in(document) and document.get("kind") not in _MAKE_PODS
    for path, _, part in _parts(document, ""):
        if id(part) in inside:
            continue
        for place in ("labels", "annotations"):
            for name in _texts_of(part, place):
                if name in _ASKS and name not in asked:
                    where = f"{path}.{place}" if path else place
                    yield Unanswered(where, name, _REMEDY, makes_no_pods)
    for each in templates:
        if CALLS_ANNOTATION in _texts(each.pod, "annotations") and CALL_LABEL not in _texts(
            each.pod, "labels"
        ):
            where = f"{each.path}.metadata.annotations" if each.path else "metadata.annotations"
            remedy = f"name the first service in the label {CALL_LABEL}, to which the annotation adds"
            yield Unanswered(where, CALLS_ANNOTATION, remedy, False)


def _parts(
    value: Any, path: str, holder: Object | None = None
) -> Iterator[tuple[str, Object | None, Object]]:
    """Every object in a value, with its path and the one that holds it; not what pods themselves hold."""
    if isinstance(value, dict):
        yield path, holder, value
        if path and _is_pod(value):
            return
        for name, member in value.items():
            yield from _parts(member, f"{path}.{name}" if path else str(name), value)
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from _parts(member, f"{path}[{place}]", holder)


def _is_pod(part: Object) -> bool:
    spec = part.get("spec")
    return isinstance(spec, dict) and isinstance(spec.get("containers"), list)


def _texts(pod: Object, place: str) -> Object:
    metadata = pod.get("metadata")
    return _texts_of(metadata, place) if isinstance(metadata, dict) else {}


def _texts_of(part: Object, place: str) -> Object:
    found = part.get(place)
    return found if isinstance(found, dict) else {}


def _replicas(document: Object, holder: Object | None) -> int | None:
    if document.get("kind") == "DaemonSet":
        return _SEVERAL
    for name in ("replicas", "parallelism"):
        found = (holder or {}).get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def _is_core(document: Object, kind: str) -> bool:
    return document.get("kind") == kind and document.get("apiVersion") == "v1"


def _is_built_in(document: Object) -> bool:
    """Whether an API group is one of Kubernetes' own: those have no dot, or end in `.k8s.io`."""
    group, slash, _ = str(document.get("apiVersion", "")).partition("/")
    return not slash or "." not in group or group.endswith(".k8s.io")
