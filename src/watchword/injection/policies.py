# SPDX-License-Identifier: Apache-2.0
"""The two ValidatingAdmissionPolicies that refuse anyone who asks for a gate or a token and is given none.

A webhook is not asked about namespaces that it must not stop, nor while its configuration is away, and it
never sees a label that is on a Deployment and not on its pods. These run inside of the API server, after all
webhooks, and so need no process that could be missing.
"""

from typing import Any, Final

from watchword.injection.names import (
    CALL_BY_ANNOTATION,
    CALL_LABEL,
    CALLS_ANNOTATION,
    DESK_TOKEN_VOLUME,
    EXCHANGE_LABEL,
    GATE_CONTAINER,
    GATE_LABEL,
    TOKEN_VOLUME,
)

Spec = dict[str, Any]
PODS_POLICY: Final = "pods.injection.watchword.dev"
WORKLOADS_POLICY: Final = "workloads.injection.watchword.dev"
_ASKS: Final = f"['{GATE_LABEL}', '{CALL_LABEL}', '{EXCHANGE_LABEL}']"
_ASKS_IN_VAIN: Final = f"['{GATE_LABEL}', '{CALL_LABEL}', '{EXCHANGE_LABEL}', '{CALLS_ANNOTATION}']"
_WRITES: Final = ["CREATE", "UPDATE"]
# Argo's Rollout is the one kind of others that has its template where Kubernetes' own have it.
_WORKLOADS: Final = (
    ("", ["replicationcontrollers"]),
    ("apps", ["deployments", "replicasets", "statefulsets", "daemonsets"]),
    ("batch", ["jobs", "cronjobs"]),
    ("argoproj.io", ["rollouts"]),
)


def pods_policy_spec() -> Spec:
    """No pod that asks is stored without what it asks for.

    On an update only a label that is new counts: a pod from before the policy must still be able to lose its
    finalizers.
    """
    labels = "has(object.metadata.labels) && "
    was_there = (
        "request.operation == 'UPDATE' && has(oldObject.metadata.{0}) && name in oldObject.metadata.{0}"
    )
    asks = " || ".join(
        f"(has(object.metadata.{place}) && name in object.metadata.{place} && !({was_there.format(place)}))"
        for place in ("labels", "annotations")
    )
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_rule("", ["pods"])]},
        "matchConditions": [{"name": "asks", "expression": f"{_ASKS_IN_VAIN}.exists(name, {asks})"}],
        "validations": [
            {
                "expression": (
                    f"!({labels}'{GATE_LABEL}' in object.metadata.labels) || "
                    "(has(object.spec.initContainers) && object.spec.initContainers"
                    f".exists(each, each.name == '{GATE_CONTAINER}'))"
                ),
                "messageExpression": _message(GATE_LABEL, "a gate", "it would run unprotected"),
                "reason": "Invalid",
            },
            _demand(CALL_LABEL, TOKEN_VOLUME, "a token", "its calls would be refused"),
            _demand(
                EXCHANGE_LABEL, DESK_TOKEN_VOLUME, "a token to exchange", "it would have none for its desk"
            ),
            {
                "expression": (
                    f"{_ASKS}.all(name, !(has(object.metadata.annotations) && name in "
                    f"object.metadata.annotations) || ({labels}name in object.metadata.labels))"
                ),
                "message": (
                    f"metadata.annotations: {GATE_LABEL}, {CALL_LABEL} and {EXCHANGE_LABEL} are labels; as "
                    "annotations they ask for nothing. Remedy: write them under metadata.labels of the pod "
                    "template."
                ),
                "reason": "Invalid",
            },
            {
                "expression": (
                    "!(has(object.metadata.annotations) && "
                    f"'{CALLS_ANNOTATION}' in object.metadata.annotations) || "
                    f"({labels}'{CALL_LABEL}' in object.metadata.labels)"
                ),
                "message": (
                    f"metadata.annotations[{CALLS_ANNOTATION}]: without the label {CALL_LABEL} it asks for "
                    f"nothing. Remedy: write {CALL_LABEL}: {CALL_BY_ANNOTATION}, or NAMESPACE.SERVICE, under "
                    "metadata.labels of the pod template."
                ),
                "reason": "Invalid",
            },
        ],
    }


def workloads_policy_spec() -> Spec:
    """No object that makes pods has a label that asks, unless the pods that it makes have it too.

    What was so before can still be changed: a controller that updates it must not be stopped.
    """
    template = (
        "request.resource.resource == 'cronjobs' ? dyn({0}.spec.jobTemplate.spec.template) : "
        "(has({0}.spec.template) ? dyn({0}.spec.template) : dyn({{}}))"
    )
    has = "(has({0}.metadata) && has({0}.metadata.labels) && name in {0}.metadata.labels)"
    new, old = has.format("variables.template"), has.format("variables.before")
    job = (
        "(request.resource.resource == 'cronjobs' && has(variables.{0}.spec.jobTemplate.metadata) && "
        "has(variables.{0}.spec.jobTemplate.metadata.labels) && "
        "name in variables.{0}.spec.jobTemplate.metadata.labels)"
    )
    asks_now = f"({has.format('variables.it')} || {job.format('it')})"
    asked_before = f"({has.format('variables.was')} || {job.format('was')})"
    is_update = "request.operation == 'UPDATE'"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_rule(group, names) for group, names in _WORKLOADS]},
        "variables": [
            # Of several kinds: dyn() keeps the type checker from asking each for the fields of all.
            {"name": "it", "expression": "dyn(object)"},
            {"name": "was", "expression": f"{is_update} ? dyn(oldObject) : dyn({{}})"},
            {"name": "template", "expression": template.format("variables.it")},
            {
                "name": "before",
                "expression": f"{is_update} ? ({template.format('variables.was')}) : dyn({{}})",
            },
        ],
        "validations": [
            {
                "expression": (
                    f"{_ASKS}.all(name, !{asks_now} || {new} || ({is_update} && {asked_before} && !{old}))"
                ),
                "message": (
                    f"metadata.labels: {GATE_LABEL}, {CALL_LABEL} or {EXCHANGE_LABEL} is on this object and "
                    "not on the pods that it makes, which would be given nothing. Remedy: write it under "
                    "metadata.labels of the pod template, or remove it."
                ),
                "reason": "Invalid",
            }
        ],
    }


def _demand(label: str, volume: str, what: str, consequence: str) -> dict[str, Any]:
    """A pod with a label has the volume of what it asks for."""
    return {
        "expression": (
            f"!(has(object.metadata.labels) && '{label}' in object.metadata.labels) || "
            f"(has(object.spec.volumes) && object.spec.volumes.exists(each, each.name == '{volume}'))"
        ),
        "messageExpression": _message(label, what, consequence),
        "reason": "Invalid",
    }


def _rule(group: str, resources: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": ["*"], "operations": _WRITES, "resources": resources}


def _message(label: str, what: str, consequence: str) -> str:
    return (
        f"'metadata.labels[{label}]: the pod asks for {what} and was given none in the namespace ' + "
        f"request.namespace + ': {consequence}. The webhook is not asked about kube-system, its own "
        "namespace and pods that exist. Remedy: use another namespace, add what it asks for with "
        "`watchword inject`, or remove the label.'"
    )
