# SPDX-License-Identifier: Apache-2.0
"""The operator's process on a real API server: terms, signals, kopf within them, and what it says of itself.

Its work is a toy (toy.py); what the process does is the same whatever it works on.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.controlplane import ApiError, Cluster
from testing.operator_process import (
    NAMESPACE,
    Replica,
    delete_lease,
    give_back_lease,
    kubeconfig_of,
    lease_of,
    running_operator,
)

TOY = (sys.executable, "-m", "tests.cluster.operator.toy")
WORKLOADS = "/apis/watchword.dev/v1alpha1/namespaces/default/trustedworkloads"
Start = Callable[..., AbstractContextManager[Replica]]


@pytest.fixture
def start(crd_cluster: Cluster, tmp_path: Path) -> Start:
    """`start("name")` runs a toy on a Lease that is free."""
    give_back_lease(crd_cluster)

    def begin(
        name: str = "toy", *flags: str, kubeconfig: Path | None = None
    ) -> AbstractContextManager[Replica]:
        return running_operator(
            kubeconfig or crd_cluster.kubeconfig, tmp_path, *flags, name=name, command=TOY
        )

    return begin


@pytest.fixture
def leader(start: Start) -> Iterator[Replica]:
    """A toy that leads."""
    with start() as replica:
        replica.wait_until(replica.is_leading, "it leads")
        yield replica


def workload(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "TrustedWorkload",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {
            "serviceRef": {"name": "tuist-server"},
            "issuerRef": {"name": "here"},
            "serviceAccount": {"namespace": "default", "name": name},
            "grants": [{"scopes": ["account:usage:read"], "accounts": ["*"]}],
        },
    }


def saw(replica: Replica, what: str, name: str) -> Callable[[], bool]:
    """Whether a handler was brought this event of the object with this name."""
    return lambda: any(told.get("saw") == what and told["name"] == name for told in replica.told())


def test_a_stop_ends_the_work_gives_the_lease_back_and_exits_with_0(
    leader: Replica, crd_cluster: Cluster
) -> None:
    assert lease_of(crd_cluster)["spec"]["holderIdentity"] == leader.ready()["identity"]
    assert leader.stop() == 0
    assert lease_of(crd_cluster)["spec"]["holderIdentity"] == ""
    assert leader.says("no longer leading")[0]["why"] == "told to stop"
    [ends] = [told for told in leader.told() if told.get("leadership") == "ends"]
    assert ends["held"] is False, "no write is permitted any more when the work is told to end"


def test_a_standby_is_ready_says_who_leads_and_ends_at_once(
    leader: Replica, start: Start, crd_cluster: Cluster
) -> None:
    with start("standby") as standby:
        standby.wait_until(lambda: bool(standby.ready()["ready"]), "it stands by")
        document = standby.ready()
        assert document["leader"] is False
        assert document["holder"] == leader.ready()["identity"]
        assert standby.stop() == 0
        assert standby.told() == [], "it watches nothing"
    assert lease_of(crd_cluster)["spec"]["holderIdentity"] == leader.ready()["identity"]


def test_a_standby_takes_over_from_one_that_stops_and_from_one_that_is_killed(
    leader: Replica, start: Start
) -> None:
    with start("second") as second, start("third") as third:
        for replica in (second, third):
            replica.wait_until(lambda replica=replica: bool(replica.ready()["ready"]), "it stands by")
        assert leader.stop() == 0
        second.wait_until(lambda: second.is_leading() or third.is_leading(), "one of them leads")
        heir, last = (second, third) if second.is_leading() else (third, second)
        assert not last.is_leading()
        heir.kill()
        last.wait_until(last.is_leading, "the last one leads")


def test_one_that_was_frozen_while_another_took_over_stands_by_and_its_process_goes_on(
    leader: Replica, start: Start
) -> None:
    with start("standby") as standby:
        standby.wait_until(lambda: bool(standby.ready()["ready"]), "it stands by")
        leader.freeze()
        standby.wait_until(standby.is_leading, "the standby leads")
        leader.thaw()
        leader.wait_until(lambda: not leader.ready()["leader"], "it knows that it does not lead")
        leader.wait_until(lambda: bool(leader.ready()["ready"]), "it stands by")
        assert standby.is_leading()
        standby.stop()
        leader.wait_until(leader.is_leading, "it leads again")
        assert leader.metric("watchword_operator_terms_total") == 2


def test_a_deleted_lease_ends_the_term_and_the_same_process_leads_again(
    leader: Replica, crd_cluster: Cluster
) -> None:
    delete_lease(crd_cluster)
    leader.wait_until(lambda: bool(leader.says("no longer leading")), "the term ends")
    leader.wait_until(leader.is_leading, "it leads again")
    assert leader.says("no longer leading")[0]["why"] == "the Lease was deleted or emptied"
    assert [told["leadership"] for told in leader.told() if "leadership" in told] == [
        "begins",
        "ends",
        "begins",
    ]
    assert leader.health().status_code == httpx.codes.OK


def test_work_that_fails_ends_the_term_is_told_and_begins_again(
    leader: Replica, crd_cluster: Cluster
) -> None:
    crd_cluster.apply(workload("fail"))
    try:
        leader.wait_until(lambda: bool(leader.says("leadership failed")), "the failure is told")
    finally:
        crd_cluster.request("DELETE", f"{WORKLOADS}/fail")
    [failure] = leader.says("leadership failed")[:1]
    assert (failure["error_type"], failure["detail"]) == ("RuntimeError", "told to fail")
    leader.wait_until(leader.is_leading, "it leads again")


def test_kopf_writes_nothing_on_objects_whatever_they_carry_and_no_deletion_goes_unseen(
    leader: Replica, crd_cluster: Cluster
) -> None:
    """Annotations and finalizers of kopf's own, broken: kopf as it comes would try to read and mend them,
    fail, and then not look at this object for minutes."""
    hostile = {
        "kopf.zalando.org/last-handled-configuration": "{not json",
        "kopf.zalando.org/touch-dummy": "\x00",
        "kopf.zalando.org/told": '{"started": 7}',
        "kopf.dev/last-handled-configuration": "[[[",
    }
    hostile = {name: value.replace("\x00", "zero") for name, value in hostile.items()}
    finalizers = ["kopf.zalando.org/KopfFinalizerMarker", "watchword.dev/x"]
    made = crd_cluster.apply(workload("hostile", annotations=hostile, finalizers=finalizers))
    leader.wait_until(
        lambda: saw(leader, "ADDED", "hostile")() or saw(leader, "LISTED", "hostile")(), "its making is seen"
    )
    version = made["metadata"]["resourceVersion"]
    for count in range(3):
        annotated = workload("hostile", annotations={**hostile, "round": str(count)}, finalizers=finalizers)
        version = crd_cluster.apply(annotated)["metadata"]["resourceVersion"]
    crd_cluster.request("DELETE", f"{WORKLOADS}/hostile")
    kept = crd_cluster.request("GET", f"{WORKLOADS}/hostile")["metadata"]
    assert kept["finalizers"] == finalizers
    managers = {entry["manager"] for entry in kept["managedFields"]}
    assert managers == {"watchword-tests"}, f"nobody else wrote: {managers}"
    crd_cluster.apply(workload("hostile", finalizers=[]))
    leader.wait_until(saw(leader, "DELETED", "hostile"), "its end is seen")
    assert int(version) < int(kept["resourceVersion"])


def test_what_was_there_before_is_listed_and_every_kind_is_watched(
    start: Start, crd_cluster: Cluster
) -> None:
    crd_cluster.apply(workload("early"))
    with start() as replica:
        replica.wait_until(saw(replica, "LISTED", "early"), "it is listed")
        replica.wait_until(saw(replica, "LISTED", "default"), "the namespace is listed")
        crd_cluster.request("DELETE", f"{WORKLOADS}/early")
        replica.wait_until(saw(replica, "DELETED", "early"), "its end is seen")
        assert set(replica.ready()["watches"]) == {
            "clustertrustedissuers",
            "protectedservices",
            "trustedworkloads",
            "namespaces",
            "loop",
        }


def test_a_word_of_a_watch_makes_it_young_again_and_silence_is_measured(
    leader: Replica, crd_cluster: Cluster
) -> None:
    def age(resource: str) -> float:
        return float(leader.ready()["watches"][resource])

    leader.wait_until(lambda: age("trustedworkloads") > 1.5, "it is silent for a while")
    crd_cluster.apply(workload("word"))
    leader.wait_until(lambda: age("trustedworkloads") < 1.0, "it was heard")
    crd_cluster.request("DELETE", f"{WORKLOADS}/word")
    assert leader.metric("watchword_operator_watch_age_seconds", resource="namespaces") > 0
    assert leader.metric("watchword_operator_leader") == 1


def test_without_an_api_server_it_stands_says_so_and_goes_on_when_there_is_one(
    start: Start, crd_cluster: Cluster, tmp_path: Path, unused_port: int
) -> None:
    lost = kubeconfig_of(crd_cluster, tmp_path / "lost", server=f"https://127.0.0.1:{unused_port}")
    with start("lost", kubeconfig=lost) as replica:
        replica.wait_until(lambda: "cannot be reached" in replica.ready().get("why", ""), "it says so")
        assert replica.health().status_code == httpx.codes.OK, "restarting it would mend nothing"
        assert replica.stop() == 0


def test_an_operator_without_rights_says_which_and_goes_on_once_it_has_them(
    start: Start, crd_cluster: Cluster, tmp_path: Path
) -> None:
    crd_cluster.create_service_account(NAMESPACE, "nobody")
    token = crd_cluster.token(NAMESPACE, "nobody")
    account = [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "nobody"}]
    with start("poor", kubeconfig=kubeconfig_of(crd_cluster, tmp_path / "poor", bearer=token)) as replica:
        replica.wait_until(lambda: "does not let" in replica.ready().get("why", ""), "it says so")
        assert f"Lease {NAMESPACE}/watchword-operator" in replica.ready()["why"]
        assert "RoleBinding" in replica.ready()["remedy"]
        _grant(crd_cluster, "leases", account, [_rule("coordination.k8s.io", "leases", "*")])
        replica.wait_until(lambda: "get the CRD" in replica.ready().get("why", ""), "the next")
        definitions = [_rule("apiextensions.k8s.io", "customresourcedefinitions", "get", "list", "watch")]
        _grant(crd_cluster, "definitions", account, definitions)
        replica.wait_until(lambda: "list clustertrustedissuers" in replica.ready().get("why", ""), "the next")
        assert replica.health().status_code == httpx.codes.OK
        rules = [_rule("watchword.dev", "*", "list", "watch"), _rule("", "namespaces", "list", "watch")]
        _grant(crd_cluster, "watches", account, rules)
        replica.wait_until(replica.is_leading, "it leads")


def _rule(group: str, resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def _grant(cluster: Cluster, name: str, subjects: list[dict[str, str]], rules: list[dict[str, Any]]) -> None:
    version = "rbac.authorization.k8s.io/v1"
    cluster.apply({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    cluster.apply(
        {
            "apiVersion": version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": subjects,
        }
    )


def test_crds_that_go_end_the_term_and_their_return_brings_it_back(
    leader: Replica, crd_cluster: Cluster
) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trustedworkloads.watchword.dev"
    definition = crd_cluster.request("GET", path)
    crd_cluster.request("DELETE", path)
    leader.wait_until(
        lambda: "trustedworkloads.watchword.dev" in leader.ready().get("why", ""), "it waits", 120
    )
    assert "kubectl apply" in leader.ready()["remedy"]
    del definition["status"]
    metadata = definition["metadata"]
    definition["metadata"] = {"name": metadata["name"]}
    crd_cluster.apply(definition)
    leader.wait_until(leader.is_leading, "it leads again", 120)


def test_a_lease_that_another_took_by_force_ends_the_term(leader: Replica, crd_cluster: Cluster) -> None:
    lease = lease_of(crd_cluster)
    lease["spec"]["holderIdentity"] = "somebody"
    for _ in range(50):
        try:
            lease["metadata"]["resourceVersion"] = lease_of(crd_cluster)["metadata"]["resourceVersion"]
            crd_cluster.request("PUT", f"{_lease_path()}", lease)
            break
        except ApiError as error:
            assert error.status == httpx.codes.CONFLICT  # noqa: PT017 - a renewal came between; again
    leader.wait_until(lambda: bool(leader.says("no longer leading")), "the term ends")
    assert leader.says("no longer leading")[0]["why"] == "somebody holds the Lease"
    leader.wait_until(leader.is_leading, "it leads again, since nobody renews")


def _lease_path() -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/watchword-operator"


def test_two_signals_are_not_needed_and_do_no_harm(leader: Replica) -> None:
    leader.process.send_signal(signal.SIGTERM)
    leader.process.send_signal(signal.SIGINT)
    assert leader.process.wait(40) == 0


def test_work_that_does_not_end_ends_the_process_with_3_and_keeps_the_lease_until_it_runs_out(
    start: Start, crd_cluster: Cluster
) -> None:
    """Another may lead only when nothing of this one can write any more: so it is not given back."""
    with start("hanging", "--stop-seconds", "1") as replica:
        replica.wait_until(replica.is_leading, "it leads")
        identity = replica.ready()["identity"]
        crd_cluster.apply(workload("hang"))
        try:
            replica.wait_until(
                lambda: saw(replica, "ADDED", "hang")() or saw(replica, "LISTED", "hang")(), "it hangs"
            )
            assert replica.stop() == 3
        finally:
            crd_cluster.request("DELETE", f"{WORKLOADS}/hang")
    assert replica.says("the work of a leader did not end in time, ending the process")
    assert lease_of(crd_cluster)["spec"]["holderIdentity"] == identity


def test_the_log_is_json_lines_and_holds_no_credential(leader: Replica, crd_cluster: Cluster) -> None:
    secret = json.loads(crd_cluster.kubeconfig.read_text())["users"][0]["user"]["token"]
    leader.stop()
    text = leader.log.read_text()
    assert secret not in text
    for line in text.splitlines():
        assert {"time", "level", "message"} <= json.loads(line).keys()
