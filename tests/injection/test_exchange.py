# SPDX-License-Identifier: Apache-2.0
"""A pod that exchanges gets a token for its desk and for nothing else, or is told why not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from testing.manifests import issuer, parsed, service, token_desk, workload
from tests.injection.pods import CLUSTER_ID, RESTRICTED, SETTINGS, app_pod, caller_pod, own_audience, world
from watchword.injection import (
    DeskFacts,
    Injected,
    InjectionRefusal,
    NothingAsked,
    RefusalCode,
    World,
    inject,
)
from watchword.trust.derived_audience import desk_audience

CALLER = "atlas-production"
EXCHANGE = "watchword.dev/exchange"
VOLUME, FOLDER = "watchword-desk-token", "/var/run/secrets/desk.watchword.dev"
DESK = ("watchword-desk", "desk")
AUDIENCE = f"watchword.dev/desks/{CLUSTER_ID}/watchword-desk/desk"
URL = "https://desk.example.com"


def exchanging_pod(value: str = "watchword-desk.desk", **changes: Any) -> dict[str, Any]:
    """A pod that exchanges and calls no service by itself."""
    pod = caller_pod(**changes)
    del pod["metadata"]["labels"]["watchword.dev/call"]
    pod["metadata"]["labels"][EXCHANGE] = value
    return pod


def desks(*published: tuple[tuple[str, str], str | None], cluster_id: str = CLUSTER_ID) -> World:
    """The usual world, with desks of these names and what their statuses say; by default the one desk."""
    found = [DeskFacts(*place, URL, said) for place, said in published or ((DESK, AUDIENCE),)]
    there = {(each.namespace, each.name): each for each in found}
    return msgspec.structs.replace(world(), desks=there, cluster_id=cluster_id)


def injected(pod: dict[str, Any], known: World | None = None) -> dict[str, Any]:
    found = inject(pod, CALLER, desks() if known is None else known, SETTINGS)
    assert isinstance(found, Injected), found
    return found.pod


def refused(pod: dict[str, Any], known: World | None = None) -> InjectionRefusal:
    found = inject(pod, CALLER, desks() if known is None else known, SETTINGS)
    assert isinstance(found, InjectionRefusal), found
    return found


def sources_of(pod: dict[str, Any], volume: str = VOLUME) -> list[dict[str, Any]]:
    [found] = [each for each in pod["spec"]["volumes"] if each["name"] == volume]
    return [each["serviceAccountToken"] for each in found["projected"]["sources"]]


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def test_a_pod_that_exchanges_gets_a_token_for_the_desk_alone() -> None:
    pod = injected(exchanging_pod())

    [source] = sources_of(pod)
    assert source == {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}
    assert [each["name"] for each in pod["spec"]["volumes"]] == [VOLUME]
    for container in pod["spec"]["containers"]:
        assert {"name": VOLUME, "mountPath": FOLDER, "readOnly": True} in container["volumeMounts"]
        assert environment_of(container) == {
            "WATCHWORD_DESK": URL,
            "WATCHWORD_DESK_TOKEN_FILE": f"{FOLDER}/token",
        }
    assert pod["metadata"]["annotations"]["watchword.dev/injected"] == "exchange"


def test_the_audience_is_no_services_though_both_have_one_name() -> None:
    """A ProtectedService that is named like the desk, in the desk's namespace, opens and closes nothing."""
    known = desks()
    facts = next(iter(known.services.values()))
    twin = msgspec.structs.replace(
        facts, namespace=DESK[0], name=DESK[1], published_audience=own_audience(*DESK)
    )
    both = msgspec.structs.replace(known, services={**known.services, DESK: twin})
    assert [each["audience"] for each in sources_of(injected(exchanging_pod(), both))] == [AUDIENCE]

    alone = msgspec.structs.replace(both, desks={})
    assert refused(exchanging_pod(), alone).code is RefusalCode.DESK_NOT_FOUND
    # Nor does a desk become a service that can be called.
    calling = caller_pod(metadata__labels={"watchword.dev/call": "watchword-desk.desk"})
    assert refused(calling).code is RefusalCode.SERVICE_NOT_FOUND


@pytest.mark.parametrize(
    "said",
    [
        "",
        URL,
        f"{AUDIENCE}/",
        AUDIENCE.upper(),
        f" {AUDIENCE}",
        f"watchword.dev/services/{CLUSTER_ID}/watchword-desk/desk",
        f"watchword.dev/desks/{CLUSTER_ID}/watchword-desk/desk2",
        f"watchword.dev/desks/{CLUSTER_ID}/elsewhere/desk",
        "watchword.dev/desks/dev/watchword-desk/desk",
        "https://kubernetes.default.svc",
    ],
)
def test_a_status_that_says_anything_else_gets_no_token(said: str) -> None:
    """Neither the derived audience, which the desk may not take, nor what the status says, is minted."""
    found = refused(exchanging_pod(), desks((DESK, said)))
    assert found.code is RefusalCode.AUDIENCE_NOT_PUBLISHED
    assert found.field == f"metadata.labels[{EXCHANGE}]"
    assert AUDIENCE in found.remedy
    assert "watchword-desk/desk" in found.detail


def test_a_desk_of_another_namespace_that_says_the_real_ones_audience_gets_none() -> None:
    forged = desks((DESK, AUDIENCE), (("evil", "desk"), AUDIENCE))
    assert refused(exchanging_pod("evil.desk"), forged).code is RefusalCode.AUDIENCE_NOT_PUBLISHED
    assert [each["audience"] for each in sources_of(injected(exchanging_pod(), forged))] == [AUDIENCE]


@pytest.mark.parametrize(
    "value",
    ["watchword-desk.desk2", "watchword-desk.des", "watchword-desks.desk", "desk.watchword-desk", "a.b.c"],
)
def test_names_that_look_alike_are_other_desks(value: str) -> None:
    found = refused(exchanging_pod(value))
    assert found.code is RefusalCode.DESK_NOT_FOUND
    assert "desk.namespace" in found.remedy


@pytest.mark.parametrize(
    "value", ["", "enabled", "desk", ".desk", "watchword-desk.", "watchword-desk/desk", "watchword_desk.desk",
              "Watchword-desk.desk", "watchword-desk.Desk", "watchword-desk..desk", "watchword-desk.desk.",
              "-.desk"]
)  # fmt: skip
def test_a_value_that_names_no_desk_is_refused(value: str) -> None:
    found = refused(exchanging_pod(value))
    assert found.code is RefusalCode.BAD_LABEL
    assert "NAMESPACE.DESK" in found.remedy
    assert ascii(value) in found.detail


def test_without_the_clusters_id_none_is_made() -> None:
    found = refused(exchanging_pod(), desks((DESK, None), cluster_id=""))
    assert found.code is RefusalCode.CLUSTER_UNKNOWN
    assert "--cluster-id" in found.remedy


def test_as_an_annotation_it_is_refused() -> None:
    pod = exchanging_pod()
    del pod["metadata"]["labels"][EXCHANGE]
    pod["metadata"]["annotations"] = {EXCHANGE: "watchword-desk.desk"}
    found = refused(pod)
    assert (found.code, found.field) == (RefusalCode.BAD_LABEL, f"metadata.annotations[{EXCHANGE}]")


def test_one_pod_may_have_a_gate_call_and_exchange() -> None:
    pod = app_pod(
        metadata__labels={"watchword.dev/call": "tuist.tuist-server", EXCHANGE: "watchword-desk.desk"}
    )
    found = inject(pod, "tuist", desks(), SETTINGS)
    assert isinstance(found, Injected), found
    after = found.pod
    assert after["metadata"]["annotations"]["watchword.dev/injected"] == "exchange,gate,token"
    assert [each["audience"] for each in sources_of(after)] == [AUDIENCE]
    assert [each["audience"] for each in sources_of(after, "watchword-token")] == [own_audience()]
    # The gate calls no one, and is given no token to do it with.
    [gate] = [each for each in after["spec"]["initContainers"] if each["name"] == "watchword-gate"]
    assert not {VOLUME, "watchword-token"} & {each["name"] for each in gate["volumeMounts"]}
    assert "WATCHWORD_DESK" not in environment_of(gate)
    app = after["spec"]["containers"][0]
    assert environment_of(app)["WATCHWORD_TOKEN_FILE"] == "/var/run/secrets/watchword.dev/token"


def test_a_second_pass_changes_nothing_and_a_label_that_came_later_is_answered() -> None:
    first = injected(exchanging_pod())
    assert isinstance(inject(first, CALLER, desks(), SETTINGS), NothingAsked)

    called = injected(caller_pod())
    called["metadata"]["labels"][EXCHANGE] = "watchword-desk.desk"
    both = injected(called)
    assert [each["audience"] for each in sources_of(both)] == [AUDIENCE]
    assert [each["audience"] for each in sources_of(both, "watchword-token")] == [own_audience()]
    assert both["metadata"]["annotations"]["watchword.dev/injected"] == "exchange,token"


def test_an_author_who_says_injected_is_not_believed() -> None:
    pod = injected(exchanging_pod(metadata__annotations={"watchword.dev/injected": "exchange,gate,token"}))
    assert [each["audience"] for each in sources_of(pod)] == [AUDIENCE]
    # Nor is what has the volume and not the word.
    pod["metadata"]["annotations"] = {}
    assert refused(pod).code is RefusalCode.NAME_TAKEN


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        (FOLDER, True),
        (f"{FOLDER}/", True),
        (f"{FOLDER}/token", True),
        (f"/var//run/secrets/../secrets/{FOLDER.rpartition('/')[2]}", True),
        (f"{FOLDER}-of-mine", False),
        ("/var/run/secrets/watchword.dev", False),
        ("/var/run/secrets", False),
    ],
)
def test_what_a_user_has_mounted_there_is_not_hidden(path: str, is_taken: bool) -> None:
    pod = exchanging_pod(spec__volumes=[{"name": "mine", "emptyDir": {}}])
    pod["spec"]["containers"][1]["volumeMounts"] = [{"name": "mine", "mountPath": path}]
    if is_taken:
        found = refused(pod)
        assert (found.code, found.field) == (
            RefusalCode.PATH_TAKEN,
            "spec.containers[1].volumeMounts[0].mountPath",
        )
        assert EXCHANGE in found.remedy
    else:
        assert [each["audience"] for each in sources_of(injected(pod))] == [AUDIENCE]


def test_a_volume_of_the_users_with_that_name_is_refused() -> None:
    found = refused(exchanging_pod(spec__volumes=[{"name": VOLUME, "emptyDir": {}}]))
    assert (found.code, found.field) == (RefusalCode.NAME_TAKEN, "spec.volumes[0].name")


def test_what_the_author_wrote_into_the_environment_stands() -> None:
    own = {"name": "WATCHWORD_DESK", "value": "http://desk.watchword-desk.svc"}
    pod = exchanging_pod()
    pod["spec"]["containers"][0]["env"] = [own]
    after = injected(pod)
    assert environment_of(after["spec"]["containers"][0]) == {
        "WATCHWORD_DESK": own["value"],
        "WATCHWORD_DESK_TOKEN_FILE": f"{FOLDER}/token",
    }


def test_init_containers_get_it_too_and_the_given_pod_stays_as_it_was() -> None:
    first = {"name": "warm", "image": "registry.example/warm:1", "securityContext": RESTRICTED}
    pod = exchanging_pod(spec__initContainers=[first])
    before = msgspec.json.encode(pod)
    after = injected(pod)
    assert after["spec"]["initContainers"][0]["volumeMounts"][0]["name"] == VOLUME
    assert msgspec.json.encode(pod) == before


def test_a_workload_that_no_service_trusts_is_warned_of_and_one_that_one_trusts_is_not() -> None:
    trusted = inject(exchanging_pod(), CALLER, desks(), SETTINGS)
    stranger = inject(exchanging_pod(), "elsewhere", desks(), SETTINGS)
    assert isinstance(trusted, Injected)
    assert isinstance(stranger, Injected)
    assert trusted.warnings == ()
    [said] = stranger.warnings
    assert "elsewhere/atlas" in said
    assert "target_unavailable" in said


def test_facts_of_a_whole_resource_have_no_status() -> None:
    resources = parsed(
        issuer(), service(), workload(), token_desk("desk", "watchword-desk", issuer=URL)
    ).resources
    known = World.of(resources.services, resources.workloads, (), CLUSTER_ID, desks=resources.desks)
    assert [each["audience"] for each in sources_of(injected(exchanging_pod(), known))] == [
        desk_audience(CLUSTER_ID, *DESK)
    ]
    assert environment_of(injected(exchanging_pod(), known)["spec"]["containers"][0])["WATCHWORD_DESK"] == URL
