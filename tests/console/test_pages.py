# SPDX-License-Identifier: Apache-2.0
"""What the pages say of a folder of manifests, and that nothing in it can say more than text."""

from __future__ import annotations

import html
import http.client
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import wait_until
from testing.tokens import token
from tests.console.manifests import SERVICE, objects, service, workload, write_manifests, written
from tests.console.running import Console, active_elements, console_of
from watchword.console.filters import PAGE_ROWS
from watchword.console.folder_source import FolderSource
from watchword.console.snapshots import MAX_LISTENERS


def shown(page: str) -> str:
    """The text of a page, with its white space folded."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def row(page: str, name: str) -> str:
    """The text of the table's row that begins with a name."""
    rows = [shown(each) for each in re.findall(r"<tr role=\"row\">(.*?)</tr>", page, re.DOTALL)]
    found = [each for each in rows if each.startswith(name)]
    assert len(found) == 1, rows
    return found[0]


def test_the_overview_counts_and_names_what_is_not_well(console: Console) -> None:
    text = shown(console.page("/"))
    assert "3 services" in text
    assert "5 workloads" in text
    assert "TrustedWorkload shop/lost" in text
    assert "no-such-service" in text


def test_services_are_listed_and_filtered_and_a_filter_is_a_link(console: Console) -> None:
    text = shown(console.page("/services"))
    assert all(name in text for name in ("tuist/tuist-server", "tuist/billing", "shop/orders"))
    only = shown(console.page("/services?namespace=shop"))
    assert "1 service of 3" in only
    assert "tuist/billing" not in only
    assert "No service fits the filter" in shown(console.page("/services?q=zzz"))


def test_a_service_says_who_may_call_it_with_what_and_why_others_may_not(console: Console) -> None:
    page = console.page(f"/services/{SERVICE}")
    atlas = row(page, "atlas")
    assert "May call" in atlas
    assert "account:usage:read account:projects:read" in atlas or "account:projects:read" in atlas
    assert "accounts acme, globex" in atlas
    assert "project ios" in atlas
    assert "ServiceAccount atlas-production/atlas of atlas-production" in atlas
    assert "Suspended" in row(page, "reports")
    assert "Expired" in row(page, "nightly")
    assert "No grants" in row(page, "watcher")
    assert "1 workload may call" in shown(page)
    assert "Public" in row(page, "/healthz")
    assert "account:projects:read" in row(page, "/api/accounts/{account}/projects GET")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("scope=project:cache:write", ["atlas"]),
        ("account=anything", ["reports"]),
        ("account=acme&scope=account:usage:read", ["atlas", "nightly", "reports"]),
        ("q=WATCH", ["watcher"]),
        ("state=Expired", ["nightly"]),
        ("issuer=this-cluster", []),
    ],
)
def test_callers_are_filtered(console: Console, query: str, names: list[str]) -> None:
    page = console.page(f"/services/{SERVICE}?{query}")
    found = re.findall(r'data-label="Workload"><a href="/workloads/tuist/([a-z]+)"', page)
    assert found == names


def test_a_workload_and_an_issuer_have_pages_that_lead_to_each_other(console: Console) -> None:
    page = console.page("/workloads/tuist/atlas")
    assert 'href="/services/tuist/tuist-server"' in page
    assert 'href="/issuers/atlas-production"' in page
    assert "cache-read" in page
    issuer = console.page("/issuers/atlas-production")
    assert 'href="/workloads/tuist/atlas"' in issuer
    assert "Written" in issuer
    assert "4 workloads" in shown(issuer) or "5 workloads" in shown(issuer)


def test_issuers_whose_keys_only_a_cluster_reads_say_so(console: Console) -> None:
    text = shown(console.page("/issuers/this-cluster"))
    assert "Only a cluster can read them" in text
    assert "--jwks this-cluster=FILE" in text
    assert "The keys of this-cluster" in shown(console.page("/issuers"))


def test_desks_and_clients(console: Console) -> None:
    text = shown(console.page("/desks"))
    assert "watchword-system/desk" in text
    assert "tuist/tuist-server" in text
    assert "cache-node" in text
    assert "ask about tokens" in text
    assert "Example Helper, at desk" in text
    assert "https://agents.example.net" in text
    assert "example.com" in text


def test_refusals_of_a_folder_say_what_is_missing(console: Console) -> None:
    assert "Choose a service" in shown(console.page("/refusals"))
    assert "a folder of manifests has no gates" in shown(console.page(f"/refusals?service={SERVICE}"))


@pytest.mark.parametrize(
    "target",
    [
        "/services/tuist/nothing",
        "/services/../../etc/passwd",
        "/services/..%2f..%2fetc/passwd",
        "/services/tuist/..",
        "/services/%2e%2e/%2e%2e",
        "/services/tuist/tuist-server/",
        "/services/tuist%00/x",
        "/static/..%2fapp.py",
        "/static/../app.py",
        "/issuers/A%20B",
        "/workloads/tuist/%E2%80%AE",
        "/templates/base.html",
    ],
)
def test_paths_that_are_no_page_are_404(console: Console, target: str) -> None:
    answer = console.get(target)
    assert answer.status == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/services?nmaespace=tuist", "'nmaespace' is not a parameter of this page"),
        ("/services?q=a&q=b", "given twice"),
        ("/services?q=" + "a" * 201, "at most 200"),
        ("/services?q=" + "a" * 5000, "at most 4096"),
        ("/services?q=%ff", "percent-encoded UTF-8"),
        ("/services?page=0", "no page '0'"),
        ("/services?page=2", "no page '2'"),
        ("/services?page=-1", "no page '-1'"),
        ("/services?page=%D9%A1", "There are 1 to 1"),
        ("/workloads/tuist/atlas?x=<script>alert(1)</script>", "is not a parameter"),
    ],
)
def test_a_query_that_asks_for_something_else_is_refused_by_name(
    console: Console, target: str, said: str
) -> None:
    answer = console.get(target)
    assert answer.status == 400
    assert said in shown(answer.text)
    assert "<script>alert" not in answer.text


def test_a_huge_head_is_refused_and_the_console_goes_on(console: Console) -> None:
    assert console.get("/services?q=" + "a" * 100_000).status in {400, 414, 431}
    assert console.get("/services").status == 200


HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'`{{7*7}}{% raw %}\u202egnp"


def hostile_objects() -> list[dict[str, Any]]:
    """Objects with HTML in every text that their rules let in, and objects that the rules refuse."""
    grant = {"scopes": ["account:usage:read"], "accounts": [HOSTILE[:40]]}
    found = [each for each in objects() if each["kind"] != "TrustedWorkload"]
    found += [
        workload(
            "tuist", "fine", "tuist-server", grants=[{"scopes": ["account:usage:read"], "accounts": ["acme"]}]
        ),
        workload("tuist", "account", "tuist-server", grants=[grant]),
        workload("tuist", HOSTILE[:60], "tuist-server"),
        workload(HOSTILE[:60], "in-a-namespace", "tuist-server"),
        workload("tuist", "of-a-service", HOSTILE),
        workload("tuist", "of-an-issuer", "tuist-server", issuerRef={"name": HOSTILE}),
        workload("tuist", "expires", "tuist-server", expires=HOSTILE[:60]),
        service("tuist", "audience", audiences=[HOSTILE[:200]]),
        service("tuist", "route", routes=[{"path": "/" + HOSTILE, "methods": ["GET"], "scope": "a:b"}]),
        service(HOSTILE, "namespace"),
        written(
            "ClusterTrustedIssuer", "", HOSTILE, {"issuer": "https://x.example", "keys": {"cluster": {}}}
        ),
        written("TokenDesk", "watchword-system", HOSTILE, {"issuer": HOSTILE}),
        written("DeskClient", "watchword-system", HOSTILE, {"type": HOSTILE}),
        written("AgentProvider", "watchword-system", HOSTILE, {"displayName": HOSTILE}),
        {**service("tuist", "field"), HOSTILE: 1},
    ]
    for each in found:
        each["metadata"]["annotations"] = {"note": HOSTILE}
        each["metadata"].setdefault("labels", {})["x"] = "y"
    return found


def test_html_in_every_name_and_text_is_text(tmp_path: Path) -> None:
    write_manifests(tmp_path, hostile_objects(), "<b>all<b>.json")
    with console_of(FolderSource(str(tmp_path))) as console:
        pages = ["/", "/services", "/workloads", "/issuers", "/desks", "/refusals", "/token"]
        pages += ["/services/tuist/tuist-server", "/services/tuist/audience", "/workloads/tuist/account"]
        texts = {path: console.get(path) for path in pages}
    seen = "".join(each.text for each in texts.values())
    assert {each.status for each in texts.values()} <= {200, 404}
    assert "&lt;script&gt;" in seen
    for answer in texts.values():
        assert active_elements(answer.text) == []
        # Nothing is filled in a second time, and no character turns the text around.
        assert ">49<" not in answer.text.replace("{{7*7}}", ">")
        assert "\u202e" not in answer.text


def test_a_broken_folder_is_said_and_not_hidden(tmp_path: Path) -> None:
    write_manifests(tmp_path)
    (tmp_path / "broken.yaml").write_text("apiVersion: [")
    with console_of(FolderSource(str(tmp_path))) as console:
        text = shown(console.page("/services"))
        assert "Not shown" in text
        assert "broken.yaml" in text
        for each in tmp_path.iterdir():
            each.unlink()
        assert console.get("/services").status in {200, 502}


def test_an_empty_cluster_is_taught_what_comes_first(tmp_path: Path) -> None:
    write_manifests(tmp_path, [])
    with console_of(FolderSource(str(tmp_path))) as console:
        for path, lesson in (
            ("/services", "kind: ProtectedService"),
            ("/workloads", "kind: TrustedWorkload"),
            ("/issuers", "watchword pin"),
            ("/desks", "A TokenDesk is optional"),
            ("/refusals", "No service, no refusals"),
            ("/token", "No service to judge it by"),
        ):
            assert lesson in shown(console.page(path)), path


def test_the_folder_is_read_again_when_it_changes(tmp_path: Path) -> None:
    write_manifests(tmp_path, objects()[:3])
    with console_of(FolderSource(str(tmp_path))) as console:
        assert "shop/orders" not in console.page("/services")
        write_manifests(tmp_path)
        wait_until(
            lambda: "shop/orders" in console.page("/services"),
            what="the new service is shown",
            timeout_seconds=120,
        )


def stream_of(console: Console, known: str) -> Generator[str, None, None]:
    """The lines of the stream of changes."""
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=120)
    headers = {"Host": console.authority, "Cookie": console.cookie}
    connection.request("GET", f"/events?known={known}", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    try:
        while line := answer.readline():
            yield line.decode().strip()
    finally:
        connection.close()


def test_an_open_page_is_told_of_a_change_and_of_nothing_else(tmp_path: Path) -> None:
    write_manifests(tmp_path, objects()[:3])
    with console_of(FolderSource(str(tmp_path))) as console:
        [known] = re.findall(r'data-known="([0-9a-f]+)"', console.page("/"))
        lines = stream_of(console, known)
        assert next(lines) == ": open"
        write_manifests(tmp_path)
        said = next(line for line in lines if line.startswith("data: "))
        lines.close()
        [now] = re.findall(r'data-known="([0-9a-f]+)"', console.page("/"))
        assert (said, now == known) == (f"data: {now}", False)


def test_only_so_many_pages_are_told_and_the_others_are_told_to_wait(console: Console) -> None:
    streams = [stream_of(console, "") for _ in range(MAX_LISTENERS)]
    try:
        for each in streams:
            assert next(line for line in each if line.startswith("data: "))
        late = [line for line in stream_of(console, "") if line]
        assert late == [": open", "retry: 60000"]
        assert console.get("/services").status == 200
    finally:
        for each in streams:
            each.close()


def test_ten_thousand_workloads_make_no_page_large(tmp_path: Path) -> None:
    many = [f"account-{number:04}" for number in range(60)]
    grants = [{"scopes": [f"a{number}:read" for number in range(8)], "accounts": many} for _ in range(4)]
    base = [each for each in objects() if each["kind"] != "TrustedWorkload"]
    write_manifests(tmp_path, base)
    for part in range(10):
        listed = [
            workload(
                "tuist",
                f"w-{part}-{number:04}",
                "tuist-server",
                grants=grants if number % 100 == 0 else grants[:1],
            )
            for number in range(1000)
        ]
        write_manifests(tmp_path, listed, f"part-{part}.json")
    with console_of(FolderSource(str(tmp_path))) as console:
        for path in (
            f"/services/{SERVICE}",
            "/workloads",
            f"/services/{SERVICE}?page=200",
            "/issuers/atlas-production",
        ):
            page = console.page(path)
            assert len(page.encode()) < 120_000, path
            assert page.count('<tr role="row">') <= 2 * PAGE_ROWS + 2
        assert "10,000 workloads" in shown(console.page("/workloads"))
        assert "w-9-0999" in console.page(f"/services/{SERVICE}?page=200")
        assert "w-7-0123" in console.page("/workloads?q=w-7-0123")


def judged(console: Console, **fields: str) -> str:
    answer = console.post("/token", {"service": SERVICE, **fields})
    assert answer.status == 200, answer.text
    return answer.text


def test_a_token_is_judged_check_by_check_and_never_shown(console: Console) -> None:
    now = int(time.time())
    given = token(iat=now - 60, nbf=now - 60, exp=now + 600).decode()
    page = judged(console, token=given + "\r\n", method="GET", path="/api/accounts/acme/projects")
    text = shown(page)
    assert "Accepted as tuist/atlas" in text
    assert "The request needs account:projects:read , which is granted" in text
    assert page.count('class="pass"') == 16
    assert not set(given.split(".")) & set(re.split(r"[^A-Za-z0-9_-]+", page))
    refused = shown(
        judged(console, token=given, method="PUT", path="/api/accounts/globex/projects/ios/cache")
    )
    assert "Refused: " in refused
    assert "(HTTP 403)" in refused
    late = shown(judged(console, token=token(iat=now - 900, nbf=now - 900, exp=now - 300).decode()))
    assert "Refused: expired (HTTP 401)" in late


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"service": "tuist/nothing", "token": "a"}, "no service"),
        ({"token": "a"}, "no service"),
        ({"service": SERVICE}, "it is empty"),
        ({"service": SERVICE, "token": "\r\n"}, "it is empty"),
        ({"service": SERVICE, "token": "a", "method": "GET"}, "belong together"),
        ({"service": SERVICE, "token": "a", "tokne": "secret-value"}, "a field is not known"),
        ({"service": SERVICE, "token": "a" * 70_000}, "too large"),
        ({"service": SERVICE, "token": "a" * 300_000}, "more than"),
    ],
)
def test_a_form_that_is_not_the_pages_own_is_refused(
    console: Console, fields: dict[str, str], said: str
) -> None:
    answer = console.post("/token", fields)
    assert answer.status in {400, 413}
    assert answer.status == 413 or said in shown(answer.text)
    assert "secret-value" not in answer.text


def test_a_token_is_taken_from_no_query(console: Console) -> None:
    assert console.get("/token?token=abc").status == 400


def test_html_in_a_token_is_text(console: Console) -> None:
    page = judged(console, token="<script>alert(1)</script>")
    assert "<script>alert" not in page
    assert "Refused" in page
