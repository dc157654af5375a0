# SPDX-License-Identifier: Apache-2.0
"""A pod that asks is given exactly what it needs; one that cannot be given it is told why."""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import issuer, parsed, service, workload
from tests.cli.golden import hold
from tests.injection.pods import CLUSTER_ID, SETTINGS, app_pod, caller_pod, own_audience, world
from watchword.injection import Injected, InjectionRefusal, NothingAsked, RefusalCode, World, inject
from watchword.trust import ProtectedService

FOLDER = Path(__file__).parent / "golden"
APP, CALLER = "tuist", "atlas-production"


def injected(pod: dict[str, Any], namespace: str = APP, seen: World | None = None) -> dict[str, Any]:
    """The pod that comes out; fails when none does."""
    found = inject(pod, namespace, seen or world(), SETTINGS)
    assert isinstance(found, Injected), found
    return found.pod


def gate_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The gate's container."""
    [gate] = [each for each in pod["spec"]["initContainers"] if each["name"] == "watchword-gate"]
    return dict(gate)


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What injection did, as people read it."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _: Any) -> bool:
            return True

    lines = [yaml.dump(each, Dumper=Plain, sort_keys=False).splitlines() for each in (before, after)]
    return "\n".join(difflib.unified_diff(*lines, "before", "after", n=100, lineterm="")) + "\n"


def test_the_difference_to_a_protected_pod_is_the_kept_one() -> None:
    hold("pod-protected", difference(app_pod(), injected(app_pod())), FOLDER)


def test_the_difference_to_a_calling_pod_is_the_kept_one() -> None:
    hold("pod-calling", difference(caller_pod(), injected(caller_pod(), CALLER)), FOLDER)


def test_the_pods_own_containers_and_volumes_stay_as_they_were() -> None:
    before, after = app_pod(), injected(app_pod())
    assert after["spec"]["containers"] == before["spec"]["containers"]
    assert after["spec"]["initContainers"][1:] == before["spec"]["initContainers"]
    assert after["spec"]["volumes"][: len(before["spec"]["volumes"])] == before["spec"]["volumes"]
    assert {key: after["spec"][key] for key in before["spec"].keys() - {"initContainers", "volumes"}} == {
        key: before["spec"][key] for key in before["spec"].keys() - {"initContainers", "volumes"}
    }


def test_the_pod_that_was_given_is_not_changed() -> None:
    for pod, namespace in ((app_pod(), APP), (caller_pod(), CALLER)):
        before = copy.deepcopy(pod)
        injected(pod, namespace)
        assert pod == before


def test_the_gate_comes_first_and_is_a_native_sidecar() -> None:
    first = injected(app_pod())["spec"]["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("watchword-gate", "Always")
    assert "startupProbe" in first


@pytest.mark.parametrize(("pod", "namespace"), [(app_pod(), APP), (caller_pod(), CALLER)])
def test_a_second_pass_changes_nothing(pod: dict[str, Any], namespace: str) -> None:
    once = injected(pod, namespace)
    assert isinstance(inject(once, namespace, world(), SETTINGS), NothingAsked)


def test_a_pod_may_be_protected_and_call() -> None:
    pod = app_pod(metadata__labels={"watchword.dev/call": "tuist.tuist-server"})
    after = injected(pod)
    assert after["metadata"]["annotations"]["watchword.dev/injected"] == "gate,token"
    assert all(mount["name"] != "watchword-token" for mount in gate_of(after)["volumeMounts"])
    assert any(mount["name"] == "watchword-token" for mount in after["spec"]["containers"][0]["volumeMounts"])


@pytest.mark.parametrize("part", ["gate", "token"])
def test_an_author_who_says_injected_is_not_believed(part: str) -> None:
    pod, namespace = (app_pod, APP) if part == "gate" else (caller_pod, CALLER)
    found = injected(pod(metadata__annotations={"watchword.dev/injected": part}), namespace)
    names = [each["name"] for each in found["spec"]["volumes"]]
    assert ("watchword-bundle" if part == "gate" else "watchword-token") in names


def test_without_a_label_nothing_is_done() -> None:
    pod = app_pod()
    del pod["metadata"]["labels"]["watchword.dev/gate"]
    assert isinstance(inject(pod, APP, world(), SETTINGS), NothingAsked)


def test_the_namespace_of_the_request_decides_and_not_the_pods_word() -> None:
    found = inject(app_pod(metadata__namespace="tuist"), "elsewhere", world(), SETTINGS)
    assert isinstance(found, InjectionRefusal)
    assert found.code is RefusalCode.NAMESPACE_NOT_ENABLED


def test_the_modes_of_the_gate() -> None:
    assert "--upstream=http://127.0.0.1:8080" in gate_of(injected(app_pod()))["args"]
    beside = app_pod(metadata__annotations={"watchword.dev/gate-mode": "authz"})
    assert not any(each.startswith("--upstream") for each in gate_of(injected(beside))["args"])


def test_what_the_app_speaks() -> None:
    grpc = app_pod(metadata__annotations={"watchword.dev/gate-app-protocol": "h2c"})
    assert "--upstream=h2c://127.0.0.1:8080" in gate_of(injected(grpc))["args"]
    odd = app_pod(metadata__annotations={"watchword.dev/gate-app-protocol": "grpc"})
    found = inject(odd, APP, world(), SETTINGS)
    assert isinstance(found, InjectionRefusal)
    assert found.field == "metadata.annotations[watchword.dev/gate-app-protocol]"
    assert "'grpc'" in found.detail
    assert "h2c" in found.remedy


def test_the_gate_serves_tls_from_a_secret() -> None:
    after = injected(app_pod(metadata__annotations={"watchword.dev/gate-tls-secret": "tuist-tls"}))
    assert "--tls-cert=/var/run/watchword/tls/tls.crt" in gate_of(after)["args"]
    assert any(each.get("secret", {}).get("secretName") == "tuist-tls" for each in after["spec"]["volumes"])


def test_where_usage_is_kept_can_come_from_a_secret_and_is_then_nowhere_in_the_pod() -> None:
    gate = gate_of(injected(app_pod(metadata__annotations={"watchword.dev/gate-usage-secret": "usage"})))
    assert gate["env"] == [
        {"name": "WATCHWORD_USAGE_DSN", "valueFrom": {"secretKeyRef": {"name": "usage", "key": "dsn"}}}
    ]
    assert not any("dsn" in each for each in gate["args"])


def test_a_gate_that_may_not_read_its_bundle_is_told_of() -> None:
    found = inject(app_pod(), APP, world(), SETTINGS)
    assert isinstance(found, Injected)
    assert "spec.serviceAccountName: tuist-server" in found.warnings[0]
    bound = world(issuer(), service(serviceAccountName="tuist-server"))
    quiet = inject(app_pod(), APP, bound, SETTINGS)
    assert isinstance(quiet, Injected)
    assert quiet.warnings == ()


def test_a_token_is_for_its_service_alone() -> None:
    rival = service("rival", audiences=["rival"])
    seen = world(issuer(), service(), rival, workload())
    pod = caller_pod(metadata__annotations={"watchword.dev/calls": "tuist/rival, tuist/tuist-server"})
    [volume] = [
        each for each in injected(pod, CALLER, seen)["spec"]["volumes"] if each["name"] == "watchword-token"
    ]
    given = [each["serviceAccountToken"] for each in volume["projected"]["sources"]]
    assert [(each["audience"], each["path"]) for each in given] == [
        (own_audience(), "token"),
        (own_audience(name="rival"), "tuist.rival/token"),
    ]


@pytest.mark.parametrize(("longest", "given"), [(600, 600), (1800, 1800), (3600, 3600), (86400, 3600)])
def test_a_token_lives_no_longer_than_its_service_takes(longest: int, given: int) -> None:
    seen = world(issuer(), service(token={"maxLifetimeSeconds": longest}))
    volume = injected(caller_pod(), CALLER, seen)["spec"]["volumes"][-1]
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == given


def test_the_sdks_variable_is_set_where_the_author_has_none() -> None:
    pod = caller_pod()
    pod["spec"]["containers"][0]["env"] = [{"name": "WATCHWORD_TOKEN_FILE", "value": "/own"}]
    containers = injected(pod, CALLER)["spec"]["containers"]
    assert [each["env"][0]["value"] for each in containers] == [
        "/own",
        "/var/run/secrets/watchword.dev/token",
    ]


def test_a_caller_that_nobody_trusts_is_warned_and_not_refused() -> None:
    found = inject(caller_pod(spec__serviceAccountName="stranger"), CALLER, world(), SETTINGS)
    assert isinstance(found, Injected)
    assert "trusts no workload atlas-production/stranger yet" in found.warnings[0]
    trusted = inject(caller_pod(), CALLER, world(), SETTINGS)
    assert isinstance(trusted, Injected)
    assert trusted.warnings == ()


two = world(issuer(), service(), service("twin", selector={"matchLabels": {"app": "tuist-server"}}))
short = world(issuer(), service(token={"maxLifetimeSeconds": 300}))
ops = world(issuer(), service(port=9090))
METER = {"name": "requests", "eventType": "api.request", "aggregation": "count"}
metered = world(issuer(), service(usage={"meters": [METER]}), workload())
published = world()
unpublished = msgspec.structs.replace(
    published,
    services={
        place: msgspec.structs.replace(facts, published_audience="")
        for place, facts in published.services.items()
    },
)
nowhere = msgspec.structs.replace(published, cluster_id="")
gate_again = {"name": "watchword-gate", "image": "registry.example/own:1"}
REFUSED: list[tuple[str, dict[str, Any], str, World, RefusalCode, str]] = [
    (
        "label",
        app_pod(metadata__labels={"watchword.dev/gate": "yes"}),
        APP,
        world(),
        RefusalCode.BAD_LABEL,
        "enabled",
    ),
    (
        "namespace",
        app_pod(),
        APP,
        world(enabled=()),
        RefusalCode.NAMESPACE_NOT_ENABLED,
        "label the namespace",
    ),
    (
        "service",
        app_pod(metadata__labels={"app": "other"}),
        APP,
        world(),
        RefusalCode.NO_SERVICE,
        "spec.selector",
    ),
    ("two", app_pod(), APP, two, RefusalCode.SEVERAL_SERVICES, "one gate"),
    ("host", app_pod(spec__hostNetwork=True), APP, world(), RefusalCode.HOST_NETWORK, "without hostNetwork"),
    ("os", app_pod(spec__os={"name": "windows"}), APP, world(), RefusalCode.NOT_LINUX, "labels"),
    (
        "mode",
        app_pod(metadata__annotations={"watchword.dev/gate-mode": "x"}),
        APP,
        world(),
        RefusalCode.BAD_LABEL,
        "proxy",
    ),
    (
        "port",
        app_pod(spec__containers=[{"name": "app", "image": "a", "ports": [{"containerPort": 8443}]}]),
        APP,
        world(),
        RefusalCode.PORT_TAKEN,
        "upstreamPort",
    ),
    ("ops", app_pod(), APP, ops, RefusalCode.PORT_TAKEN, "another port"),
    (
        "container",
        app_pod(spec__initContainers=[gate_again]),
        APP,
        world(),
        RefusalCode.NAME_TAKEN,
        "remove it",
    ),
    (
        "volume",
        app_pod(spec__volumes=[{"name": "watchword-bundle", "emptyDir": {}}]),
        APP,
        world(),
        RefusalCode.NAME_TAKEN,
        "another name",
    ),
    (
        "gate as an annotation",
        app_pod(metadata__annotations={"watchword.dev/call": "tuist.tuist-server"}),
        APP,
        world(),
        RefusalCode.BAD_LABEL,
        "metadata.labels",
    ),
    (
        "unpublished",
        caller_pod(),
        CALLER,
        unpublished,
        RefusalCode.AUDIENCE_NOT_PUBLISHED,
        "wait for the operator",
    ),
    (
        "per replica",
        app_pod(metadata__annotations={"watchword.dev/usage-per-replica": "yes"}),
        APP,
        world(),
        RefusalCode.BAD_LABEL,
        "accepted",
    ),
    ("nowhere", caller_pod(), CALLER, nowhere, RefusalCode.CLUSTER_UNKNOWN, "--cluster-id"),
    (
        "call",
        caller_pod(metadata__labels={"watchword.dev/call": "tuist"}),
        CALLER,
        world(),
        RefusalCode.BAD_LABEL,
        "NAMESPACE.SERVICE",
    ),
    (
        "calls",
        caller_pod(metadata__annotations={"watchword.dev/calls": "tuist.rival"}),
        CALLER,
        world(),
        RefusalCode.BAD_LABEL,
        "NAMESPACE/SERVICE",
    ),
    (
        "unknown",
        caller_pod(metadata__labels={"watchword.dev/call": "tuist.other"}),
        CALLER,
        world(),
        RefusalCode.SERVICE_NOT_FOUND,
        "create it first",
    ),
    ("lifetime", caller_pod(), CALLER, short, RefusalCode.LIFETIME_TOO_SHORT, "maxLifetimeSeconds"),
    (
        "mount",
        caller_pod(
            spec__containers=[
                {
                    "name": "a",
                    "image": "a",
                    "volumeMounts": [{"name": "x", "mountPath": "/var/run/secrets/watchword.dev/"}],
                }
            ]
        ),
        CALLER,
        world(),
        RefusalCode.PATH_TAKEN,
        "elsewhere",
    ),
    (
        "token volume",
        caller_pod(spec__volumes=[{"name": "watchword-token", "emptyDir": {}}]),
        CALLER,
        world(),
        RefusalCode.NAME_TAKEN,
        "another name",
    ),
    (
        "no pod",
        {"metadata": {}, "spec": {"containers": "none"}},
        APP,
        world(),
        RefusalCode.NOT_A_POD,
        "v1 Pod",
    ),
]


@pytest.mark.parametrize(
    ("pod", "namespace", "seen", "code", "remedy"),
    [each[1:] for each in REFUSED],
    ids=[each[0] for each in REFUSED],
)
def test_what_cannot_be_injected_is_refused_with_what_would_be_right(
    pod: dict[str, Any], namespace: str, seen: World, code: RefusalCode, remedy: str
) -> None:
    found = inject(pod, namespace, seen, SETTINGS)
    assert isinstance(found, InjectionRefusal), found
    assert found.code is code
    assert remedy in found.remedy
    assert str(found).startswith(f"Watchword cannot inject this pod ({code}): {found.field}: ")


def test_every_refusal_has_its_case() -> None:
    # Of how many pods there are, one pod does not say; and what concerns desks has its own tests.
    others = {RefusalCode.SEVERAL_REPLICAS, RefusalCode.DESK_NOT_FOUND}
    assert {each[4] for each in REFUSED} | others == set(RefusalCode)


def test_several_replicas_that_each_count_alone_are_refused() -> None:
    found = inject(app_pod(), APP, metered, SETTINGS, replicas=2)
    assert isinstance(found, InjectionRefusal)
    assert found.code is RefusalCode.SEVERAL_REPLICAS
    assert "watchword.dev/usage-per-replica: accepted" in found.remedy
    for replicas in (None, 0, 1):
        one = inject(app_pod(), APP, metered, SETTINGS, replicas=replicas)
        assert isinstance(one, Injected)


@pytest.mark.parametrize(
    ("kind", "index", "is_refused"),
    [
        ("DaemonSet", "", True),
        ("StatefulSet", "0", False),
        ("StatefulSet", "1", True),
        ("StatefulSet", "one", False),
        ("ReplicaSet", "7", False),
    ],
)
def test_a_pod_that_tells_that_there_are_several_is_refused_by_the_webhook_too(
    kind: str, index: str, is_refused: bool
) -> None:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": "app", "uid": "u", "controller": True}
    labels = {"apps.kubernetes.io/pod-index": index} if index else {}
    pod = app_pod(metadata__ownerReferences=[owner], metadata__labels=labels)
    found = inject(pod, APP, metered, SETTINGS)
    assert isinstance(found, InjectionRefusal) == is_refused
    assert isinstance(inject(pod, APP, world(), SETTINGS), Injected)


LOOK_ALIKES = [
    own_audience() + "/",
    own_audience().upper(),
    own_audience(name="tuist"),
    own_audience("tuist-server", "tuist"),
    own_audience().replace(CLUSTER_ID, "another"),
    "tuist-server",
    "https://kubernetes.default.svc",
    "sts.amazonaws.com",
    "",
]


@pytest.mark.parametrize("said", LOOK_ALIKES)
def test_a_status_that_says_anything_but_the_derived_audience_mints_nothing(said: str) -> None:
    place = ("tuist", "tuist-server")
    facts = msgspec.structs.replace(published.services[place], published_audience=said)
    refused = inject(
        caller_pod(), CALLER, msgspec.structs.replace(published, services={place: facts}), SETTINGS
    )
    assert isinstance(refused, InjectionRefusal)
    assert refused.code is RefusalCode.AUDIENCE_NOT_PUBLISHED


@settings(deadline=None)
@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), max_size=4, unique=True))
def test_what_a_service_declares_never_comes_into_a_callers_pod(declared: list[str]) -> None:
    seen = World.of([service_object(declared)], (), (), CLUSTER_ID)
    volume = injected(caller_pod(), CALLER, seen)["spec"]["volumes"][-1]
    minted = [each["serviceAccountToken"]["audience"] for each in volume["projected"]["sources"]]
    assert minted == [own_audience()]


def service_object(declared: list[str]) -> ProtectedService:
    """The service with these audiences, whether or not a reader of manifests would take them."""
    [found] = parsed(service()).resources.services
    return msgspec.structs.replace(found, spec=msgspec.structs.replace(found.spec, audiences=tuple(declared)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    spec=st.dictionaries(
        st.sampled_from(
            ["containers", "initContainers", "volumes", "os", "hostNetwork", "serviceAccountName"]
        ),
        json_values,
    ),
    labels=json_values,
    annotations=json_values,
)
def test_a_hostile_pod_is_answered_and_never_crashes(spec: Any, labels: Any, annotations: Any) -> None:
    base = app_pod()
    pod = {
        "metadata": {"labels": labels or base["metadata"]["labels"], "annotations": annotations},
        "spec": {**base["spec"], **spec},
    }
    found = inject(pod, APP, world(), SETTINGS)
    assert isinstance(found, Injected | NothingAsked | InjectionRefusal)


COLLECTOR = "http://otel-collector.observability:4318"


@pytest.mark.parametrize(
    ("cluster", "annotation", "expected"),
    [
        ("0", None, None),
        ("0.05", None, "0.05"),
        ("0", "1", "1"),
        ("0.05", "0.5", "0.5"),
        ("1", "0", None),
        ("1", "0.0", None),
    ],
)
def test_a_gate_traces_what_the_cluster_or_its_pod_says(
    cluster: str, annotation: str | None, expected: str | None
) -> None:
    settings = msgspec.structs.replace(SETTINGS, trace_endpoint=COLLECTOR, trace_sample_ratio=cluster)
    pod = app_pod()
    if annotation is not None:
        pod["metadata"].setdefault("annotations", {})["watchword.dev/gate-trace-sample-ratio"] = annotation
    found = inject(pod, APP, world(), settings)
    assert isinstance(found, Injected), found
    gate = gate_of(found.pod)
    flags = [each for each in gate["args"] if each.startswith("--trace-sample-ratio=")]
    variables = {each["name"]: each.get("value") for each in gate.get("env", [])}
    assert flags == ([] if expected is None else [f"--trace-sample-ratio={expected}"])
    assert variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") == (None if expected is None else COLLECTOR)


@pytest.mark.parametrize(
    "ratio", ["", "2", "1.1", "-1", "1e-3", "nan", "inf", "0,5", "٠", "1\n", "0.5 --audit=off"]
)
def test_a_ratio_that_is_none_is_refused(ratio: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, trace_endpoint=COLLECTOR)
    pod = app_pod()
    pod["metadata"].setdefault("annotations", {})["watchword.dev/gate-trace-sample-ratio"] = ratio
    found = inject(pod, APP, world(), settings)
    assert isinstance(found, InjectionRefusal)
    assert found.field == "metadata.annotations[watchword.dev/gate-trace-sample-ratio]"


def test_a_pod_names_no_collector_of_its_own() -> None:
    pod = app_pod()
    pod["metadata"].setdefault("annotations", {})["watchword.dev/gate-trace-sample-ratio"] = "1"
    found = inject(pod, APP, world(), SETTINGS)
    assert isinstance(found, InjectionRefusal)
    assert "gate.traceEndpoint" in found.remedy
