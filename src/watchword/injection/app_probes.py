# SPDX-License-Identifier: Apache-2.0
"""The probes of the containers behind a gate: which of them cannot be answered, and how they can be.

A kubelet probes a pod's address from outside of it. A probe of the gate's port has no token, and a probe of
the app's port finds no one there when the app listens on loopback only, as it should. The gate can ask the
app for the kubelet: the probe is then of the gate's ops port, and the gate is told what to ask
(`--app-probe`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from watchword.injection import names
from watchword.injection.facts import ServiceFacts
from watchword.injection.pod_form import Container, PodShape, Probe
from watchword.injection.refusals import InjectionRefusal, RefusalCode

_KINDS: Final = ("startupProbe", "livenessProbe", "readinessProbe")


class AppProbes(msgspec.Struct, frozen=True):
    """What becomes of a pod's probes.

    Attributes:
        arguments: flags of the gate, one for each probe that it makes for the kubelet.
        replaced: the new handler of a probe, by (field of the container, kind of the probe).
        warnings: of probes that cannot be answered, for the pod's author.
    """

    arguments: tuple[str, ...] = ()
    replaced: Mapping[tuple[str, str], dict[str, Any]] = {}
    warnings: tuple[str, ...] = ()

    def apply(self, pod: dict[str, Any]) -> None:
        """Replace the handlers of a pod's probes, whose timing stays as it was."""
        for field in ("containers", "initContainers"):
            for place, container in enumerate(pod["spec"].get(field) or []):
                for kind in _KINDS:
                    handler = self.replaced.get((f"spec.{field}[{place}]", kind))
                    if handler is None:
                        continue
                    kept = {
                        name: value
                        for name, value in container[kind].items()
                        if name not in ("httpGet", "tcpSocket")
                    }
                    container[kind] = {**handler, **kept}


def app_probes(
    shape: PodShape, service: ServiceFacts, annotations: Mapping[str, str], ops_port: int, *, is_proxied: bool
) -> AppProbes | InjectionRefusal:
    """Judge the probes of a pod that is about to get a gate.

    Args:
        shape: the pod, before the gate is in it.
        service: whose gate it is.
        annotations: the pod's; one of them asks for probes to be rewritten.
        ops_port: the port of the gate that may answer for the app.
        is_proxied: whether the gate passes requests on to the app; else a proxy of the pod's does.
    """
    wanted = annotations.get(names.PROBES_ANNOTATION)
    if wanted not in (None, names.PROBES_VALUE):
        field = f"metadata.annotations[{names.PROBES_ANNOTATION}]"
        remedy = f"use {names.PROBES_VALUE}, or remove it"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, f"its value is {wanted[:63]!a}", remedy)
    arguments: list[str] = []
    replaced: dict[tuple[str, str], dict[str, Any]] = {}
    warnings: list[str] = []
    for field, container, kind, probe in _probes(shape):
        port = _port_of(probe, container)
        unanswered = {service.port} | ({service.upstream_port} if is_proxied else set())
        if port not in unanswered or _names_another_host(probe):
            continue
        target = _target(probe, service.upstream_port)
        if wanted and target is not None:
            name = f"{container.name}-{kind.removesuffix('Probe')}"
            arguments.append(f"--app-probe={name}={target}")
            path = f"{names.APP_PROBES_PATH}/{name}"
            replaced[field, kind] = {"httpGet": {"path": path, "port": ops_port, "scheme": "HTTP"}}
            continue
        warnings.append(_warning(f"{field}.{kind}", port, service, can_be_rewritten=target is not None))
    return AppProbes(tuple(arguments), replaced, tuple(warnings))


def _probes(shape: PodShape) -> Iterator[tuple[str, Container, str, Probe]]:
    for field, container in shape.containers():
        for kind, probe in zip(
            _KINDS,
            (container.startup_probe, container.liveness_probe, container.readiness_probe),
            strict=True,
        ):
            if probe is not None:
                yield field, container, kind, probe


def _port_of(probe: Probe, container: Container) -> int | None:
    if probe.grpc is not None:
        return probe.grpc.port
    handler = probe.http_get or probe.tcp_socket
    if handler is None:
        return None
    if isinstance(handler.port, int):
        return handler.port
    named = [each.container_port for each in container.ports or () if each.name == handler.port]
    return named[0] if named else None


def _names_another_host(probe: Probe) -> bool:
    handler = probe.http_get or probe.tcp_socket
    return handler is not None and bool(handler.host)


def _target(probe: Probe, upstream_port: int) -> str | None:
    """What the gate is to ask, on loopback; None where it cannot do what the kubelet would."""
    if probe.tcp_socket is not None:
        return f"tcp://127.0.0.1:{upstream_port}"
    asked = probe.http_get
    if asked is None or asked.http_headers:
        return None
    path = asked.path or "/"
    is_plain = path.startswith("/") and path.isascii() and path.isprintable() and not set(path) & set(" #")
    scheme = (asked.scheme or "HTTP").lower()
    return f"{scheme}://127.0.0.1:{upstream_port}{path}" if is_plain and scheme in ("http", "https") else None


def _warning(field: str, port: int | None, service: ServiceFacts, *, can_be_rewritten: bool) -> str:
    why = (
        f"{field} asks port {port}, which is the gate's: without a token it is answered with 401."
        if port == service.port
        else f"{field} asks port {port} from outside of the pod: an app on 127.0.0.1 never answers."
    )
    remedy = (
        f" With the annotation {names.PROBES_ANNOTATION}: {names.PROBES_VALUE} the gate asks for the kubelet."
        if can_be_rewritten
        else " The gate cannot make this probe for the kubelet: use exec, or httpGet without httpHeaders."
    )
    return why + remedy
