# SPDX-License-Identifier: Apache-2.0
"""The gate as a native sidecar (KEP-753): up before the app starts, and there until the app has ended.

It fits the Pod Security standard `restricted` on its own, asks nothing of the pod's other containers, and has
a credential for the API server of its own: the one thing that it may read there is its bundle.
"""

import re
from collections.abc import Mapping
from typing import Any

from watchword.injection import names
from watchword.injection.facts import ServiceFacts
from watchword.injection.refusals import InjectionRefusal, RefusalCode
from watchword.injection.settings import InjectionSettings

_MODES = ("proxy", "authz")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_RATIO = re.compile(r"[0-9](\.[0-9]{1,9})?")
_APP_PROTOCOLS = ("http", "h2c")


def sidecar(
    service: ServiceFacts,
    annotations: Mapping[str, str],
    settings: InjectionSettings,
    resources: Mapping[str, Any],
) -> dict[str, Any] | InjectionRefusal:
    """The container, for `spec.initContainers`, with these resources."""
    mode = annotations.get(names.MODE_ANNOTATION, _MODES[0])
    if mode not in _MODES:
        field = f"metadata.annotations[{names.MODE_ANNOTATION}]"
        detail = f"{mode[:63]!a} is no mode of the gate"
        remedy = "use proxy (requests go through the gate) or authz (a proxy asks the gate)"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    protocol = annotations.get(names.APP_PROTOCOL_ANNOTATION, _APP_PROTOCOLS[0])
    if protocol not in _APP_PROTOCOLS:
        field = f"metadata.annotations[{names.APP_PROTOCOL_ANNOTATION}]"
        detail = f"{protocol[:63]!a} is no protocol that a gate speaks to an app"
        remedy = "use http (HTTP/1.1) or h2c (HTTP/2 without TLS, as gRPC servers speak it)"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    ratio = _trace_sample_ratio(annotations, settings)
    if isinstance(ratio, InjectionRefusal):
        return ratio
    has_tls = names.TLS_ANNOTATION in annotations
    namespace, name = service.namespace, service.name
    usage = _usage(annotations)
    environment = [*usage, *([{"name": _ENDPOINT, "value": settings.trace_endpoint}] if ratio else [])]
    arguments = [
        "sidecar",
        f"--bundle={names.BUNDLE_FOLDER}/bundle.json",
        f"--watch={namespace}/{names.bundle_name(name)}",
        f"--listen={settings.listen_host}:{service.port}",
        f"--ops-listen={settings.listen_host}:{settings.ops_port}",
        *([] if usage else [f"--usage-dsn=sqlite:///{names.USAGE_FOLDER}/usage.db"]),
        f"--log-level={settings.log_level}",
    ]
    if ratio:
        arguments.append(f"--trace-sample-ratio={ratio}")
    if mode == "proxy":
        arguments.append(f"--upstream={protocol}://127.0.0.1:{service.upstream_port}")
    if has_tls:
        arguments += [f"--tls-cert={names.TLS_FOLDER}/tls.crt", f"--tls-key={names.TLS_FOLDER}/tls.key"]
    return {
        "name": names.GATE_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "args": arguments,
        **({"env": environment} if environment else {}),
        "ports": [
            {"name": "watchword-gate", "containerPort": service.port, "protocol": "TCP"},
            {"name": "watchword-ops", "containerPort": settings.ops_port, "protocol": "TCP"},
        ],
        # Started means listening: the app begins when callers would be answered, if only with `not_ready`.
        "startupProbe": _probe("/healthz", settings.ops_port, periodSeconds=1, failureThreshold=60),
        "livenessProbe": _probe("/healthz", settings.ops_port, periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe("/readyz", settings.ops_port, periodSeconds=5, failureThreshold=2),
        # The kubelet runs it when the pod's end begins, and the gate's own turn to stop is after the app's.
        "lifecycle": {"preStop": {"exec": {"command": ["/usr/bin/watchword", "drain"]}}},
        **({"resources": resources} if resources else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            **({} if settings.run_as_user is None else {"runAsGroup": settings.run_as_user}),
            "runAsNonRoot": True,
            **({} if settings.run_as_user is None else {"runAsUser": settings.run_as_user}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": names.BUNDLE_VOLUME, "mountPath": names.BUNDLE_FOLDER, "readOnly": True},
            {"name": names.API_VOLUME, "mountPath": names.API_FOLDER, "readOnly": True},
            {"name": names.USAGE_VOLUME, "mountPath": names.USAGE_FOLDER},
            *(
                [{"name": names.TLS_VOLUME, "mountPath": names.TLS_FOLDER, "readOnly": True}]
                if has_tls
                else []
            ),
        ],
    }


def is_proxying(annotations: Mapping[str, str]) -> bool:
    """Whether the gate of a pod passes requests on to the app; else a proxy of the pod's asks it."""
    return annotations.get(names.MODE_ANNOTATION, _MODES[0]) == _MODES[0]


def sidecar_volumes(service: ServiceFacts, annotations: Mapping[str, str]) -> list[dict[str, Any]]:
    """The volumes that the container mounts."""
    bundle = names.bundle_name(service.name)
    volumes: list[dict[str, Any]] = [
        # A service that was made this second has no bundle yet; the gate waits for it, not the kubelet.
        {"name": names.BUNDLE_VOLUME, "configMap": {"name": bundle, "optional": True}},
        {
            "name": names.API_VOLUME,
            "projected": {
                "defaultMode": 0o444,
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                    {
                        "configMap": {
                            "name": "kube-root-ca.crt",
                            "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        }
                    },
                ],
            },
        },
        {"name": names.USAGE_VOLUME, "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if names.TLS_ANNOTATION in annotations:
        secret = {"secretName": annotations[names.TLS_ANNOTATION], "defaultMode": 0o444}
        volumes.append({"name": names.TLS_VOLUME, "secret": secret})
    return volumes


def _trace_sample_ratio(
    annotations: Mapping[str, str], settings: InjectionSettings
) -> str | InjectionRefusal:
    """Which part of the requests is traced; empty: none. Where spans go to is the platform's word alone."""
    given = annotations.get(names.TRACE_ANNOTATION)
    ratio = settings.trace_sample_ratio if given is None else given
    if _RATIO.fullmatch(ratio) is None or float(ratio) > 1:
        field = f"metadata.annotations[{names.TRACE_ANNOTATION}]"
        detail = f"{ratio[:63]!a} is no number from 0 to 1"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, "write one such as 0.05, or 0 for none")
    if not float(ratio):
        return ""
    if settings.trace_endpoint:
        return ratio
    if given is None:
        return ""
    field = f"metadata.annotations[{names.TRACE_ANNOTATION}]"
    detail = "this cluster names no collector that gates export traces to"
    remedy = "have the platform's owner set the chart's gate.traceEndpoint, or remove the annotation"
    return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)


def _usage(annotations: Mapping[str, str]) -> list[dict[str, Any]]:
    """The variable of `--usage-dsn`: a DSN may hold a password, so it is never written into a pod."""
    if names.USAGE_ANNOTATION not in annotations:
        return []
    reference = {"name": annotations[names.USAGE_ANNOTATION], "key": "dsn"}
    return [{"name": "WATCHWORD_USAGE_DSN", "valueFrom": {"secretKeyRef": reference}}]


def _probe(path: str, port: int, **settings: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}, "timeoutSeconds": 3, **settings}
