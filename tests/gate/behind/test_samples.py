# SPDX-License-Identifier: Apache-2.0
"""The sample apps of docs/how-to/read-the-identity-in-your-framework.md, as they are, behind a real gate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.behind.samples import FOLDER, SAMPLES, running_sample
from tests.gate.proxy.conftest import bearer

# The first time, what npm and Maven fetch is waited for.
pytestmark = pytest.mark.timeout(1200)
PAGE = FOLDER.parent / "read-the-identity-in-your-framework.md"
PATH = "/accounts/acme/projects/ios/builds"
ROUTES = [
    {"path": "/accounts/{account}/projects/{project}/builds", "methods": ["GET"], "scope": "builds:read"},
    # What no one should do: the app has to refuse then.
    {"path": "/accounts/open/projects/open/builds", "methods": ["GET"], "public": True},
    {"path": "/accounts/{any}/projects/unbound/builds", "methods": ["GET"], "scope": "builds:read"},
]
GRANTS = [
    {"scopes": ["builds:read"], "accounts": ["acme"], "projects": ["ios"]},
    {"scopes": ["builds:read"]},
]
TOKEN = bearer().partition(b": ")[2].decode()
SUBJECT = "system:serviceaccount:atlas-production:atlas"
CALLER = {"subject": SUBJECT, "issuer": "production", "account": "acme", "project": "ios"}
HEADERS = {f"X-Watchword-{name.title()}": value for name, value in CALLER.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """A gate, and the app behind it."""

    name: str
    gate: Gate
    port: int

    def ask(self, path: str = PATH, *, has_token: bool = True, **headers: str) -> httpx.Response:
        """A GET through the gate."""
        return _get(self.gate.url + path, headers | ({"Authorization": TOKEN} if has_token else {}))

    def ask_app(self, headers: Mapping[str, str], path: str = PATH) -> httpx.Response:
        """A GET past the gate, which only what runs in the same pod can do."""
        return _get(f"http://127.0.0.1:{self.port}{path}", headers)


def _get(url: str, headers: Mapping[str, str]) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.get(url, headers=headers)


@pytest.fixture(scope="module", params=SAMPLES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    # A route with a public twin comes first.
    objects = (issuer(), service(routes=[ROUTES[1], ROUTES[2], ROUTES[0]]), workload(grants=GRANTS))
    bundle = write_bundle(folder / "bundle.json", *objects)
    with (
        running_sample(request.param, folder) as port,
        running_gate(bundle, "--upstream", f"http://127.0.0.1:{port}") as gate,
    ):
        yield Place(request.param, gate, port)


def test_the_app_knows_who_calls_and_what_was_decided(place: Place) -> None:
    answer = place.ask()
    assert (answer.status_code, answer.json()) == (200, CALLER)


def test_neither_the_query_nor_a_caller_s_own_headers_say_anything(place: Place) -> None:
    forged = dict.fromkeys(HEADERS, "forged") | {"X_Watchword_Subject": "forged", "X-Account": "rival"}
    answer = place.ask(f"{PATH}?account=rival&project=rival&subject=forged", **forged)
    assert (answer.status_code, answer.json()) == (200, CALLER)


def test_what_the_gate_refuses_is_refused(place: Place) -> None:
    assert place.ask(has_token=False).status_code == 401
    assert place.ask("/accounts/rival/projects/ios/builds").status_code == 403
    assert place.ask(PATH.replace("ios", "i%6Fs")).json() == CALLER


def test_a_route_that_is_public_at_the_gate_has_no_caller_here(place: Place) -> None:
    open_path = "/accounts/open/projects/open/builds"
    assert place.ask(open_path, has_token=False).status_code == 401
    # A good token changes nothing: no one looked at it.
    assert place.ask(open_path).status_code == 401


def test_a_route_that_names_no_account_opens_none(place: Place) -> None:
    assert place.ask("/accounts/acme/projects/unbound/builds").status_code == 500


@pytest.mark.parametrize("missing", [*HEADERS, "all"])
def test_without_the_gate_no_one_is_served(place: Place, missing: str) -> None:
    assert place.ask_app(HEADERS).status_code == 200
    headers = {name: value for name, value in HEADERS.items() if missing not in {name, "all"}}
    answer = place.ask_app(headers)
    assert answer.status_code == 500
    assert SUBJECT not in answer.text
    assert "anonymous" not in answer.text.lower()


@pytest.mark.parametrize("empty", ["X-Watchword-Subject", "X-Watchword-Issuer"])
def test_half_an_identity_is_none(place: Place, empty: str) -> None:
    assert place.ask_app(HEADERS | {empty: ""}).status_code == 401


def test_it_is_bound_to_loopback_alone(place: Place) -> None:
    listening = "0A"
    found = {
        fields[1].rpartition(":")[0]
        for table in ("tcp", "tcp6")
        for fields in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == place.port
    }
    # 127.0.0.1, in IPv4 or written in IPv6.
    assert found <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert found


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("python", "fastapi_app.py"),
        ("python", "django_app.py"),
        ("js", "express_app.mjs"),
        ("go", "go_app.go"),
        ("java", "spring/src/main/java/dev/example/builds/BuildsApplication.java"),
    ],
)
def test_the_page_shows_the_samples_as_they_are(language: str, file: str) -> None:
    shown = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    source = (FOLDER / file).read_text()
    assert source.partition("\n")[2].lstrip("\n") in shown
    assert f"(identity/{file})" in PAGE.read_text()
