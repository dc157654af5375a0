# SPDX-License-Identifier: Apache-2.0
"""Gates in namespaces that have rules: quotas, QoS classes, pod-level resources, registries, Windows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.injection.pods import CLUSTER_ID, SETTINGS, app_pod, caller_pod, world
from watchword.injection import (
    Injected,
    InjectionRefusal,
    InjectionSettings,
    NothingAsked,
    RefusalCode,
    ServiceFacts,
    World,
    inject,
)

Json = dict[str, Any]
GATE = "watchword.dev/gate"


def result(pod: Json, settings: InjectionSettings = SETTINGS) -> Injected | NothingAsked | InjectionRefusal:
    return inject(pod, "tuist", world(), settings)


def gate(pod: Json, settings: InjectionSettings = SETTINGS) -> Json:
    found = result(pod, settings)
    assert isinstance(found, Injected), found
    container: Json = found.pod["spec"]["initContainers"][0]
    return container


def warnings(pod: Json) -> str:
    found = result(pod)
    assert isinstance(found, Injected), found
    return "\n".join(found.warnings)


def refusal(pod: Json) -> InjectionRefusal:
    found = result(pod)
    assert isinstance(found, InjectionRefusal), found
    return found


def with_resources(*each: Json | None, **whole: Any) -> Json:
    pod = app_pod(spec__initContainers=[])
    pod["spec"]["containers"] = [
        {"name": f"c{n}", "image": "i"} | ({} if given is None else {"resources": given})
        for n, given in enumerate(each)
    ]
    pod["spec"] |= whole
    return pod


def annotated(**annotations: str) -> Json:
    return app_pod(metadata__annotations={f"{GATE}-{k.replace('_', '-')}": v for k, v in annotations.items()})


PINNED = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}


def test_as_shipped_a_gate_has_no_limit_of_cpu() -> None:
    assert gate(app_pod())["resources"] == {
        "requests": {"cpu": "10m", "memory": "64Mi"},
        "limits": {"memory": "144Mi"},
    }


def test_a_quota_on_limits_is_met_by_a_setting_or_by_an_annotation() -> None:
    settings = msgspec.structs.replace(SETTINGS, cpu_limit="500m")
    assert gate(app_pod(), settings)["resources"]["limits"] == {"cpu": "500m", "memory": "144Mi"}
    pod = annotated(cpu="50m", cpu_limit="200m", memory="96Mi", memory_limit="256Mi")
    assert gate(pod, settings)["resources"] == {
        "requests": {"cpu": "50m", "memory": "96Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }


@pytest.mark.parametrize(
    ("annotations", "remedy"),
    [
        ({"cpu": "lots"}, "250m"),
        ({"cpu": "0"}, "250m"),
        ({"cpu": "-1"}, "250m"),
        ({"memory": ""}, "96Mi"),
        ({"memory": "1Gi"}, "gate-memory-limit"),
        ({"cpu": "2", "cpu_limit": "1"}, "gate-cpu-limit"),
        ({"image_pull_secrets": "a,,b"}, "NAME,NAME"),
        ({"image_pull_secrets": "No_Secret"}, "NAME,NAME"),
        ({"rewrite_probes": "yes"}, "enabled"),
    ],
)
def test_a_choice_that_no_pod_can_have_is_refused(annotations: dict[str, str], remedy: str) -> None:
    found = refusal(annotated(**annotations))
    assert found.code is RefusalCode.BAD_LABEL
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "given",
    [
        (PINNED,),
        (PINNED, PINNED),
        # A limit alone is its request (API defaults), and a number may be spelt differently.
        ({"limits": {"cpu": "2", "memory": "1Gi"}},),
        ({"requests": {"cpu": 2, "memory": "1024Mi"}, "limits": {"cpu": "2000m", "memory": "1Gi"}},),
    ],
)
def test_a_guaranteed_pod_stays_guaranteed_and_its_author_is_told(given: tuple[Json, ...]) -> None:
    pod = with_resources(*given)
    found = gate(pod)["resources"]
    assert found["requests"] == found["limits"] == {"cpu": "100m", "memory": "144Mi"}
    assert "stays so" in warnings(pod)


@pytest.mark.parametrize(
    "given",
    [
        (PINNED, None),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}},),
        ({"limits": {"cpu": "2"}},),
        ({"requests": {"cpu": "2", "memory": "1Gi"}},),
        ({"limits": {"cpu": "0", "memory": "0"}},),
        (None,),
    ],
)
def test_any_other_pod_keeps_a_gate_that_may_use_idle_cpu(given: tuple[Json | None, ...]) -> None:
    pod = with_resources(*given)
    assert "cpu" not in gate(pod)["resources"]["limits"]
    assert "Guaranteed" not in warnings(pod)


def test_the_cpu_of_a_gate_in_a_guaranteed_pod_can_be_chosen() -> None:
    pod = with_resources(PINNED)
    pod["metadata"]["annotations"] = {f"{GATE}-cpu-limit": "1", f"{GATE}-memory": "256Mi"}
    assert "gate-memory-limit" in refusal(pod).remedy
    pod["metadata"]["annotations"][f"{GATE}-memory-limit"] = "256Mi"
    assert gate(pod)["resources"]["requests"] == {"cpu": "1", "memory": "256Mi"}


def test_a_gate_shares_the_resources_of_a_pod_that_has_its_own() -> None:
    whole = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    pod = with_resources({"requests": {"cpu": "1", "memory": "1Gi"}}, resources=whole)
    assert "resources" not in gate(pod)
    assert "shares its cpu and memory" in warnings(pod)
    # A resource that the pod does not name is the gate's own as ever.
    pod = with_resources(None, resources={"limits": {"memory": "1Gi"}})
    assert gate(pod)["resources"] == {"requests": {"cpu": "10m"}}
    assert "shares its memory" in warnings(pod)
    pod = with_resources(None, resources={})
    assert gate(pod)["resources"]["limits"] == {"memory": "144Mi"}


def test_the_gates_image_is_pulled_with_the_secrets_that_were_named() -> None:
    settings = msgspec.structs.replace(SETTINGS, image_pull_secrets=("watchword-registry", "tenant-registry"))
    pod = app_pod(spec__imagePullSecrets=[{"name": "tenant-registry"}])
    found = result(pod, settings)
    assert isinstance(found, Injected)
    assert found.pod["spec"]["imagePullSecrets"] == [
        {"name": "tenant-registry"},
        {"name": "watchword-registry"},
    ]
    found = result(annotated(image_pull_secrets="a, b.c"), settings)
    assert isinstance(found, Injected)
    assert found.pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b.c"}]
    found = result(app_pod())
    assert isinstance(found, Injected)
    assert "imagePullSecrets" not in found.pod["spec"]


def test_a_platform_can_choose_the_user() -> None:
    found = gate(app_pod(), msgspec.structs.replace(SETTINGS, run_as_user=None))["securityContext"]
    assert not {"runAsUser", "runAsGroup"} & found.keys()
    assert found["runAsNonRoot"] is True


def required(*terms: list[Json]) -> Json:
    selector = {"nodeSelectorTerms": [{"matchExpressions": each} for each in terms]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}


OS = "kubernetes.io/os"
WINDOWS = {"key": OS, "operator": "In", "values": ["windows"]}


@pytest.mark.parametrize(
    "spec",
    [
        {"os": {"name": "windows"}},
        {"nodeSelector": {OS: "windows"}},
        {"nodeSelector": {"beta.kubernetes.io/os": "windows"}},
        {"affinity": required([WINDOWS])},
        {"affinity": required([WINDOWS], [{"key": OS, "operator": "NotIn", "values": ["linux"]}])},
    ],
)
@pytest.mark.parametrize("asks", [app_pod, caller_pod])
def test_a_pod_for_windows_is_refused_whatever_says_so(spec: Json, asks: Any) -> None:
    pod = asks()
    pod["spec"] |= spec
    assert refusal(pod).code is RefusalCode.NOT_LINUX


@pytest.mark.parametrize(
    "spec",
    [
        {"os": {"name": "linux"}, "nodeSelector": {OS: "linux"}},
        {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
        {"affinity": required([WINDOWS], [{"key": OS, "operator": "In", "values": ["linux"]}])},
        {"affinity": required([{"key": OS, "operator": "In", "values": ["linux", "windows"]}])},
        {"affinity": {"podAffinity": {}}},
        {"affinity": {}},
    ],
)
def test_a_pod_that_may_be_on_linux_is_not(spec: Json) -> None:
    pod = app_pod()
    pod["spec"] |= spec
    assert isinstance(result(pod), Injected)


LONG = ("payments-platform-production-eu-west-1", "settlement-reconciliation-service-of-two")


def test_a_service_whose_names_fit_no_label_is_named_by_annotation() -> None:
    facts = ServiceFacts(*LONG, {}, 8443, 8080)
    seen = World({LONG: facts}, frozenset(), frozenset(), CLUSTER_ID)
    assert len(".".join(LONG)) > 63
    pod = caller_pod(metadata__annotations={"watchword.dev/calls": "/".join(LONG)})
    pod["metadata"]["labels"] = {"watchword.dev/call": "enabled"}
    found = inject(pod, "tuist", seen, SETTINGS)
    assert isinstance(found, Injected), found
    [source] = found.pod["spec"]["volumes"][0]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"].endswith("/" + "/".join(LONG))
    assert source["serviceAccountToken"]["path"] == "token"


def test_the_annotation_of_calls_without_the_label_is_never_ignored() -> None:
    pod = caller_pod(metadata__annotations={"watchword.dev/calls": "tuist/tuist-server"})
    pod["metadata"]["labels"] = {}
    assert "watchword.dev/call: enabled" in refusal(pod).remedy
    pod = caller_pod()
    pod["metadata"]["labels"]["watchword.dev/call"] = "enabled"
    assert refusal(pod).code is RefusalCode.BAD_LABEL


def probed(annotate: bool = False, **probes: Json) -> Json:
    pod = app_pod(metadata__annotations={f"{GATE}-rewrite-probes": "enabled"} if annotate else {})
    pod["spec"]["containers"][0] |= {"ports": [{"name": "http", "containerPort": 8080}], **probes}
    return pod


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ({"httpGet": {"path": "/", "port": "http"}}, "on 127.0.0.1 never answers"),
        ({"httpGet": {"path": "/", "port": 8080}}, "on 127.0.0.1 never answers"),
        ({"tcpSocket": {"port": 8080}}, "on 127.0.0.1 never answers"),
        ({"grpc": {"port": 8080}}, "use exec"),
        ({"httpGet": {"path": "/", "port": 8443}}, "401"),
        ({"tcpSocket": {"port": 8443}}, "the gate's"),
        ({"httpGet": {"port": 8080, "httpHeaders": [{"name": "a", "value": "b"}]}}, "use exec"),
    ],
)
@pytest.mark.parametrize("kind", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_a_probe_that_cannot_be_answered_is_warned_of(probe: Json, said: str, kind: str) -> None:
    pod = probed(**{kind: probe})
    assert said in warnings(pod)
    assert f"spec.containers[0].{kind}" in warnings(pod)
    found = result(pod)
    assert isinstance(found, Injected)
    assert found.pod["spec"]["containers"] == pod["spec"]["containers"]


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"path": "/", "port": 8081}},
        {"httpGet": {"path": "/", "port": "other"}},
        {"exec": {"command": ["true"]}},
        {"httpGet": {"path": "/", "port": 8080, "host": "192.0.2.1"}},
    ],
)
def test_a_probe_of_something_else_is_not(probe: Json) -> None:
    assert "Probe" not in warnings(probed(livenessProbe=probe))


def test_a_proxy_of_the_pods_own_may_answer_where_the_gate_is_only_asked() -> None:
    pod = probed(livenessProbe={"httpGet": {"port": 8080}})
    pod["metadata"]["annotations"] = {f"{GATE}-mode": "authz"}
    assert "Probe" not in warnings(pod)


def test_where_asked_the_gate_makes_the_probes_and_their_timing_stays() -> None:
    pod = probed(
        annotate=True,
        livenessProbe={"httpGet": {"path": "/live?x=1", "port": "http"}, "periodSeconds": 7},
        readinessProbe={"httpGet": {"port": 8443, "scheme": "HTTPS"}},
        startupProbe={"tcpSocket": {"port": 8080}},
    )
    found = result(pod)
    assert isinstance(found, Injected)
    assert "Probe" not in "\n".join(found.warnings)
    assert [each for each in gate(pod)["args"] if each.startswith("--app-probe")] == [
        "--app-probe=app-startup=tcp://127.0.0.1:8080",
        "--app-probe=app-liveness=http://127.0.0.1:8080/live?x=1",
        "--app-probe=app-readiness=https://127.0.0.1:8080/",
    ]
    container = found.pod["spec"]["containers"][0]
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/app-probes/app-liveness", "port": 9090, "scheme": "HTTP"},
        "periodSeconds": 7,
    }
    assert "tcpSocket" not in container["startupProbe"]
    # A second pass finds nothing to do.
    assert isinstance(inject(found.pod, "tuist", world(), SETTINGS), NothingAsked)


def test_the_gate_reads_the_flags_that_injection_writes() -> None:
    from watchword.gate.app_probes import parse_app_probe

    pod = probed(annotate=True, livenessProbe={"httpGet": {"path": "/a%20b", "port": 8080}})
    [flag] = [each for each in gate(pod)["args"] if each.startswith("--app-probe=")]
    assert parse_app_probe(flag.removeprefix("--app-probe=")).target == "/a%20b"


@pytest.mark.parametrize("path", ["relative", "/with space", "/é", "/a\nb", "/x#y"])
def test_a_path_that_no_request_line_holds_is_left_and_told(path: str) -> None:
    pod = probed(annotate=True, livenessProbe={"httpGet": {"path": path, "port": 8080}})
    assert "cannot make this probe" in warnings(pod)
    assert not [each for each in gate(pod)["args"] if each.startswith("--app-probe")]
