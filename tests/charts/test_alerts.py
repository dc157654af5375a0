# SPDX-License-Identifier: Apache-2.0
"""Each alert of the chart, by promtool: silent when all is well, heard when it is not or nothing is there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.unavailable import skip_or_fail
from tests.charts.conftest import Helm, Objects
from tests.charts.promtool import find_promtool

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/how-to/answer-an-alert.md").read_text()
Series = Mapping[str, str]
OPERATOR = 'namespace="watchword-system", pod="operator-0"'
STANDBY = 'namespace="watchword-system", pod="operator-1"'
WEBHOOK = 'namespace="watchword-system", pod="webhook-0"'
DESK = 'namespace="watchword-desk", pod="desk-0"'
GATE = 'namespace="tuist", pod="server-0"'
DAY = 86400
# Values each minute, from second 0 of the epoch on.
WELL: Series = {
    f"watchword_operator_leader{{{OPERATOR}}}": "1x90",
    f"watchword_operator_leader{{{STANDBY}}}": "0x90",
    f"watchword_operator_terms_total{{{OPERATOR}}}": "1x90",
    f'watchword_operator_watch_age_seconds{{{OPERATOR}, resource="trustedworkloads"}}': "7x90",
    f'watchword_operator_keys_pending{{{OPERATOR}, issuer="atlas"}}': "0x90",
    f'watchword_operator_key_age_seconds{{{OPERATOR}, issuer="atlas"}}': "30x90",
    f"watchword_operator_withdrawals_unpublished{{{OPERATOR}}}": "0x90",
    f"watchword_operator_bundles_unpublished{{{OPERATOR}}}": "0x90",
    f"watchword_operator_desk_keys_unwritten{{{OPERATOR}}}": "0x90",
    f"watchword_operator_workloads_over_budget{{{OPERATOR}}}": "0x90",
    f'watchword_operator_bundle_generation{{{OPERATOR}, service="tuist/server"}}': "1764300000000x90",
    f'watchword_bundle_in_use{{{GATE}, service="tuist/server", digest="d"}}': "1764300000000x90",
    f"watchword_bundle_generation{{{GATE}}}": "1764300000000x90",
    f"watchword_report_only_seconds_left{{{GATE}}}": "0x90",
    f'watchword_would_refuse_total{{{GATE}, service="tuist/server", reason="unknown_workload"}}': "5x90",
    f"watchword_bundle_failures_total{{{GATE}}}": "0x90",
    f"watchword_bundle_generations_ahead_total{{{GATE}}}": "0x90",
    f"watchword_bundle_absent_seconds{{{GATE}}}": "0x90",
    f"watchword_bundle_watch_connected{{{GATE}}}": "1x90",
    f"watchword_bundle_watch_age_seconds{{{GATE}}}": "20x90",
    f'watchword_bundle_watch_failures_total{{{GATE}, kind="network"}}': "3x90",
    f"watchword_revocations_watch_age_seconds{{{GATE}}}": "20x90",
    f"watchword_audit_dropped_total{{{GATE}}}": "0x90",
    f"watchword_usage_store_failures_total{{{GATE}}}": "0x90",
    f'watchword_decisions_total{{{GATE}, service="tuist/server", reason="allowed"}}': "0+600x90",
    f'watchword_decisions_total{{{GATE}, service="tuist/server", reason="expired"}}': "0+6x90",
    f"watchword_certificate_begins_timestamp_seconds{{{GATE}}}": f"{-10 * DAY}x90",
    f"watchword_certificate_expires_timestamp_seconds{{{GATE}}}": f"{80 * DAY}x90",
    f"watchword_webhook_warm{{{WEBHOOK}}}": "1x90",
    f"watchword_desk_targets{{{DESK}}}": "2x90",
    f"watchword_desk_problems{{{DESK}}}": "0x90",
    f"watchword_desk_store_failures_total{{{DESK}}}": "0x90",
    f"watchword_desk_revocations_published_timestamp_seconds{{{DESK}}}": "0+60x90",
    f"watchword_desk_audit_sequence{{{DESK}}}": "100+7x90",
    f'watchword_desk_audit_head{{{DESK}, hash="a"}}': "100 _x90",
    f'watchword_desk_audit_head{{{DESK}, hash="b"}}': "_ 107x89",
    f'watchword_desk_answers_total{{{DESK}, endpoint="token", reason="ok"}}': "0+600x90",
    f'watchword_desk_answers_total{{{DESK}, endpoint="token", reason="grant_not_covered"}}': "0+6x90",
    f'watchword_desk_answers_total{{{DESK}, endpoint="token", reason="not_ready"}}': "0x90",
    f"watchword_webhook_certificate_begins_timestamp_seconds{{{WEBHOOK}}}": f"{-10 * DAY}x90",
    f"watchword_webhook_certificate_expires_timestamp_seconds{{{WEBHOOK}}}": f"{80 * DAY}x90",
}


def but(**changes: str | None) -> dict[str, str]:
    """All is well, but these metrics; None: there is no such series."""
    series = dict(WELL)
    for name, values in changes.items():
        known = [each for each in WELL if each.startswith(f"watchword_{name}{{")]
        assert known, name
        for each in known:
            del series[each]
            if values is not None:
                series[each] = values
    return series


def without(*prefixes: str) -> dict[str, str]:
    return {name: values for name, values in WELL.items() if not name.startswith(prefixes)}


def desk_answers(**reasons: str) -> dict[str, str]:
    """All is well, but the desk answers with these reasons."""
    place = 'watchword_desk_answers_total{{{0}, endpoint="token", reason="{1}"}}'
    return dict(WELL) | {place.format(DESK, reason): values for reason, values in reasons.items()}


STALE = "1764200000000x90"
NOT_A_NUMBER = " ".join(["NaN"] * 91)
GONE = "1x10 _x80"
# The alert, what is not well, and from which minute on it is heard at the latest.
HEARD: list[tuple[str, str, dict[str, str]]] = [
    ("WatchwordNoLeader", "two that stand by", but(operator_leader="0x90")),
    ("WatchwordNoLeader", "no operator that was ever scraped", without("watchword_operator_")),
    ("WatchwordNoLeader", "operators that are gone", but(operator_leader=GONE)),
    ("WatchwordTwoLeaders", "two that lead", but(operator_leader="1x90")),
    ("WatchwordLeadershipUnsteady", "a term each two minutes", but(operator_terms_total="0+0.5x90")),
    ("WatchwordWatchSilent", "a silent watch", but(operator_watch_age_seconds="0+60x90")),
    ("WatchwordKeysPending", "a key that waits", but(operator_keys_pending="1x90")),
    ("WatchwordKeysStale", "keys of two days ago", but(operator_key_age_seconds=f"{2 * DAY}x90")),
    ("WatchwordWithdrawalNotPublished", "one let in too many", but(operator_withdrawals_unpublished="1x90")),
    ("WatchwordBundleNotPublished", "one not published", but(operator_bundles_unpublished="1x90")),
    ("WatchwordNamespaceBudget", "ten left out", but(operator_workloads_over_budget="10x90")),
    ("WatchwordBundleRefused", "a bundle refused now and then", but(bundle_failures_total="0+0.2x90")),
    ("WatchwordGateLags", "a gate behind", but(bundle_in_use=STALE)),
    ("WatchwordBundleForged", "a generation of the future", but(bundle_generations_ahead_total="0+0.2x90")),
    (
        "WatchwordGateWithoutBundle",
        "a gate that never had one",
        but(bundle_generation="0x90", bundle_in_use=None),
    ),
    (
        "WatchwordGateDisconnected",
        "one that never heard anything",
        but(
            bundle_watch_connected="0x90",
            bundle_watch_age_seconds=NOT_A_NUMBER,
            bundle_watch_failures_total="0+1x90",
        ),
    ),
    (
        "WatchwordGateDisconnected",
        "one that hears nothing any more",
        but(bundle_watch_age_seconds="0+60x90", bundle_watch_connected="1x90"),
    ),
    ("WatchwordUsageStoreAway", "a store that fails", but(usage_store_failures_total="0+1x90")),
    (
        "WatchwordGateCertificateEnds",
        "nine tenths are over",
        but(certificate_expires_timestamp_seconds=f"{DAY}x90"),
    ),
    ("WatchwordGateCertificateEnds", "it is over", but(certificate_expires_timestamp_seconds=f"{-DAY}x90")),
    (
        "WatchwordBundleGone",
        "a bundle that is gone",
        but(bundle_absent_seconds="0+60x90", bundle_generation="0x90", bundle_in_use=None),
    ),
    (
        "WatchwordRefusals",
        "a third is refused",
        {name: "0+300x90" if 'reason="expired"' in name else values for name, values in WELL.items()},
    ),
    ("WatchwordReportOnly", "nine days left", but(report_only_seconds_left=f"{9 * DAY}-60x90")),
    (
        "WatchwordReportOnlyEnds",
        "half a day left, and callers who are not trusted",
        but(report_only_seconds_left=f"{DAY // 2}-60x90", would_refuse_total="0+1x90"),
    ),
    ("WatchwordAuditDropped", "entries are lost", but(audit_dropped_total="0+1x90")),
    ("WatchwordWebhookDown", "caches that never warm", but(webhook_warm="0x90")),
    ("WatchwordWebhookDown", "no webhook that was ever scraped", without("watchword_webhook_")),
    ("WatchwordWebhookDown", "webhooks that are gone", but(webhook_warm=GONE)),
    ("WatchwordDeskDown", "no desk that was ever scraped", without("watchword_desk_")),
    ("WatchwordDeskDown", "a desk that is gone", but(desk_targets=GONE)),
    ("WatchwordDeskNotReady", "no key that may sign", desk_answers(not_ready="0+1x90")),
    ("WatchwordDeskNotReady", "an error of its own", desk_answers(internal_error="0+1x90")),
    ("WatchwordDeskStoreAway", "a store that fails", but(desk_store_failures_total="0+1x90")),
    (
        "WatchwordDeskNotPublishing",
        "a list that was written last at minute 10",
        but(desk_revocations_published_timestamp_seconds="0+60x10 600x79"),
    ),
    (
        "WatchwordDeskNotPublishing",
        "a list that was never written",
        but(desk_revocations_published_timestamp_seconds="0x90"),
    ),
    (
        "WatchwordDeskRevocationsUnknown",
        "a gate without a list",
        {name.replace('"expired"', '"revocations_unknown"'): values for name, values in WELL.items()},
    ),
    ("WatchwordDeskKeyNotWritten", "a key that is refused", but(operator_desk_keys_unwritten="1x90")),
    (
        "WatchwordDeskRevocationsSilent",
        "a watch that was cut at minute 10",
        but(revocations_watch_age_seconds="20x10 20+60x79"),
    ),
    ("WatchwordDeskAuditFellBack", "a log that was cut off", but(desk_audit_sequence="100+7x40 20+7x49")),
    (
        "WatchwordDeskAuditFellBack",
        "one number with two hashes",
        {**WELL, f'watchword_desk_audit_head{{{DESK}, hash="forged"}}': "_x50 107x40"},
    ),
    ("WatchwordDeskConfigurationLeftOut", "a client left out", but(desk_problems="1x90")),
    ("WatchwordDeskRefusals", "a third is refused", desk_answers(grant_not_covered="0+300x90")),
    (
        "WatchwordWebhookCertificateEnds",
        "nine tenths are over",
        but(webhook_certificate_expires_timestamp_seconds=f"{DAY}x90"),
    ),
]
SILENT: list[tuple[str, dict[str, str]]] = [
    ("all is well", dict(WELL)),
    (
        "a gate that follows nothing",
        but(bundle_watch_connected="0x90", bundle_watch_age_seconds=NOT_A_NUMBER),
    ),
    ("a gate whose service names no desk", but(revocations_watch_age_seconds=NOT_A_NUMBER)),
    (
        "a watch of revocations that is cut for five minutes",
        but(revocations_watch_age_seconds="20x40 20+60x5 20x44"),
    ),
    ("a gate without TLS", without("watchword_certificate_")),
    (
        "a certificate of a day, renewed in time",
        but(
            certificate_begins_timestamp_seconds=f"{-DAY // 2}x90",
            certificate_expires_timestamp_seconds=f"{DAY // 2}x90",
        ),
    ),
    ("a service that nobody calls", but(decisions_total="0x90")),
    ("report only that is over, and what it counted", but(would_refuse_total="0+1x90")),
    (
        "a desk that no one asks, whose list is old",
        but(
            desk_revocations_published_timestamp_seconds="0x90",
            desk_audit_sequence="100x90",
            desk_answers_total="0x90",
        ),
    ),
    (
        "a desk that starts again, and says 0 until it has read its log",
        but(desk_audit_sequence="100+7x40 0x2 400+7x46"),
    ),
    ("a restart of the operator", but(operator_terms_total="1x10 2x79")),
]


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return find_promtool()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        skip_or_fail("alert tests", problem, required_by="WATCHWORD_REQUIRE_CLUSTER")


def rules_of(objects: Objects) -> dict[str, Any]:
    [found] = [each["spec"] for each in objects if each["kind"] == "PrometheusRule"]
    return dict(found)


@pytest.fixture(scope="module")
def rules(helm: Helm) -> dict[str, Any]:
    """What the chart gives the Prometheus operator."""
    return rules_of(helm.template({"metrics": {"rules": True}, "desk": {"enabled": True}}))


@pytest.fixture(scope="module")
def alerts(rules: dict[str, Any]) -> dict[str, Any]:
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


def test_promtool_takes_the_rules(promtool: Path, rules: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    done = subprocess.run(
        [str(promtool), "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def firing(
    promtool: Path, rules: dict[str, Any], series: Series, folder: Path, minutes: tuple[int, ...] = (80,)
) -> set[str]:
    """Which alerts fire then, by promtool's own word: each is expected not to, and it says which did."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []}
                    for minute in minutes
                    for name in names
                ],
            }
        ],
    }
    (folder / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [str(promtool), "test", "rules", "tests.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    found = set(re.findall(r"alertname: (\w+), time: \S+,?\s+exp:\[", said))
    assert (done.returncode == 0) == (not found), said
    return found


@pytest.mark.parametrize("case", HEARD, ids=[f"{each[0]}: {each[1]}" for each in HEARD])
def test_what_is_not_well_is_heard(
    promtool: Path, rules: dict[str, Any], case: tuple[str, str, Series], tmp_path: Path
) -> None:
    alert, _, series = case
    assert alert in firing(promtool, rules, series, tmp_path)


@pytest.mark.parametrize("case", SILENT, ids=[each[0] for each in SILENT])
def test_what_is_well_is_silent(
    promtool: Path, rules: dict[str, Any], case: tuple[str, Series], tmp_path: Path
) -> None:
    assert firing(promtool, rules, case[1], tmp_path, (0, 20, 80)) == set()


def test_every_alert_has_a_case_in_which_it_is_heard(alerts: dict[str, Any]) -> None:
    assert {each[0] for each in HEARD} == set(alerts)


def test_one_cause_that_is_gone_is_one_alert(promtool: Path, rules: dict[str, Any], tmp_path: Path) -> None:
    series = but(bundle_absent_seconds="0+60x90", bundle_generation="0x90", bundle_in_use=None)
    assert firing(promtool, rules, series, tmp_path) == {"WatchwordBundleGone"}


def test_each_alert_leads_to_its_entry_and_says_what_it_is(alerts: dict[str, Any]) -> None:
    entries = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(entries) == sorted(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/answer-an-alert/#{name.lower()}")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_url_of_the_runbook_is_yours_to_say_or_to_leave_out(helm: Helm) -> None:
    mine = rules_of(helm.template({"metrics": {"rules": True, "runbookURL": "https://wiki.example/ww"}}))
    assert '"runbook_url": "https://wiki.example/ww#watchwordnoleader"' in json.dumps(mine)
    none = rules_of(helm.template({"metrics": {"rules": True, "runbookURL": ""}}))
    assert "runbook" not in json.dumps(none).lower()
    assert len(none["groups"][0]["rules"]) == len(mine["groups"][0]["rules"])


def test_without_the_webhook_no_alert_waits_for_it(helm: Helm) -> None:
    found = json.dumps(rules_of(helm.template({"metrics": {"rules": True}, "webhook": {"enabled": False}})))
    assert "WatchwordNoLeader" in found
    assert "watchword_webhook_" not in found


def test_without_a_desk_no_alert_waits_for_it_and_with_one_it_is_scraped(helm: Helm) -> None:
    without = helm.template({"metrics": {"rules": True, "podMonitor": True}})
    assert "watchword_desk_" not in json.dumps(rules_of(without))
    assert not [each for each in without if each["metadata"]["name"] == "watchword-desk"]

    values = {"metrics": {"podMonitor": True}, "desk": {"enabled": True, "namespace": "desks"}}
    objects = helm.template(values)
    [monitor] = [
        each["spec"]
        for each in objects
        if (each["kind"], each["metadata"]["name"]) == ("PodMonitor", "watchword-desk")
    ]
    [desk] = [
        each["spec"]["template"]
        for each in objects
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", "watchword-desk")
    ]
    assert monitor["namespaceSelector"] == {"matchNames": ["desks"]}
    assert monitor["selector"]["matchLabels"].items() <= desk["metadata"]["labels"].items()
    ports = {each["name"] for container in desk["spec"]["containers"] for each in container["ports"]}
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} <= ports
