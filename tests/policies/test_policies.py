# SPDX-License-Identifier: Apache-2.0
"""The NetworkPolicies do what the design says, as judged by a program that nobody here wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, parsed, service
from tests.policies.evaluator import CYCLONUS_VERSION, SOURCE, Evaluator, Packet, Peer
from tests.policies.world import MANIFESTS, PORTS, RECEIVERS, SENDERS, TO_THE_GATE, UNTOUCHED, is_expected
from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.network_policy import network_policy
from watchword.trust.overlapping_selectors import opens_app_port_of, opens_gate_port_of

STRANGER = Peer("203.0.113.7")
SHARED_POD = Peer("10.1.0.1", "tuist", {"app": "shared"})
SAME_PODS = {"selector": {"matchLabels": {"app": "shared"}}}
PORT_NUMBERS = st.sampled_from([1, 2, 3, 8079, 8080, 8081, 8443, 9090, 65534, 65535]) | st.integers(1, 65535)


@pytest.fixture(scope="module")
def policies() -> list[dict[str, object]]:
    """What would be applied: the enforced policies of the world, as JSON has them."""
    enforced = {each["metadata"]["name"] for each in MANIFESTS if each["kind"] == "ProtectedService"} - set(
        UNTOUCHED
    )
    made = json.loads(json.dumps(compiled(*MANIFESTS).network_policies))
    return [each for each in made if each["metadata"]["name"].removeprefix("watchword-") in enforced]


def test_the_evaluator_is_the_version_that_is_named() -> None:
    assert f"github.com/mattfenwick/cyclonus {CYCLONUS_VERSION}" in (SOURCE / "go.mod").read_text()


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_who_reaches_which_port(
    evaluator: Evaluator, policies: list[dict[str, object]], receiver: str
) -> None:
    asked = [(sender, port) for sender in SENDERS for port in PORTS[receiver]]
    packets = [Packet(SENDERS[sender], RECEIVERS[receiver], *PORTS[receiver][port]) for sender, port in asked]
    answers = dict(zip(asked, evaluator.arrives(policies, packets), strict=True))
    wrong = {
        key: answer for key, answer in answers.items() if answer != is_expected(key[0], receiver, key[1])
    }
    assert wrong == {}


def test_the_table_asks_for_yes_and_for_no_at_each_gate() -> None:
    """A table of nothing but refusals, or of senders that do not exist, would prove nothing."""
    for receiver, senders in TO_THE_GATE.items():
        assert senders <= set(SENDERS), receiver
        assert senders != set(SENDERS), receiver


def test_without_the_policies_everybody_reaches_everything(evaluator: Evaluator) -> None:
    packets = [
        Packet(sender, receiver, *port)
        for sender in SENDERS.values()
        for name, receiver in RECEIVERS.items()
        for port in PORTS[name].values()
    ]
    assert all(evaluator.arrives([], packets))


def service_of(document: dict[str, object]) -> ProtectedService:
    (found,) = parsed(document).resources.services
    return found


def applied(*services: ProtectedService) -> list[dict[str, object]]:
    made = [network_policy(each, ()) for each in services]
    return json.loads(json.dumps([each for each in made if each is not None]))


def on_the_same_pods(ports: list[int], mode: str) -> tuple[ProtectedService, ProtectedService]:
    """Two services, each with the port of its gate and of its app; `mode`: of the second one's policy."""
    off = {"networkPolicy": {"mode": mode}}
    one = service("one", port=ports[0], upstreamPort=ports[1], **SAME_PODS)
    return service_of(one), service_of(
        service("other", port=ports[2], upstreamPort=ports[3], **SAME_PODS, **off)
    )


def test_a_service_that_wants_no_policy_gets_none() -> None:
    assert applied(service_of(service(networkPolicy={"mode": "Off"}))) == []


@pytest.mark.parametrize(("gate", "app"), [(8443, 8080), (1, 2), (65535, 1), (65534, 65535), (8081, 8080)])
def test_of_all_tcp_ports_a_stranger_misses_exactly_the_two(
    evaluator: Evaluator, gate: int, app: int
) -> None:
    protected = service_of(service("shared", port=gate, upstreamPort=app))
    packets = [Packet(STRANGER, SHARED_POD, port) for port in range(1, 65536)]
    answers = evaluator.arrives(applied(protected), packets)
    missed = {each.port for each, arrives in zip(packets, answers, strict=True) if not arrives}
    assert missed == {gate, app}


def test_two_services_on_the_same_pods_with_one_app_port_keep_it_closed(evaluator: Evaluator) -> None:
    """Policies add up, so each opens the other's gate to the network; the gate itself still checks."""
    one = service_of(service("one", port=8443, upstreamPort=8080, **SAME_PODS))
    other = service_of(service("other", port=9443, upstreamPort=8080, **SAME_PODS))
    packets = [Packet(STRANGER, SHARED_POD, port) for port in (8080, 8443, 9443)]
    assert evaluator.arrives(applied(one, other), packets) == [False, True, True]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(PORT_NUMBERS, min_size=4, max_size=4), st.sampled_from(["Enforce", "Off"]))
def test_an_app_port_is_said_to_be_opened_by_another_service_exactly_when_it_is(
    evaluator: Evaluator, ports: list[int], mode: str
) -> None:
    """Policies add up: two services on the same pods open what the other one closes."""
    if ports[0] == ports[1] or ports[2] == ports[3]:
        return
    one, other = on_the_same_pods(ports, mode)
    (is_open,) = evaluator.arrives(
        applied(one, other), [Packet(STRANGER, SHARED_POD, one.spec.upstream_port)]
    )
    said = opens_app_port_of(other, one)
    # Where the other's gate has the port of this app, the other's callers come in, and strangers do not.
    assert said == is_open or (said and other.spec.port == one.spec.upstream_port)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(PORT_NUMBERS, min_size=4, max_size=4), st.sampled_from(["Enforce", "Off"]))
def test_a_gate_port_is_said_to_be_opened_by_another_service_exactly_when_it_is(
    evaluator: Evaluator, ports: list[int], mode: str
) -> None:
    if ports[0] == ports[1] or ports[2] == ports[3]:
        return
    one, other = on_the_same_pods(ports, mode)
    (is_open,) = evaluator.arrives(applied(one, other), [Packet(STRANGER, SHARED_POD, one.spec.port)])
    assert opens_gate_port_of(other, one) == is_open
