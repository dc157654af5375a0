# SPDX-License-Identifier: Apache-2.0
"""What gates say of the requests that they refused: counters by reason, and their audit log by caller.

Both are read through the API server, with the reader's rights: the counters from the ops port by the pod
proxy, the log as `kubectl logs` reads it. Only what the log marks as proven is taken from it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from watchword.cli.failures import UnusableInput
from watchword.console.model import Gap
from watchword.console.source import GateReading, Gates, Refused
from watchword.identity import is_service_account_name
from watchword.trust.gate_coverage import PodContainer, is_gate

# So many gates are asked for one page: two requests each.
MAX_GATES: Final = 8
LOG_LINES: Final = 1000
LOG_BYTES: Final = 512 * 1024
MAX_METRICS_BYTES: Final = 4 * 2**20
_OPS_PORT: Final = 9090
# Beyond it no float counts by ones, and no gate has come there.
_MAX_COUNT: Final = 2.0**53
_TOGETHER: Final = 4
_FORBIDDEN: Final = "(Forbidden)"
_LISTEN: Final = re.compile(r"--ops-listen=.*:([0-9]{1,5})")
Get = Callable[[str], bytes]


def read_gates(get: Get, namespace: str, labels: Mapping[str, str]) -> Gates:
    """Ask the gates of the pods with these labels.

    Args:
        get: makes one GET of the API server; raises UnusableInput.
        namespace: of the pods.
        labels: that select them.
    """
    wanted = quote(",".join(f"{name}={value}" for name, value in sorted(labels.items())), safe="")
    what = f"the gates of {namespace}"
    try:
        listed = json.loads(get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={wanted}"))["items"]
    except UnusableInput as problem:
        return Gates(gaps=(_gap(what, problem, "list", "pods", namespace),))
    pods = [(name, container, port) for pod in listed for name, container, port in _gates_of(pod)]
    gaps: list[Gap] = []
    if listed and not pods:
        why = f"none of its {len(listed)} pods has a gate in it"
        gaps.append(Gap(what, why, "Give them one: docs/how-to/inject.md."))
    asked = pods[:MAX_GATES]
    with ThreadPoolExecutor(_TOGETHER) as pool:
        read = list(pool.map(lambda pod: _read_gate(get, namespace, *pod), asked))
    gaps += _merged([each for _, missing in read for each in missing])
    return Gates(tuple(reading for reading, _ in read), len(pods) - len(asked), tuple(gaps))


def _gates_of(pod: Any) -> Iterable[tuple[str, str, int]]:
    """The pod's name, its gate's container and ops port, where it has a gate that runs."""
    name, spec = pod["metadata"]["name"], pod.get("spec") or {}
    if not is_service_account_name(name) or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return
    for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        container = msgspec.convert(each, PodContainer)
        if is_gate(container):
            given = [*(container.command or ()), *(container.args or ())]
            ports = [int(found[1]) for text in given if (found := _LISTEN.fullmatch(text))]
            yield name, container.name, ports[0] if ports else _OPS_PORT
            return


def _read_gate(
    get: Get, namespace: str, pod: str, container: str, port: int
) -> tuple[GateReading, tuple[Gap, ...]]:
    base = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    gaps: list[Gap] = []
    decisions: Mapping[str, int] | None = None
    refused: tuple[Refused, ...] | None = None
    try:
        decisions = decisions_of(get(f"{base}:{port}/proxy/metrics"))
    except UnusableInput as problem:
        gaps.append(_gap(f"counters of {pod}", problem, "get", "pods/proxy", namespace))
    except ValueError:
        why = f"what answers on port {port} of {pod} is not the metrics of a gate"
        gaps.append(Gap(f"counters of {pod}", why, "Name the port with --ops-listen in the pod's args."))
    try:
        flags = f"container={quote(container, safe='')}&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}"
        refused = tuple(refusals_of(get(f"{base}/log?{flags}")))
    except UnusableInput as problem:
        gaps.append(_gap(f"refusals by caller of {pod}", problem, "get", "pods/log", namespace))
    return GateReading(pod, decisions, refused), tuple(gaps)


def decisions_of(metrics: bytes) -> dict[str, int]:
    """The decisions by reason out of a gate's metrics.

    Raises:
        ValueError: they are not those of a gate.
    """
    if len(metrics) > MAX_METRICS_BYTES:
        raise ValueError("too large")
    found: dict[str, int] = {}
    families = text_string_to_metric_families(metrics.decode())
    is_gate = False
    for family in families:
        if family.name != "watchword_decisions":
            continue
        is_gate = True
        for sample in family.samples:
            reason = sample.labels.get("reason", "")
            if sample.name == "watchword_decisions_total" and 0 < sample.value < _MAX_COUNT:
                found[reason] = found.get(reason, 0) + int(sample.value)
    if not is_gate:
        raise ValueError("no watchword_decisions")
    return found


def refusals_of(log: bytes) -> Iterable[Refused]:
    """The refusals in an audit log. Lines of the gate's own log, and cut ones, are passed over."""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict) or entry.get("outcome") != "refused":
            continue
        at = entry.get("time")
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < _MAX_COUNT:
            continue
        texts = {name: entry[name] for name in entry if isinstance(entry[name], str)}
        yield Refused(
            float(at),
            texts.get("reason", ""),
            texts.get("workload") or texts.get("subject", ""),
            texts.get("issuer", ""),
            texts.get("pod", ""),
            texts.get("detail", ""),
            texts.get("decision_id", ""),
        )


def _merged(gaps: list[Gap]) -> list[Gap]:
    """One gap for each reason: what one right would show is said once, however many gates there are."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in gaps:
        found.setdefault((each.why, each.remedy), []).append(each.what)
    return [
        Gap(names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else ""), why, remedy)
        for (why, remedy), names in found.items()
    ]


def _gap(what: str, problem: UnusableInput, verb: str, resource: str, namespace: str) -> Gap:
    if _FORBIDDEN in problem.message:
        why = f"you may not {verb} {resource} in the namespace {namespace}"
        return Gap(what, why, f"It needs the verb {verb} on {resource} in the namespace {namespace}.")
    return Gap(what, problem.message, problem.remedy)
