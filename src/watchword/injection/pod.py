# SPDX-License-Identifier: Apache-2.0
"""One pod: what it asks for by its labels, and the pod that it becomes.

The pod's own containers stay as they were, but for a token's mount and its variables. A second
pass over a pod that was injected changes nothing, because admission may call a webhook twice.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from watchword.injection import names
from watchword.injection.app_probes import app_probes
from watchword.injection.calls import Call, calls_of
from watchword.injection.exchanges import exchange_of
from watchword.injection.facts import ServiceFacts, World
from watchword.injection.gate_container import is_proxying, sidecar, sidecar_volumes
from watchword.injection.gate_resources import gate_resources
from watchword.injection.pod_form import PodShape
from watchword.injection.refusals import InjectionRefusal, RefusalCode
from watchword.injection.settings import InjectionSettings
from watchword.injection.token_mounts import mount_of_calls, mount_of_exchange, taken_volumes
from watchword.trust.names import is_object_name

Pod = dict[str, Any]
# What a pod may be given, by what says so afterwards, and the label that asks for it.
_LABELS: Final = {"gate": names.GATE_LABEL, "token": names.CALL_LABEL, "exchange": names.EXCHANGE_LABEL}


class Injected(msgspec.Struct, frozen=True):
    """The pod as it should be.

    Attributes:
        pod: the whole object; the one that was given is unchanged.
        warnings: what its author should know, in sentences.
    """

    pod: Pod
    warnings: tuple[str, ...] = ()


class NothingAsked(msgspec.Struct, frozen=True):
    """The pod has none of the labels, or has what it asks for."""


def inject(
    pod: Pod, namespace: str, world: World, settings: InjectionSettings, *, replicas: int | None = None
) -> Injected | NothingAsked | InjectionRefusal:
    """Give a pod the gate or the tokens that it asks for. Never raises for a bad pod.

    Args:
        pod: a Pod object, or a pod template with `metadata` and `spec`.
        namespace: where it is created; what the object itself says is not looked at.
        world: the services and desks to look in.
        settings: how gates are injected here.
        replicas: how many pods like this one its owner asks for; None: only what the pod itself tells of it.
    """
    try:
        shape = msgspec.convert(pod, PodShape)
    except msgspec.ValidationError as error:
        detail = f"it is not a pod: {error}"
        return InjectionRefusal(RefusalCode.NOT_A_POD, "pod", detail, "send a v1 Pod")
    labels, annotations = shape.metadata.labels or {}, shape.metadata.annotations or {}
    misplaced = _misplaced(labels, annotations)
    if misplaced is not None:
        return misplaced
    # The annotation alone is the author's word: only what is there was injected.
    said = set(annotations.get(names.INJECTED_ANNOTATION, "").split(","))
    there = {
        "gate": shape.has_gate(),
        "token": shape.has_volume(names.TOKEN_VOLUME),
        "exchange": shape.has_volume(names.DESK_TOKEN_VOLUME),
    }
    done = {part for part, is_there in there.items() if part in said and is_there}
    wanted = {part for part, label in _LABELS.items() if label in labels} - done
    if not wanted:
        return NothingAsked()
    other_os = shape.field_of_other_os()
    if other_os is not None:
        detail = "Watchword's image is for Linux"
        return InjectionRefusal(RefusalCode.NOT_LINUX, other_os, detail, "remove Watchword's labels")
    after = copy.deepcopy(pod)
    warnings: list[str] = []
    if "gate" in wanted:
        added = _add_gate(after, shape, namespace, world, settings)
        if isinstance(added, InjectionRefusal):
            return added
        protected, said_of_gate = added
        warnings += said_of_gate
        known = shape.replicas_known() if replicas is None else replicas
        apart = _usage_apart(protected, annotations, known)
        if apart is not None:
            return apart
        warnings += _unbound(protected, shape.spec.service_account_name)
    if wanted - {"gate"}:
        of_tokens = _add_tokens(after, shape, namespace, world, wanted)
        if isinstance(of_tokens, InjectionRefusal):
            return of_tokens
        warnings += of_tokens
    given = after["metadata"].get("annotations") or {}
    after["metadata"]["annotations"] = {**given, names.INJECTED_ANNOTATION: ",".join(sorted(done | wanted))}
    return Injected(after, tuple(warnings))


def _misplaced(labels: Mapping[str, str], annotations: Mapping[str, str]) -> InjectionRefusal | None:
    """Why an annotation asks for nothing: no admission webhook is asked by one."""
    for name in _LABELS.values():
        if name in annotations and name not in labels:
            detail = "it is an annotation, which no admission webhook is asked by"
            remedy = f"write {name} under metadata.labels of the pod"
            field = f"metadata.annotations[{name}]"
            return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    if names.CALLS_ANNOTATION in annotations and names.CALL_LABEL not in labels:
        detail = "without the label no admission webhook is asked, and no token is made"
        remedy = f"label the pod {names.CALL_LABEL}: {names.CALL_BY_ANNOTATION}, or NAMESPACE.SERVICE"
        field = f"metadata.annotations[{names.CALLS_ANNOTATION}]"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    return None


def _add_tokens(
    pod: Pod, shape: PodShape, namespace: str, world: World, wanted: set[str]
) -> list[str] | InjectionRefusal:
    """Add the tokens that are wanted; returns what the pod's author should know."""
    labels, annotations = shape.metadata.labels or {}, shape.metadata.annotations or {}
    account = shape.spec.service_account_name or "default"
    warnings: list[str] = []
    if "token" in wanted:
        calls = calls_of(labels, annotations, world)
        if isinstance(calls, InjectionRefusal):
            return calls
        refusal = mount_of_calls(calls).add_to(pod, shape)
        if refusal is not None:
            return refusal
        warnings += _untrusted(calls, namespace, account, world)
    if "exchange" in wanted:
        exchange = exchange_of(labels, world)
        if isinstance(exchange, InjectionRefusal):
            return exchange
        refusal = mount_of_exchange(exchange).add_to(pod, shape)
        if refusal is not None:
            return refusal
        warnings += _trusted_by_none(namespace, account, world)
    return warnings


def _add_gate(
    pod: Pod, shape: PodShape, namespace: str, world: World, settings: InjectionSettings
) -> tuple[ServiceFacts, tuple[str, ...]] | InjectionRefusal:
    """Add the gate; returns whose it is, and what the pod's author should know."""
    service = _service_of(shape, namespace, world)
    if isinstance(service, InjectionRefusal):
        return service
    annotations = shape.metadata.annotations or {}
    given = gate_resources(shape, annotations, settings)
    if isinstance(given, InjectionRefusal):
        return given
    resources, warnings = given
    container = sidecar(service, annotations, settings, resources)
    if isinstance(container, InjectionRefusal):
        return container
    probes = app_probes(shape, service, annotations, settings.ops_port, is_proxied=is_proxying(annotations))
    if isinstance(probes, InjectionRefusal):
        return probes
    container["args"] = [*container["args"], *probes.arguments]
    secrets = _pull_secrets(shape, annotations, settings)
    if isinstance(secrets, InjectionRefusal):
        return secrets
    volumes = sidecar_volumes(service, annotations)
    taken = _taken(shape, service, volumes, settings)
    if taken is not None:
        return taken
    probes.apply(pod)
    pod["spec"]["initContainers"] = [container, *(pod["spec"].get("initContainers") or [])]
    pod["spec"]["volumes"] = [*(pod["spec"].get("volumes") or []), *volumes]
    if secrets:
        pod["spec"]["imagePullSecrets"] = [*(pod["spec"].get("imagePullSecrets") or []), *secrets]
    return service, (*warnings, *probes.warnings)


def _pull_secrets(
    shape: PodShape, annotations: Mapping[str, str], settings: InjectionSettings
) -> list[dict[str, str]] | InjectionRefusal:
    """The Secrets for the gate's image that the pod does not name already."""
    wanted = list(settings.image_pull_secrets)
    if names.PULL_SECRETS_ANNOTATION in annotations:
        wanted = [each.strip() for each in annotations[names.PULL_SECRETS_ANNOTATION].split(",")]
        if not all(map(is_object_name, wanted)):
            field = f"metadata.annotations[{names.PULL_SECRETS_ANNOTATION}]"
            detail = "it does not name Secrets"
            return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, "write NAME or NAME,NAME")
    there = {each.name for each in shape.spec.image_pull_secrets or ()}
    return [{"name": each} for each in dict.fromkeys(wanted) if each not in there]


def _service_of(shape: PodShape, namespace: str, world: World) -> ServiceFacts | InjectionRefusal:
    labels = shape.metadata.labels or {}
    field = f"metadata.labels[{names.GATE_LABEL}]"
    if labels[names.GATE_LABEL] != names.GATE_VALUE:
        detail = f"its value is {labels[names.GATE_LABEL][:63]!a}"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, f"use {names.GATE_VALUE}, or remove it")
    if namespace not in world.enabled_namespaces:
        detail = f"the namespace {namespace} does not take part in injection"
        remedy = (
            f"label the namespace {names.NAMESPACE_LABEL}: {names.NAMESPACE_VALUE}, or remove the pod's label"
        )
        return InjectionRefusal(RefusalCode.NAMESPACE_NOT_ENABLED, field, detail, remedy)
    services = world.selecting(namespace, labels)
    if not services:
        detail = f"no ProtectedService of the namespace {namespace} selects this pod"
        remedy = "create one whose spec.selector matches the pod's labels, or remove the label"
        return InjectionRefusal(RefusalCode.NO_SERVICE, field, detail, remedy)
    if len(services) > 1:
        listed = ", ".join(each.name for each in services[:5])
        detail = f"{len(services)} ProtectedServices select this pod ({listed})"
        remedy = "let one select it: a pod has one gate"
        return InjectionRefusal(RefusalCode.SEVERAL_SERVICES, field, detail, remedy)
    if shape.spec.host_network:
        detail = "the pod uses the node's network: no NetworkPolicy holds there and ports are the node's"
        remedy = "run it without hostNetwork, or remove the label"
        return InjectionRefusal(RefusalCode.HOST_NETWORK, "spec.hostNetwork", detail, remedy)
    return services[0]


def _taken(
    shape: PodShape, service: ServiceFacts, volumes: list[dict[str, Any]], settings: InjectionSettings
) -> InjectionRefusal | None:
    ours = {service.port: "the gate's port", settings.ops_port: "the gate's port for probes"}
    if settings.ops_port in {service.port, service.upstream_port}:
        detail = f"{settings.ops_port} is the gate's port for probes"
        remedy = "use another port for the service, or another ops port for all gates"
        return InjectionRefusal(RefusalCode.PORT_TAKEN, "spec.port", detail, remedy)
    for path, container in shape.containers():
        if container.name == names.GATE_CONTAINER:
            detail = f"a container is called {names.GATE_CONTAINER} already"
            remedy = f"remove it, or the label {names.GATE_LABEL}"
            return InjectionRefusal(RefusalCode.NAME_TAKEN, f"{path}.name", detail, remedy)
        for place, port in enumerate(container.ports or ()):
            if port.protocol == "TCP" and port.container_port in ours:
                detail = f"{port.container_port} is {ours[port.container_port]}"
                remedy = "let the container listen on spec.upstreamPort of its ProtectedService"
                field = f"{path}.ports[{place}].containerPort"
                return InjectionRefusal(RefusalCode.PORT_TAKEN, field, detail, remedy)
    return taken_volumes(shape, {volume["name"] for volume in volumes})


def _usage_apart(
    service: ServiceFacts, annotations: Mapping[str, str], replicas: int | None
) -> InjectionRefusal | None:
    """Why gates must not each count usage in a store of their own: a repeated event counts twice."""
    field = f"metadata.annotations[{names.PER_REPLICA_ANNOTATION}]"
    accepted = annotations.get(names.PER_REPLICA_ANNOTATION)
    if accepted not in (None, names.PER_REPLICA_VALUE):
        detail, remedy = f"its value is {accepted[:63]!a}", f"use {names.PER_REPLICA_VALUE}, or remove it"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    if not service.counts_usage or names.USAGE_ANNOTATION in annotations or accepted is not None:
        return None
    if replicas is None or replicas <= 1:
        return None
    detail = (
        f"{replicas} replicas would each keep usage in a SQLite file of their own: an event that is sent "
        "again to another replica counts twice, and each answers for its own part only"
    )
    remedy = (
        f"name a Secret with a PostgreSQL or ClickHouse DSN in {names.USAGE_ANNOTATION}, run one replica, or "
        f"write {names.PER_REPLICA_ANNOTATION}: {names.PER_REPLICA_VALUE}"
    )
    return InjectionRefusal(RefusalCode.SEVERAL_REPLICAS, field, detail, remedy)


def _unbound(service: ServiceFacts, account: str | None) -> Iterator[str]:
    account, bound = account or "default", service.service_account_name
    if account != bound:
        yield (
            f"the pod runs as ServiceAccount {account}, and the bundle is readable by {bound}: edits reach "
            f"the gate with the kubelet's delay. Set spec.serviceAccountName: {account} on the "
            f"ProtectedService {service.name}."
        )


def _untrusted(calls: list[Call], namespace: str, account: str, world: World) -> Iterator[str]:
    for call in calls:
        if (*call.place, namespace, account) not in world.trusted:
            yield (
                f"{call.place[0]}/{call.place[1]} trusts no workload {namespace}/{account} yet: "
                "its gate will answer 403 unknown_workload until a TrustedWorkload says so."
            )


def _trusted_by_none(namespace: str, account: str, world: World) -> Iterator[str]:
    if not any((where, name) == (namespace, account) for _, _, where, name in world.trusted):
        yield (
            f"no service trusts the workload {namespace}/{account} yet: the desk will answer "
            "target_unavailable until a TrustedWorkload says so."
        )
