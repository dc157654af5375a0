# SPDX-License-Identifier: Apache-2.0
"""The published table says what is tried, no more and no less."""

import re
from pathlib import Path

from testing.attacks.table import ATTACKS, LATER, PAGE, SCENARIOS, counts, page
from tests.attacks import test_gate, test_issuers
from tests.attacks.desk import test_introspection
from tests.cli import test_inject
from tests.cluster import test_bundle_policies
from tests.cluster.desk import test_admin_clients
from tests.cluster.keys import test_conditions
from tests.cluster.live import test_absence
from tests.cluster.operator import (
    test_kept_objects,
    test_large_objects,
    test_other_namespaces,
    test_ownership,
    test_unpublished,
)
from tests.cluster.webhook import test_injection_policies, test_webhook
from tests.desk.admin import test_admin_tokens
from tests.floods import test_gate as floods_of_gates
from tests.floods import test_webhook as floods_of_webhooks
from tests.gate import test_audit, test_long_connections
from tests.gate.http2 import test_ends, test_floods, test_request_fields
from tests.gate.proxy import test_hosts, test_pipelines
from tests.gate.report_only import test_times
from tests.operator.keys import test_fetch
from tests.process import test_room, test_tls_handshake

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_cases_say() -> None:
    assert PAGE.read_text() == page(), "run python -m testing.attacks.table"


def test_there_are_over_1200_cases_and_none_of_an_unknown_class() -> None:
    assert counts().total() > 1200
    assert counts().keys() <= ATTACKS.keys()


def test_every_class_has_cases_or_a_scenario_or_says_why_not() -> None:
    without = {attack for attack in ATTACKS if not counts()[attack]}
    assert without <= SCENARIOS.keys() | LATER.keys()
    assert not LATER.keys() & counts().keys()


def test_every_scenario_is_a_test() -> None:
    modules = (
        test_gate,
        test_issuers,
        test_fetch,
        test_conditions,
        test_bundle_policies,
        test_absence,
        test_kept_objects,
        test_large_objects,
        test_other_namespaces,
        test_ownership,
        test_unpublished,
        test_injection_policies,
        test_webhook,
        test_long_connections,
        test_audit,
        test_inject,
        floods_of_gates,
        floods_of_webhooks,
        test_introspection,
        test_request_fields,
        test_floods,
        test_ends,
        test_times,
        test_hosts,
        test_pipelines,
        test_room,
        test_tls_handshake,
        test_admin_clients,
        test_admin_tokens,
    )
    tests = {name: value for module in modules for name, value in vars(module).items()}
    for attack, name in SCENARIOS.items():
        assert attack == "H10" or callable(tests.get(name)), name


def test_every_advisory_of_the_changelog_is_tried_by_a_class() -> None:
    security = (ROOT / "CHANGELOG.md").read_text().partition("### Security")[2].partition("\n### ")[0]
    advisories = {int(number) for number in re.findall(r"^(\d+)\. \*\*", security, re.MULTILINE)}
    named = {int(number) for _, seen in ATTACKS.values() for number in re.findall(r"advisory (\d+)", seen)}
    assert named == advisories == set(range(1, 23))
