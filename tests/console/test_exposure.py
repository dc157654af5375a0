# SPDX-License-Identifier: Apache-2.0
"""What lets callers in besides the table, and what is not known: no page says "no one" of either."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from testing.tokens import token
from tests.console.answers import Answers
from tests.console.manifests import objects, service, workload, write_manifests
from tests.console.running import console_of
from tests.console.test_callers import ATLAS, compiled, live, one
from tests.console.test_pages import row, shown
from watchword.console.folder_source import FolderSource
from watchword.trust import Bundle, seal
from watchword.trust.timestamps import rfc3339

PAGE = "/services/tuist/api"
PUBLIC = [{"path": "/open", "methods": ["GET"], "public": True}]


def seen(document: dict[str, Any], *conditions: dict[str, Any]) -> dict[str, Any]:
    """An object as a cluster has it, Ready and with other conditions."""
    ready = {"type": "Ready", "status": "True", "reason": "Published", "message": ""}
    return {
        **document,
        "metadata": {**document["metadata"], "uid": document["metadata"]["name"], "generation": 1},
        "status": {"observedGeneration": 1, "conditions": [ready, *conditions]},
    }


def reporting(bundle: Bundle, seconds: float) -> Bundle:
    return seal(msgspec.structs.replace(bundle, report_only_until=time.time() + seconds), 2)


def page_of(source: Answers, path: str = PAGE) -> str:
    with console_of(source) as console:
        return shown(console.page(path))


API = service("tuist", "api")


def test_a_service_that_only_reports_says_that_everyone_is_let_in() -> None:
    source = Answers([seen(API), seen(ATLAS)], {"tuist/api": reporting(compiled(ATLAS), 3600)})
    text = page_of(source)
    assert "Only reports" in text
    assert "every caller" in text
    assert text.index("Only reports") < text.index("1 workload may call")


@pytest.mark.parametrize("seconds", [-1.0, 60 * 24 * 3600.0])
def test_a_report_only_that_gates_take_for_over_is_not_said_to_be_on(seconds: float) -> None:
    source = Answers([seen(API)], {"tuist/api": reporting(compiled(), seconds)})
    assert "Only reports" not in page_of(source)


def test_lists_and_overview_name_services_that_let_more_in() -> None:
    on = {"type": "ReportOnly", "status": "True", "reason": "Reporting", "message": "Gates only report."}
    bare = {"type": "Gated", "status": "False", "reason": "PodsWithoutGate", "message": "pods x, y."}
    source = Answers([seen(API, on, bare)])
    with console_of(source) as console:
        for path in ("/", "/services", PAGE):
            text = shown(console.page(path))
            assert "Only reports" in text, path
            assert "Pods without a gate" in text, path


def test_refusals_of_a_service_that_only_reports_say_that_they_are_few_for_that_reason() -> None:
    source = Answers([seen(API)], {"tuist/api": reporting(compiled(), 3600)})
    assert "Only reports" in page_of(source, "/refusals?service=tuist/api")


def test_the_time_for_reporting_is_told_of_a_folder_too(tmp_path: Path) -> None:
    until = rfc3339(time.time() + 3600)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tuist"}}
    allowed = {**namespace, "metadata": {"name": "tuist", "labels": {"watchword.dev/report-only": "allowed"}}}
    for place, expected in ((allowed, True), (namespace, False)):
        write_manifests(tmp_path, [service("tuist", "api", reportOnlyUntil=until), place])
        with console_of(FolderSource(str(tmp_path))) as console:
            text = shown(console.page(PAGE))
            assert ("Only reports" in text) == expected
            assert ("has to be allowed" in text) != expected


def test_a_token_that_is_refused_by_a_gate_that_only_reports_passes_all_the_same() -> None:
    issuer = next(each for each in objects() if each["metadata"]["name"] == "atlas-production")
    bundle = reporting(compiled(ATLAS), 3600)
    with console_of(Answers([seen(API), seen(ATLAS), seen(issuer)], {"tuist/api": bundle})) as console:
        answer = console.post("/token", {"service": "tuist/api", "token": "none"})
        assert "only report" in shown(answer.text)
        assert "passes to the app" in shown(answer.text)


def test_what_is_refused_at_any_time_is_not_said_to_pass() -> None:
    suspended = {**ATLAS, "spec": {**ATLAS["spec"], "suspend": True}}
    bundle = reporting(compiled(suspended), 3600)
    now = int(time.time())
    audience = bundle.audiences[0]
    given = token(iat=now - 60, nbf=now - 60, exp=now + 600, aud=[audience]).decode()
    with console_of(Answers([seen(API), seen(suspended)], {"tuist/api": bundle})) as console:
        text = shown(console.post("/token", {"service": "tuist/api", "token": given}).text)
        assert "Refused: suspended" in text
        assert "passes to the app" not in text


def test_public_routes_are_told_where_no_workload_is_trusted() -> None:
    source = Answers([seen(service("tuist", "api", routes=PUBLIC))], {"tuist/api": compiled(routes=PUBLIC)})
    text = page_of(source)
    assert "No one may call it yet" not in text
    assert "1 public route" in text


def test_without_the_bundle_and_without_workloads_no_one_is_not_said() -> None:
    for forbidden in (("trustedworkloads", "watchword-bundle-api"), ("watchword-bundle-api",), ()):
        text = page_of(Answers([seen(API)], forbidden=forbidden))
        assert "No one may call it yet" not in text, forbidden
        assert "not known" in text
    assert "No one may call it yet" in page_of(Answers([seen(API)], {"tuist/api": compiled()}))


@pytest.mark.parametrize(
    ("plural", "path", "wrong"),
    [
        ("protectedservices", "/services", "No service is protected yet"),
        ("protectedservices", "/refusals", "No service, no refusals"),
        ("trustedworkloads", "/workloads", "No workload is trusted yet"),
        ("clustertrustedissuers", "/issuers", "No cluster is trusted yet"),
        ("clustertrustedissuers", "/", "None. A key waits here"),
        ("tokendesks", "/desks", "No token desk"),
        ("deskclients", "/desks", "None. Workloads need no DeskClient"),
        ("agentproviders", "/desks", "None. Agents that register themselves"),
    ],
)
def test_what_may_not_be_listed_is_not_said_to_be_none(plural: str, path: str, wrong: str) -> None:
    text = page_of(Answers([], forbidden=(plural,)), path)
    assert wrong not in text
    assert "not known" in text
    assert wrong in page_of(Answers([]), path)


def test_a_number_and_a_list_that_may_be_larger_are_not_said_to_be_whole() -> None:
    desk = next(each for each in objects() if each["kind"] == "TokenDesk")
    with console_of(Answers([seen(API), seen(desk)], forbidden=("trustedworkloads",))) as console:
        assert row(console.page("/services"), "tuist/api").startswith("tuist/api Ready not known")
    with console_of(Answers([seen(desk)], forbidden=("protectedservices",))) as console:
        assert "accepted nowhere" not in shown(console.page("/desks"))
    with console_of(Answers([seen(desk)])) as console:
        assert "accepted nowhere" in shown(console.page("/desks"))


def test_routes_are_those_of_the_bundle_and_a_difference_is_told() -> None:
    source = Answers([seen(API)], {"tuist/api": compiled(routes=PUBLIC)})
    text = page_of(source)
    assert "/open" in text
    assert "The ProtectedService says otherwise" in text


def test_a_bundle_of_another_service_is_none_of_this_one() -> None:
    text = page_of(
        Answers([seen(service("tuist", "other"))], {"tuist/other": compiled(ATLAS)}), "/services/tuist/other"
    )
    assert "May call" not in text
    assert "is for tuist/api" in text


def test_a_bundle_that_is_no_base64_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Answers([seen(API)], {"tuist/api": compiled()})
    real = source.get
    monkeypatch.setattr(
        source,
        "get",
        lambda path: (
            b'{"metadata":{"namespace":"tuist","name":"x"},"binaryData":{"bundle.json":"%"}}'
            if "/configmaps/" in path
            else real(path)
        ),
    )
    assert "not known" in page_of(source)


@pytest.mark.parametrize(
    "change",
    [
        {"serviceAccount": {"namespace": "elsewhere", "name": "atlas"}},
        {"issuerRef": {"name": "another"}},
        {"expires": "2020-01-01T00:00:00Z"},
    ],
)
def test_an_edit_of_whom_it_names_is_told_too(change: dict[str, Any]) -> None:
    edited = {**ATLAS, "spec": {**ATLAS["spec"], **change}}
    state = one(bundle=compiled(ATLAS), items=[live(edited)]).state
    assert "says otherwise" in state.detail
    assert one(bundle=compiled(ATLAS), items=[live(ATLAS)]).state.detail == ""


def test_a_filter_for_what_is_well_leaves_out_what_is_off() -> None:
    off = workload("tuist", "off", "api", suspend=True)
    source = Answers([seen(API), seen(off), seen(ATLAS)])
    assert "tuist/off" not in page_of(source, "/workloads?state=ready")
    assert "tuist/off" in page_of(source, "/workloads?state=not-ready")
    with console_of(source) as console:
        for path in ("/workloads", "/services", "/issuers"):
            assert console.get(f"{path}?state=unwell").status == 400


def test_the_end_of_a_trust_counts_in_the_bundle() -> None:
    ended = {**ATLAS, "spec": {**ATLAS["spec"], "expires": "2020-01-01T00:00:00Z"}}
    assert one(bundle=compiled(ended), items=[live(ended)]).state.word == "Expired"
