# SPDX-License-Identifier: Apache-2.0
"""What the gate sets aside and may use in one pod: the pod must fit its namespace and keep its QoS class.

A pod is Guaranteed only while each container has equal requests and limits of CPU and memory, and a pod with
resources of its own has no room for requests that its author did not count (Kubernetes documentation, "Pod
Quality of Service Classes" and "Pod-level resources").
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from watchword.injection import names
from watchword.injection.pod_form import Amounts, PodShape
from watchword.injection.quantities import quantity
from watchword.injection.refusals import InjectionRefusal, RefusalCode
from watchword.injection.settings import InjectionSettings

Resources = dict[str, dict[str, str]]
_COUNTED: Final = ("cpu", "memory")
# The annotation, and where in a container's resources its value goes.
_ANNOTATIONS: Final = {
    names.CPU_ANNOTATION: ("requests", "cpu"),
    names.CPU_LIMIT_ANNOTATION: ("limits", "cpu"),
    names.MEMORY_ANNOTATION: ("requests", "memory"),
    names.MEMORY_LIMIT_ANNOTATION: ("limits", "memory"),
}


def gate_resources(
    shape: PodShape, annotations: Mapping[str, str], settings: InjectionSettings
) -> tuple[Resources, tuple[str, ...]] | InjectionRefusal:
    """The gate's `resources` in this pod, with warnings for the pod's author.

    Args:
        shape: the pod, before the gate is in it.
        annotations: the pod's, which win over the settings.
        settings: what gates get in this cluster.
    """
    found: Resources = {
        "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request},
        "limits": {"memory": settings.memory_limit}
        | ({"cpu": settings.cpu_limit} if settings.cpu_limit else {}),
    }
    said: set[tuple[str, str]] = set()
    for name, (part, kind) in _ANNOTATIONS.items():
        if name not in annotations:
            continue
        amount = quantity(annotations[name])
        if amount is None or amount <= 0:
            return _refusal(
                name, f"{annotations[name][:63]!a} is no quantity", "write one such as 250m or 96Mi"
            )
        found[part][kind] = annotations[name]
        said.add((part, kind))
    if shape.spec.resources is not None and (shape.spec.resources.requests or shape.spec.resources.limits):
        return _within_the_pod(found, said, shape.spec.resources)
    warnings: tuple[str, ...] = ()
    if _is_guaranteed(shape):
        found["limits"].setdefault("cpu", settings.guaranteed_cpu)
        for kind in _COUNTED:
            if ("requests", kind) in said and quantity(found["requests"][kind]) != quantity(
                found["limits"][kind]
            ):
                name = names.CPU_ANNOTATION if kind == "cpu" else names.MEMORY_ANNOTATION
                limit = names.CPU_LIMIT_ANNOTATION if kind == "cpu" else names.MEMORY_LIMIT_ANNOTATION
                detail = (
                    f"the pod is of the QoS class Guaranteed, and the gate would request "
                    f"{found['requests'][kind]} of {kind} with a limit of {found['limits'][kind]}"
                )
                return _refusal(name, detail, f"write {limit} with the same value, or remove {name}")
        found["requests"] = {kind: found["limits"][kind] for kind in _COUNTED}
        warning = (
            f"the pod is of the QoS class Guaranteed: its gate gets {found['limits']['cpu']} of CPU and "
            f"{found['limits']['memory']} of memory, as requests and as limits, so that it stays so. "
            f"{names.CPU_LIMIT_ANNOTATION} and {names.MEMORY_LIMIT_ANNOTATION} choose others."
        )
        warnings = (warning,)
    for kind in _COUNTED:
        least, most = (quantity(found[part].get(kind, "")) for part in ("requests", "limits"))
        if least is not None and most is not None and least > most:
            name = names.CPU_LIMIT_ANNOTATION if kind == "cpu" else names.MEMORY_LIMIT_ANNOTATION
            detail = (
                f"the gate's request of {kind}, {found['requests'][kind]}, is above its limit, "
                f"{found['limits'][kind]}"
            )
            return _refusal(name, detail, f"write {name} with the request's value or more")
    return found, warnings


def _within_the_pod(
    found: Resources, said: set[tuple[str, str]], whole: Amounts
) -> tuple[Resources, tuple[str, ...]]:
    """What is left for the gate of a pod that has resources itself: it shares those that the pod names."""
    shared = {kind for kind in _COUNTED for part in (whole.requests, whole.limits) if part and kind in part}
    kept = {
        part: {kind: amount for kind, amount in amounts.items() if kind not in shared or (part, kind) in said}
        for part, amounts in found.items()
    }
    warning = (
        f"the pod has resources itself (spec.resources): its gate shares its {' and '.join(sorted(shared))}, "
        f"without a part of its own. Raise spec.resources by what a gate needs "
        f"({found['requests']['cpu']} of CPU, {found['requests']['memory']} of memory)."
    )
    return {part: amounts for part, amounts in kept.items() if amounts}, (warning,) if shared else ()


def _is_guaranteed(shape: PodShape) -> bool:
    """Whether each container has equal requests and limits of CPU and memory; a limit alone is both."""
    return all(
        container.resources is not None and all(_is_pinned(container.resources, kind) for kind in _COUNTED)
        for _, container in shape.containers()
    )


def _is_pinned(resources: Amounts, kind: str) -> bool:
    limit = _amount(resources.limits, kind)
    return limit is not None and limit > 0 and _amount(resources.requests, kind) in (None, limit)


def _amount(amounts: Mapping[str, Any] | None, kind: str) -> Decimal | None:
    return quantity((amounts or {}).get(kind))


def _refusal(annotation: str, detail: str, remedy: str) -> InjectionRefusal:
    field = f"metadata.annotations[{annotation}]"
    return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
