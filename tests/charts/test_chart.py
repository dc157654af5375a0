# SPDX-License-Identifier: Apache-2.0
"""What the chart makes of its values, and which values it refuses."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.charts.rendering import CHART, INSTALL, NAMESPACE, install_manifests
from tests.charts.conftest import Helm, Objects, named
from watchword.trust.admin_policy import ADMINS_POLICY, admins_policy_spec, guard_problem
from watchword.trust.admission_policies import (
    BUNDLES_POLICY,
    OPERATOR_POLICY,
    bundles_policy_spec,
    operator_policy_spec,
)

DIGEST = "sha256:" + "a" * 64
PODS = ("Deployment", "Pod")


def containers(objects: Objects) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each container, with its object's name and its pod's specification."""
    found = []
    for each in objects:
        if each["kind"] in PODS:
            pod = each["spec"]["template"]["spec"] if each["kind"] == "Deployment" else each["spec"]
            found += [(each["metadata"]["name"], container, pod) for container in pod["containers"]]
    return found


def test_lint_finds_nothing(helm: Helm) -> None:
    found = helm.run("lint", str(CHART), "--strict", "--kube-version", "1.36.0")
    assert found.returncode == 0, found.stdout + found.stderr


MATRIX: dict[str, list[dict[str, Any]]] = {
    "webhook": [
        {},
        {"enabled": False},
        {"certificates": "cert-manager"},
        {"certificates": "cert-manager", "certManagerIssuerRef": {"name": "ca", "kind": "ClusterIssuer"}},
    ],
    "metrics": [
        {},
        {"podMonitor": True, "rules": True, "dashboard": True, "labels": {"release": "prometheus"}},
    ],
    "operator": [{}, {"replicas": 1, "extraArgs": ["--x=y"], "extraEnv": [{"name": "A", "value": "b"}]}],
    "desk": [
        {},
        {
            "enabled": True,
            "replicas": 3,
            "postgresqlSecret": "db",
            "tlsSecret": "tls",
            "adminAPI": True,
            "adminsFrom": [{"podSelector": {}}],
            "adminGranters": ["argocd/argocd-application-controller"],
        },
    ],
    "pods": [{}, {"maxUnavailable": None, "spreadOver": "", "priorityClassName": "", "affinity": {"x": {}}}],
}


@pytest.mark.parametrize("choice", list(itertools.product(*MATRIX.values())))
def test_every_combination_of_values_renders_to_whole_objects(helm: Helm, choice: tuple[Any, ...]) -> None:
    objects = helm.template(dict(zip(MATRIX, choice, strict=True)))
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    for each in objects:
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "watchword"


TEMPLATES = [path for path in sorted((CHART / "templates").rglob("*")) if path.suffix in {".yaml", ".txt"}]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_template_begins_with_the_defaults_and_writes_whole_numbers(path: Path) -> None:
    """With `--reuse-values` a value may be missing, and a number of a values file is a float."""
    text = path.read_text()
    assert '{{- include "watchword.complete" . -}}' in text[:120]
    numbers = re.findall(
        r"\{\{-? *(?:\$?\.Values\S*(?:replicas|[Ss]econds|[Pp]ort|runAsUser|maxUnavailable)) *-?\}\}", text
    )
    assert numbers == [], "write {{ int64 … }}"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"imge": {}}, "imge"),
    ({"image": {"digest": "sha256:short"}}, "digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"operator": {"replicas": 0}}, "replicas"),
    ({"operator": {"replica": 2}}, "replica"),
    ({"operator": {"allowKeyNetworks": ["10.0.0.1"]}}, "allowKeyNetworks"),
    ({"gate": {"runAsUser": 0}}, "runAsUser"),
    ({"gate": {"memoryLimit": "lots"}}, "memoryLimit"),
    ({"webhook": {"certificates": "letsencrypt"}}, "certificates"),
    ({"webhook": {"certManagerIssuerRef": {"name": "ca", "kind": "Issuer"}}}, "certificates"),
    ({"webhook": {"certificates": "cert-manager", "certManagerIssuerRef": {"name": "ca"}}}, "kind"),
    ({"rbac": {"aggregate": False, "editGrantsAccess": True}}, "aggregate"),
    ({"pods": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"desk": {"enabled": True, "replicas": 2}}, "postgresqlSecret"),
    ({"desk": {"enabled": True, "namespace": "default"}}, "desk.namespace"),
    ({"desk": {"dsn": "postgresql://user:secret@db"}}, "dsn"),
    ({"desk": {"enabled": True, "adminsFrom": [{"podSelector": {}}]}}, "desk.adminAPI"),
    ({"desk": {"adminGranters": ["argocd"]}}, "adminGranters"),
    ({"desk": {"adminGranters": ["system:serviceaccount:argocd:argo"]}}, "adminGranters"),
    ({"desk": {"adminGranters": ["*/*"]}}, "adminGranters"),
    ({"desk": {"adminGranters": ["a/b'] + ['c"]}}, "adminGranters"),
]


@pytest.mark.parametrize(("values", "said"), REFUSED, ids=[json.dumps(each[0]) for each in REFUSED])
def test_an_unknown_or_contradictory_value_is_refused_by_name(
    helm: Helm, values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    found = helm.run("template", "watchword", str(CHART), "--values", str(file))
    assert found.returncode != 0
    assert said in found.stderr


def leaves(node: dict[str, Any], below: str, prefix: str = "") -> set[str]:
    """The paths of members that hold no further members under the key `below` (none: themselves)."""
    found: set[str] = set()
    for name, member in node.items():
        inner = (member.get(below) if below else member) if isinstance(member, dict) else None
        found |= leaves(inner, below, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return found


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    known = leaves(json.loads((CHART / "values.schema.json").read_text())["properties"], "properties")
    given = leaves(yaml.safe_load((CHART / "values.yaml").read_text()), "")

    def covers(one: str, other: str) -> bool:
        return other == one or other.startswith(f"{one}.") or one.startswith(f"{other}.")

    assert not [each for each in given if not any(covers(each, other) for other in known)]
    # `global` and `enabled` are for charts that hold this one.
    assert {each for each in known if not any(covers(each, other) for other in given)} == {
        "global",
        "enabled",
    }


def test_containers_keep_to_what_restricted_asks_and_more(rendered: Objects) -> None:
    found = containers(rendered)
    assert len(found) == 3
    for _, container, pod in found:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        # The test alone finds its services by them.
        assert pod["enableServiceLinks"] is (container["name"] == "test")
        assert "memory" in container["resources"]["limits"]


def test_tokens_are_mounted_only_where_they_are_used(rendered: Objects) -> None:
    for each in rendered:
        if each["kind"] == "ServiceAccount":
            assert each["automountServiceAccountToken"] is False
    assert {name: pod["automountServiceAccountToken"] for name, _, pod in containers(rendered)} == {
        "watchword-operator": True,
        "watchword-webhook": True,
        "watchword-test": False,
    }


def test_definitions_are_kept_on_uninstall_unless_told_otherwise(helm: Helm, rendered: Objects) -> None:
    definitions = [each for each in rendered if each["kind"] == "CustomResourceDefinition"]
    assert len(definitions) == len(list((CHART / "files/crds").glob("*.yaml")))
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in definitions)
    for each in helm.template({"crds": {"keep": False}, "admissionPolicies": {"keep": False}}):
        assert "helm.sh/resource-policy" not in (each["metadata"].get("annotations") or {})
    assert not [
        each
        for each in helm.template({"crds": {"install": False}})
        if each["kind"] == "CustomResourceDefinition"
    ]


def test_a_digest_wins_over_a_tag_for_every_container_and_every_gate(helm: Helm) -> None:
    image = {"tag": "1", "digest": DIGEST}
    objects = helm.template(
        {
            "image": {"repository": "registry.example/operator", **image},
            "gate": {"image": {"repository": "registry.example/gate", **image}},
        }
    )
    wanted = f"registry.example/operator@{DIGEST}"
    assert {container["image"] for _, container, _ in containers(objects)} == {wanted}
    webhook = named(objects, "Deployment", "watchword-webhook")
    arguments = webhook["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--gate-image=registry.example/gate@{DIGEST}" in arguments


def test_the_webhook_is_asked_only_for_pods_that_ask_and_fails_closed_for_them(rendered: Objects) -> None:
    found = named(rendered, "MutatingWebhookConfiguration", "watchword-webhook")["webhooks"]
    keys = [each["objectSelector"]["matchExpressions"][0]["key"] for each in found]
    assert keys == ["watchword.dev/gate", "watchword.dev/call", "watchword.dev/exchange"]
    assert {each["failurePolicy"] for each in found} == {"Fail"}
    assert {each["reinvocationPolicy"] for each in found} == {"IfNeeded"}
    for each in found:
        # What runs the cluster, and Watchword itself, must be able to start without Watchword.
        assert each["namespaceSelector"]["matchExpressions"][0]["values"] == ["kube-system", NAMESPACE]


def test_one_replica_has_no_budget_that_would_block_drains(helm: Helm) -> None:
    objects = helm.template({"operator": {"replicas": 1}})
    budgets = [each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    assert budgets == ["watchword-webhook"]


def test_who_may_edit_a_workload_is_chosen(helm: Helm, rendered: Objects) -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-edit"
    assert label not in named(rendered, "ClusterRole", "watchword-edit")["metadata"]["labels"]
    given = helm.template({"rbac": {"editGrantsAccess": True}})
    assert named(given, "ClusterRole", "watchword-edit")["metadata"]["labels"][label] == "true"


def test_common_labels_and_annotations_reach_every_object(helm: Helm) -> None:
    common = {"commonLabels": {"team": "a"}, "commonAnnotations": {"owner": "b"}}
    metrics = {"podMonitor": True, "rules": True, "dashboard": True, "labels": {"release": "prometheus"}}
    for each in helm.template(common | {"metrics": metrics}):
        assert each["metadata"]["labels"]["team"] == "a", each["metadata"]
        assert each["metadata"]["annotations"]["owner"] == "b", each["metadata"]


def test_selectors_hold_no_label_that_an_upgrade_changes(helm: Helm) -> None:
    objects = helm.template({"commonLabels": {"team": "a"}})
    for each in objects:
        if each["kind"] == "Deployment":
            assert set(each["spec"]["selector"]["matchLabels"]) == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }


def test_extra_objects_are_rendered_as_templates(helm: Helm) -> None:
    extra = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-a", "labels": {}},
        },
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
    ]
    names = [
        each["metadata"]["name"]
        for each in helm.template({"extraObjects": extra})
        if each["kind"] == "ConfigMap"
    ]
    assert names == ["watchword-a", "b"]


def test_flags_are_flags_of_the_commands(helm: Helm) -> None:
    from watchword.cli.main import COMMANDS, watchword

    values = {"webhook": {"certificates": "cert-manager"}, "operator": {"allowKeyNetworks": ["10.0.0.0/8"]}}
    for name, container, _ in containers(helm.template(values)):
        if "args" not in container or "command" in container:
            continue
        command = container["args"][0]
        assert command in COMMANDS, name
        import click

        found = watchword.get_command(click.Context(watchword), command)
        assert found is not None
        known = {option for parameter in found.params for option in parameter.opts}
        for argument in container["args"][1:]:
            assert argument.partition("=")[0] in known, f"{name}: {argument}"


def test_metrics_of_alerts_and_dashboard_exist() -> None:
    from watchword.desk.metrics import DeskMetrics
    from watchword.gate.metrics import GateMetrics
    from watchword.operator.metrics import OperatorMetrics
    from watchword.webhook.app import WebhookMetrics

    gate, webhook = GateMetrics(), WebhookMetrics()
    for each in (gate, webhook):
        each.follow_certificate(lambda: None)
    known = {
        sample
        for registry in (gate.registry, OperatorMetrics().registry, webhook.registry, DeskMetrics().registry)
        for family in registry.collect()
        for sample in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    for name in ("alerts.yaml", "alerts-webhook.yaml", "alerts-desk.yaml", "dashboard.json"):
        used = set(re.findall(r"watchword_[a-z_]+", (CHART / "files" / name).read_text()))
        assert used <= known, used - known


def test_notes_say_what_to_type_next(helm: Helm) -> None:
    found = helm.run(
        "install",
        "watchword",
        str(CHART),
        "--dry-run=client",
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.0",
    )
    if found.returncode:
        found = helm.run("install", "watchword", str(CHART), "--dry-run=client", "--namespace", NAMESPACE)
    notes = found.stdout.partition("NOTES:")[2]
    assert "kubectl -n watchword-system rollout status deployment/watchword-operator" in notes


def test_the_plain_manifests_are_the_charts(helm: Helm) -> None:
    assert INSTALL.read_text() == install_manifests(helm.program, helm.home), "run `make manifests`"


def test_the_plain_manifests_hold_no_empty_annotations() -> None:
    for each in yaml.safe_load_all(INSTALL.read_text()):
        if each:
            assert each["metadata"].get("annotations", {"some": "thing"}), each["metadata"]["name"]


COMPONENT = "app.kubernetes.io/component"
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def test_the_policies_deny_fail_closed_and_are_kept_with_what_lets_namespaces_end(
    helm: Helm, rendered: Objects
) -> None:
    # Those of injection are a component of their own.
    part = [each for each in rendered if each["metadata"]["labels"].get(COMPONENT) == "admission"]
    policies = {each["metadata"]["name"]: each["spec"] for each in part if each["kind"] == POLICIES[0]}
    bindings = {each["metadata"]["name"]: each["spec"] for each in part if each["kind"] == POLICIES[1]}
    assert policies == {
        BUNDLES_POLICY: bundles_policy_spec(),
        OPERATOR_POLICY: operator_policy_spec(),
        ADMINS_POLICY: admins_policy_spec(),
    }
    assert bindings == {name: {"policyName": name, "validationActions": ["Deny"]} for name in policies}
    kept = {
        (each["kind"], each["metadata"]["name"])
        for each in rendered
        if (each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
        and each["kind"] != "CustomResourceDefinition"
    }
    assert kept == {
        *((kind, BUNDLES_POLICY) for kind in POLICIES),
        ("ClusterRole", "watchword-bundle-cleaner"),
        ("ClusterRoleBinding", "watchword-bundle-cleaner"),
    }
    without = helm.template({"admissionPolicies": {"enabled": False}})
    assert not [each for each in without if "bundles" in json.dumps(each.get("rules") or [])]
    assert not [
        each
        for each in without
        if each["kind"] in POLICIES and each["metadata"]["labels"].get(COMPONENT) == "admission"
    ]


def test_the_policy_on_the_operator_is_on_the_user_that_it_runs_as(helm: Helm) -> None:
    rendered = helm.template({"fullnameOverride": "ww"})
    [policy] = [
        each["spec"]
        for each in rendered
        if (each["kind"], each["metadata"]["name"]) == (POLICIES[0], OPERATOR_POLICY)
    ]
    assert policy == operator_policy_spec(f"system:serviceaccount:{NAMESPACE}:ww-operator")
    [writer] = [
        each
        for each in rendered
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRoleBinding", "ww-bundle-writer")
    ]
    assert writer["subjects"] == [{"kind": "ServiceAccount", "name": "ww-operator", "namespace": NAMESPACE}]


def test_a_desk_is_in_its_own_namespace_and_the_operator_keeps_its_keys_there_alone(helm: Helm) -> None:
    objects = helm.template({"desk": {"enabled": True, "namespace": "desks", "name": "main"}})
    [desk] = [
        each
        for each in objects
        if each["metadata"]["name"] == "watchword-desk" and each["kind"] == "Deployment"
    ]
    assert desk["metadata"]["namespace"] == "desks"
    [container] = desk["spec"]["template"]["spec"]["containers"]
    assert "--token-desk=desks/main" in container["args"]
    assert desk["spec"]["strategy"] == {"type": "Recreate"}
    operator = next(
        each
        for each in objects
        if each["metadata"]["name"] == "watchword-operator" and each["kind"] == "Deployment"
    )
    assert "--desk-namespace=desks" in operator["spec"]["template"]["spec"]["containers"][0]["args"]
    secrets = [
        (each["kind"], each["metadata"].get("namespace"), rule["verbs"])
        for each in objects
        for rule in each.get("rules") or ()
        if "secrets" in rule.get("resources", ()) and "operator" in each["metadata"]["name"]
    ]
    assert secrets == [
        ("Role", "desks", ["get", "list", "watch", "create", "patch", "delete"]),
        ("Role", NAMESPACE, ["get"]),
    ]
    own = next(
        each for each in objects if each["kind"] == "Role" and each["metadata"]["name"] == "watchword-desk"
    )
    assert [rule["resourceNames"] for rule in own["rules"] if "patch" in rule["verbs"]] == [
        ["watchword-desk-main"]
    ]


def test_the_webhook_reads_desks_where_they_count_and_nowhere_else(helm: Helm) -> None:
    objects = helm.template({"desk": {"enabled": True, "namespace": "desks"}})
    [arguments] = [
        each["spec"]["template"]["spec"]["containers"][0]["args"]
        for each in objects
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", "watchword-webhook")
    ]
    assert "--desk-namespace=desks" in arguments
    reading = [
        (each["kind"], each["metadata"].get("namespace"), rule["verbs"])
        for each in objects
        for rule in each.get("rules") or ()
        if "tokendesks" in rule.get("resources", ()) and each["metadata"]["name"] == "watchword-webhook"
    ]
    assert reading == [("Role", "desks", ["list", "watch"])]
    [bound] = [
        each
        for each in objects
        if each["kind"] == "RoleBinding"
        and (each["metadata"]["name"], each["metadata"]["namespace"]) == ("watchword-webhook", "desks")
    ]
    assert bound["subjects"] == [
        {"kind": "ServiceAccount", "name": "watchword-webhook", "namespace": NAMESPACE}
    ]
    # The label is answered everywhere, so that it is never passed over.
    for values in ({}, {"desk": {"enabled": True}}):
        [found] = [each for each in helm.template(values) if each["kind"] == "MutatingWebhookConfiguration"]
        asked = [each["objectSelector"]["matchExpressions"][0]["key"] for each in found["webhooks"]]
        assert asked == ["watchword.dev/gate", "watchword.dev/call", "watchword.dev/exchange"]


def test_without_a_desk_nothing_of_it_is_installed(helm: Helm) -> None:
    kinds = [each for each in helm.template({}) if "desk" in each["metadata"]["name"]]
    assert {each["kind"] for each in kinds} == {"CustomResourceDefinition"}


def test_the_admin_api_has_a_port_and_a_service_of_its_own_and_nobody_reaches_it_by_default(
    helm: Helm,
) -> None:
    def named(values: dict[str, Any], kind: str, name: str = "watchword-desk") -> list[dict[str, Any]]:
        found = helm.template({"desk": {"enabled": True} | values})
        return [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]

    def ports(values: dict[str, Any]) -> list[Any]:
        [policy] = named(values, "NetworkPolicy")
        return [(each["ports"][0]["port"], each.get("from")) for each in policy["spec"]["ingress"]]

    assert named({}, "Service", "watchword-desk-admin") == []
    [container] = named({}, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert not [each for each in container["args"] if "admin" in each]
    peers = [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}]
    [container] = named({"adminAPI": True}, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert "--admin-listen=0.0.0.0:8445" in container["args"]
    [service] = named({"adminAPI": True}, "Service", "watchword-desk-admin")
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["admin"]
    [public] = named({"adminAPI": True}, "Service")
    assert [each["targetPort"] for each in public["spec"]["ports"]] == ["public"]
    assert ports({"adminAPI": True}) == [("public", None), ("ops", None)]
    assert ports({"adminAPI": True, "adminsFrom": peers}) == [
        ("public", None),
        ("admin", peers),
        ("ops", None),
    ]


def test_listed_service_accounts_are_in_the_policy_and_it_is_still_known_as_ours(helm: Helm) -> None:
    for listed in ([], ["argocd/argo", "flux-system/kustomize-controller"]):
        found = [
            each
            for each in helm.template({"desk": {"adminGranters": listed}})
            if each["metadata"]["name"] == ADMINS_POLICY
        ]
        policy, binding = sorted(found, key=lambda each: str(each["kind"]))
        assert guard_problem(policy, binding) == ""
        users = [f"'system:serviceaccount:{each.replace('/', ':')}'" for each in listed]
        assert policy["spec"]["variables"][0]["expression"] == f"[{', '.join(users)}]"


def test_who_edits_clients_does_not_make_admins_of_them_by_that(helm: Helm) -> None:
    roles = {
        each["metadata"]["name"]: each
        for each in helm.template({"desk": {"enabled": True}})
        if each["kind"] == "ClusterRole"
    }
    verbs = {
        name: {verb for rule in roles[f"watchword-desk-{name}"]["rules"] for verb in rule["verbs"]}
        for name in ("viewer", "editor", "granter")
    }
    assert "grant-admin" not in verbs["viewer"] | verbs["editor"]
    assert verbs["granter"] == {"get", "grant-admin"}
    label = "watchword.dev/aggregate-to-desk-admin"
    [selector] = roles["watchword-desk-admin"]["aggregationRule"]["clusterRoleSelectors"]
    assert selector == {"matchLabels": {label: "true"}}
    for name in verbs:
        labels = roles[f"watchword-desk-{name}"]["metadata"]["labels"]
        assert labels[label] == "true"
        # In none of Kubernetes' own roles.
        assert not [each for each in labels if each.startswith("rbac.authorization.k8s.io/")]
    # What the operator may confirm, no one else may.
    confirming = [
        name
        for name, role in roles.items()
        for rule in role.get("rules") or ()
        if "confirm-admin" in rule["verbs"]
    ]
    assert confirming == ["watchword-operator-desk"]
