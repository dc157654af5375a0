# SPDX-License-Identifier: Apache-2.0
"""What pods asked for and were given, for `watchword doctor`: through kubectl, with the reader's own rights.

Conditions say only how many pods of a service have no gate: they name no pod, and the operator sees no
Deployments. A pod that asked for a gate and runs without one looks healthy to everything else.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from watchword.cli.failures import UnusableInput
from watchword.cli.findings import Finding, Object, where_of
from watchword.cli.kubectl import run_kubectl
from watchword.cli.pod_templates import unanswered
from watchword.injection.names import (
    CALL_LABEL,
    DESK_TOKEN_VOLUME,
    EXCHANGE_LABEL,
    GATE_CONTAINER,
    GATE_LABEL,
    PER_REPLICA_ANNOTATION,
    PER_REPLICA_VALUE,
    TOKEN_VOLUME,
    USAGE_ANNOTATION,
)
from watchword.trust.audience import DEFAULT_RESERVED, AudienceRules
from watchword.trust.derived_audience import is_derived
from watchword.trust.gate_coverage import PodContainer, has_gate

_WORKLOADS: Final = "deployments,statefulsets,daemonsets,replicationcontrollers,cronjobs,jobs"
# So many services are asked for their pods one by one, and so many pods are named.
_ASKED_ONE_BY_ONE: Final = 20
_SHOWN: Final = 3
_REMEDY: Final = "Remedy: make the pod again where the webhook is asked, or remove the label"


def findings_of_pods(context: str | None, resources: list[Object]) -> Iterator[Finding]:
    """What is not well with pods and with what makes them.

    Args:
        context: of the kubeconfig.
        resources: all objects of the API group watchword.dev.
    """
    yield from findings_of_audiences(resources)
    try:
        for each in _read(context, _WORKLOADS):
            yield from findings_of_workload(each)
        yield from findings_of_selected(_selected(context, resources), resources)
        asking = (
            GATE_LABEL,
            f"!{GATE_LABEL},{CALL_LABEL}",
            f"!{GATE_LABEL},!{CALL_LABEL},{EXCHANGE_LABEL}",
        )
        pods = [pod for each in asking for pod in _read(context, "pods", each)]
    except UnusableInput as problem:
        what = f"they cannot be looked at: {problem.message} Remedy: {problem.remedy}"
        yield Finding("pods", what, is_serious=False)
        yield from _as_conditions_say(resources)
        return
    for pod in pods:
        yield from findings_of_pod(pod)
    yield from findings_of_stores(pods, resources)


def _as_conditions_say(resources: Iterable[Object]) -> Iterator[Finding]:
    """The same of pods without a gate for who may not see pods: how many, and no names."""
    for each in resources:
        for condition in (each.get("status") or {}).get("conditions") or ():
            if (condition["type"], condition["status"]) == ("Gated", "False"):
                said = f"Gated is False ({condition['reason']}): {condition.get('message', '')}"
                yield Finding(where_of(each), said)


def findings_of_audiences(resources: Iterable[Object]) -> Iterator[Finding]:
    """Declared audiences that are someone else's, of services of which the operator has not said so."""
    objects = list(resources)
    specs = [each["spec"] for each in objects if each["kind"] == "ClusterTrustedIssuer"]
    urls = frozenset(
        url for spec in specs for url in (spec["issuer"], *(spec.get("additionalIssuers") or ()))
    )
    rules = AudienceRules(reserved=DEFAULT_RESERVED, urls=urls)
    for each in objects:
        conditions = (each.get("status") or {}).get("conditions") or []
        if each["kind"] != "ProtectedService" or any(
            condition["type"] == "AudiencesDistinct" for condition in conditions
        ):
            continue
        for audience in each["spec"].get("audiences") or ():
            if rules.is_reserved(audience):
                what = (
                    f"spec.audiences: {audience!a} is someone else's (AudienceReserved): from the next "
                    "release on its gates refuse it. Remedy: let callers ask for status.audience"
                )
                yield Finding(where_of(each), what)


def findings_of_workload(document: Object) -> Iterator[Finding]:
    """A label that asks on what makes pods, and not on its pods."""
    if document["metadata"].get("ownerReferences"):
        # Of another object, which has the label to be moved.
        return
    for each in unanswered(document):
        what = f"{each.path}[{each.label}] asks, and its pods do not. Remedy: {each.remedy}"
        yield Finding(where_of(document), what)


def findings_of_pod(pod: Object) -> Iterator[Finding]:
    """A pod that asked and has not what it asked for, or a token that was made by an earlier release."""
    labels = pod["metadata"].get("labels") or {}
    if _has_ended(pod):
        return
    if GATE_LABEL in labels and _gate_of(pod) is None:
        yield Finding(where_of(pod), f"it asks for a gate and runs without one. {_REMEDY}")
    if EXCHANGE_LABEL in labels and _volume_of(pod, DESK_TOKEN_VOLUME) is None:
        yield Finding(where_of(pod), f"it asks for a token to exchange and has none. {_REMEDY}")
    if CALL_LABEL not in labels:
        return
    volume = _volume_of(pod, TOKEN_VOLUME)
    if volume is None:
        yield Finding(where_of(pod), f"it asks for a token and has none. {_REMEDY}")
        return
    for source in (volume.get("projected") or {}).get("sources") or ():
        audience = (source.get("serviceAccountToken") or {}).get("audience", "")
        if not is_derived(audience):
            what = (
                f"its token is for {audience!a}, as an earlier release made it, and is accepted while the "
                "service declares that. Remedy: restart the pod before spec.audiences loses it"
            )
            yield Finding(where_of(pod), what, is_serious=False)


def findings_of_selected(pods: Iterable[Object], resources: Iterable[Object]) -> Iterator[Finding]:
    """Pods that a service selects, that ask for no gate and have none: no one asks who calls them."""
    services = [each for each in resources if each["kind"] == "ProtectedService"]
    bare: dict[str, list[str]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        labels = metadata.get("labels") or {}
        is_over = _has_ended(pod) or metadata.get("deletionTimestamp")
        if is_over or GATE_LABEL in labels or _has_gate(pod):
            continue
        for each in services:
            wanted = _labels_of(each)
            if each["metadata"]["namespace"] == metadata["namespace"] and wanted.items() <= labels.items():
                bare.setdefault(where_of(each), []).append(metadata["name"])
    for service, names in sorted(bare.items()):
        shown = ", ".join(sorted(names)[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what = (
            f"it selects pods without a gate: {shown}{more}. Their app answers every caller that the network "
            f"lets through. Remedy: label the pods {GATE_LABEL}: enabled and make them again, or give them a "
            "gate as docs/how-to/put-the-gate-in-front.md says"
        )
        yield Finding(service, what)


def _labels_of(service: Object) -> dict[str, str]:
    found: dict[str, str] = service["spec"]["selector"]["matchLabels"]
    return found


def _has_gate(pod: Object) -> bool:
    """Whether a container is a gate, by the rule of the condition Gated."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return has_gate(msgspec.convert(containers, list[PodContainer]))


def _selected(context: str | None, resources: Iterable[Object]) -> list[Object]:
    """The pods that services select; of all namespaces at once where there are many services."""
    services = [each for each in resources if each["kind"] == "ProtectedService"]
    if len(services) > _ASKED_ONE_BY_ONE:
        return _read(context, "pods")
    found: dict[str, Object] = {}
    for each in services:
        selector = ",".join(f"{name}={value}" for name, value in sorted(_labels_of(each).items()))
        found |= {where_of(pod): pod for pod in _read(context, "pods", selector)}
    return list(found.values())


def findings_of_stores(pods: Iterable[Object], resources: Iterable[Object]) -> Iterator[Finding]:
    """Services that count usage in a SQLite file in each of several pods that run."""
    counting = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in resources
        if each["kind"] == "ProtectedService" and (each["spec"].get("usage") or {}).get("meters")
    }
    apart: dict[tuple[str, str], int] = {}
    for pod in pods:
        annotations = pod["metadata"].get("annotations") or {}
        arguments = (_gate_of(pod) or {}).get("args") or []
        is_alone = any(str(each).startswith("--usage-dsn=sqlite:") for each in arguments)
        if not is_alone or annotations.get(PER_REPLICA_ANNOTATION) == PER_REPLICA_VALUE:
            continue
        bundle = next((str(each) for each in arguments if str(each).startswith("--watch=")), "")
        name = bundle.rpartition("/")[2].removeprefix("watchword-bundle-")
        service = (pod["metadata"]["namespace"], name)
        is_over = _has_ended(pod) or pod["metadata"].get("deletionTimestamp")
        if service in counting and not is_over:
            apart[service] = apart.get(service, 0) + 1
    for (namespace, name), number in sorted(apart.items()):
        if number > 1:
            what = (
                f"{number} of its pods each count usage in a SQLite file of their own: an event that is sent "
                f"again to another counts twice. Remedy: name a Secret with a DSN in {USAGE_ANNOTATION}, run "
                f"one replica, or write {PER_REPLICA_ANNOTATION}: {PER_REPLICA_VALUE}"
            )
            yield Finding(f"ProtectedService {namespace}/{name}", what, is_serious=False)


def _has_ended(pod: Object) -> bool:
    """Whether no container of a pod will run again (Kubernetes, "Pod phase")."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def _volume_of(pod: Object, name: str) -> Object | None:
    return next((each for each in pod["spec"].get("volumes") or () if each["name"] == name), None)


def _gate_of(pod: Object) -> Object | None:
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next((each for each in containers if each["name"] == GATE_CONTAINER), None)


def _read(context: str | None, kinds: str, selector: str | None = None) -> list[Object]:
    flags = [] if selector is None else [f"--selector={selector}"]
    found = run_kubectl("get", kinds, "--all-namespaces", "--output=json", *flags, context=context)
    items: list[Object] = json.loads(found)["items"]
    return items
