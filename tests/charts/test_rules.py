# SPDX-License-Identifier: Apache-2.0
"""The chart for platforms with rules of their own: what each value leaves out, adds or moves."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from testing.charts.rendering import CHART
from tests.charts.conftest import Helm, Objects, named

Json = dict[str, Any]


def pods(objects: Objects) -> dict[str, Json]:
    """The pods' specifications by their objects' names."""
    found = {
        each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] in ("Deployment", "Pod")
    }
    return {name: spec.get("template", {}).get("spec", spec) for name, spec in found.items()}


def arguments(objects: Objects, name: str) -> list[str]:
    return list(pods(objects)[name]["containers"][0]["args"])


def webhook_arguments(objects: Objects) -> list[str]:
    return arguments(objects, "watchword-webhook")


@pytest.mark.parametrize("number", [1000680000, 2147483647, 1])
def test_a_user_id_is_written_as_the_whole_number_that_it_is(helm: Helm, number: int) -> None:
    objects = helm.template({"pods": {"runAsUser": number}, "gate": {"runAsUser": number}})
    for pod in pods(objects).values():
        for security in (pod["securityContext"], pod["containers"][0]["securityContext"]):
            assert (security["runAsUser"], security["runAsGroup"]) == (number, number)
    assert f"--gate-run-as-user={number}" in webhook_arguments(objects)


def test_user_ids_can_be_left_to_the_platform(helm: Helm) -> None:
    objects = helm.template({"pods": {"runAsUser": ""}, "gate": {"runAsUser": ""}})
    assert len(pods(objects)) == 3
    for pod in pods(objects).values():
        for security in (pod["securityContext"], pod["containers"][0]["securityContext"]):
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()
            assert security["runAsNonRoot"] is True
    assert "--gate-run-as-user=unset" in webhook_arguments(objects)


@pytest.mark.parametrize("value", [0, -1, "root", 1.5, 2**31])
def test_a_user_id_that_is_none_is_refused(helm: Helm, value: Any) -> None:
    file = helm.home / "refused.yaml"
    file.write_text(yaml.safe_dump({"pods": {"runAsUser": value}}))
    found = helm.run("template", "watchword", str(CHART), "--values", str(file))
    assert found.returncode != 0
    assert "runAsUser" in found.stderr


def test_no_priority_class_is_asked_for_unless_told(helm: Helm, rendered: Objects) -> None:
    assert not [pod for pod in pods(rendered).values() if "priorityClassName" in pod]
    named_one = helm.template({"pods": {"priorityClassName": "system-cluster-critical"}})
    assert pods(named_one)["watchword-operator"]["priorityClassName"] == "system-cluster-critical"


def test_every_port_listens_on_ipv6_where_told(helm: Helm) -> None:
    objects = helm.template(
        {"pods": {"listenHost": "[::]"}, "gate": {"listenHost": "[::]"}, "desk": {"enabled": True}}
    )
    listening = [
        each
        for name in ("desk", "operator", "webhook")
        for each in arguments(objects, f"watchword-{name}")
        if "listen" in each
    ]
    assert sorted(listening) == [
        "--gate-listen-host=[::]",
        "--listen=[::]:8444",
        "--listen=[::]:9443",
        "--ops-listen=[::]:9090",
        "--ops-listen=[::]:9090",
        "--ops-listen=[::]:9091",
    ]
    # An address of IPv6 in a URL has brackets, which a variable of the kubelet has not.
    assert not [each for each in arguments(objects, "watchword-test") if "SERVICE_HOST" in each]


def test_the_webhook_moves_to_other_ports_and_into_the_nodes_network(helm: Helm, rendered: Objects) -> None:
    objects = helm.template({"webhook": {"hostNetwork": True, "port": 19443, "opsPort": 19090}})
    pod = pods(objects)["watchword-webhook"]
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert [each["containerPort"] for each in pod["containers"][0]["ports"]] == [19443, 19090]
    assert {"--listen=0.0.0.0:19443", "--ops-listen=0.0.0.0:19090"} < set(webhook_arguments(objects))
    # Callers keep their port: Services lead to the pods' by name.
    assert named(objects, "Service", "watchword-webhook") == named(rendered, "Service", "watchword-webhook")
    rolling = named(objects, "Deployment", "watchword-webhook")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}
    assert "hostNetwork" not in pods(objects)["watchword-operator"]


def test_what_gates_get_reaches_the_webhook(helm: Helm) -> None:
    objects = helm.template(
        {"gate": {"cpuLimit": "500m", "guaranteedCPU": "250m", "imagePullSecrets": ["a", "b"]}}
    )
    assert {
        "--gate-cpu-limit=500m",
        "--gate-guaranteed-cpu=250m",
        "--gate-image-pull-secret=a",
        "--gate-image-pull-secret=b",
    } < set(webhook_arguments(objects))


def test_with_cert_manager_certificates_are_of_an_authority_that_outlives_them(helm: Helm) -> None:
    objects = helm.template({"webhook": {"certificates": "cert-manager"}})
    leaf = named(objects, "Certificate", "watchword-webhook")["spec"]
    authority = named(objects, "Certificate", "watchword-webhook-ca")["spec"]
    issuer = named(objects, "Issuer", leaf["issuerRef"]["name"])["spec"]
    assert issuer == {"ca": {"secretName": authority["secretName"]}}
    assert "isCA" not in leaf
    assert authority["isCA"] is True
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    assert named(objects, "Issuer", authority["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    assert authority["secretName"] != leaf["secretName"]
    # What the API server trusts is read from the leaf's Secret (ca.crt), which is the authority's.
    configuration = named(objects, "MutatingWebhookConfiguration", "watchword-webhook")
    injected = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert injected == "watchword-system/watchword-webhook"
    # It may see that its configuration is there, as /readyz says, and neither change it nor read a Secret.
    rules = named(objects, "ClusterRole", "watchword-webhook")["rules"]
    [verbs] = [each["verbs"] for each in rules if "mutatingwebhookconfigurations" in each["resources"]]
    assert verbs == ["get"]
    assert not [each for each in rules if "secrets" in each["resources"]]
    assert not [
        each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Role", "watchword-webhook")
    ]


def test_with_an_issuer_of_yours_the_chart_makes_no_authority(helm: Helm) -> None:
    reference = {"name": "ca", "kind": "ClusterIssuer"}
    objects = helm.template({"webhook": {"certificates": "cert-manager", "certManagerIssuerRef": reference}})
    assert not [each for each in objects if each["kind"] == "Issuer"]
    [certificate] = [each for each in objects if each["kind"] == "Certificate"]
    assert certificate["spec"]["issuerRef"] == reference
