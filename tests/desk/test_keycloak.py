# SPDX-License-Identifier: Apache-2.0
"""People sign in at a real Keycloak, by its own login form: for an agent, and to administer a desk."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from testing.agents import agent_desk, code_in, hidden
from testing.controlplane.process import reserved_ports
from testing.environment import child_environment
from testing.keycloak import Keycloak, KeycloakUnavailableError, running_keycloak
from testing.keycloak_browser import sign_in
from testing.unavailable import skip_or_fail
from tests.desk.test_dev import running
from tests.e2e.reader import ROOT, blocks_of
from watchword.desk.agents.sign_in import COOKIE

PASSWORD = "correct horse battery staple"
# Ready in half the time; what it does afterwards is little.
QUICK = "-XX:TieredStopAtLevel=1"
PRINTED = "http://127.0.0.1:8080/realms/staff"


def person(name: str, *, verified: bool = True) -> dict[str, Any]:
    return {
        "username": name,
        "firstName": name.title(),
        "lastName": "Example",
        "email": f"{name}@example.com",
        "emailVerified": verified,
        "enabled": True,
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
    }


def client(name: str, redirect: str) -> dict[str, Any]:
    """A public client with PKCE, as the pages say to make it."""
    return {
        "clientId": name,
        "publicClient": True,
        "standardFlowEnabled": True,
        "redirectUris": [redirect],
        "attributes": {"pkce.code.challenge.method": "S256"},
    }


REALM: dict[str, Any] = {
    "realm": "staff",
    "enabled": True,
    "sslRequired": "none",
    "clients": [
        client("watchword-cli", "http://127.0.0.1/callback"),
        client("watchword-desk", "https://desk.example.com/claim/callback"),
    ],
    "users": [person("carol"), person("dave"), person("erin", verified=False)],
}


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with reserved_ports(1) as [port]:
        pass
    folder = tmp_path_factory.mktemp("keycloak")
    try:
        with running_keycloak(folder, port, REALM, java_options=QUICK) as found:
            yield found
    except KeycloakUnavailableError as problem:
        skip_or_fail("tests with Keycloak", problem, required_by="WATCHWORD_REQUIRE_JDK")


def test_a_person_claims_an_agent_by_keycloaks_own_form(keycloak: Keycloak) -> None:
    domain = {
        "domain": "example.com",
        "issuer": keycloak.url,
        "clientId": "watchword-desk",
        "accounts": ["umbrella"],
    }
    with agent_desk() as desk:
        desk.change(domains=[domain], people=None, mail=None)
        made = desk.service_auth("carol@example.com")
        shown = desk.http.get(desk.path_of(made["claim"]["attempt"]["verification_uri"]))
        assert shown.status_code == 200, shown.text
        led = desk.http.post("/claim/sign-in", data=hidden(shown.text))
        assert led.status_code == 303, led.text
        cookie = f"{COOKIE}={SimpleCookie(led.headers['set-cookie'])[COOKIE].value}"
        back = sign_in(led.headers["location"], "carol", PASSWORD)
        assert back.startswith("https://desk.example.com/claim/callback?")
        asks = desk.http.get(f"/claim/callback?{urlsplit(back).query}", headers={"cookie": cookie})
        assert asks.status_code == 200, asks.text
        code = code_in(desk.decide(hidden(asks.text)["secret"]).text)
        done = desk.good(desk.complete(made, code))
        assert desk.token(done["identity"]["assertion"], account="umbrella").status_code == 200
        # Another person of the realm confirms nothing for her.
        made = desk.service_auth("carol@example.com")
        shown = desk.http.get(desk.path_of(made["claim"]["attempt"]["verification_uri"]))
        led = desk.http.post("/claim/sign-in", data=hidden(shown.text))
        cookie = f"{COOKIE}={SimpleCookie(led.headers['set-cookie'])[COOKIE].value}"
        back = sign_in(led.headers["location"], "dave", PASSWORD)
        refused = desk.http.get(f"/claim/callback?{urlsplit(back).query}", headers={"cookie": cookie})
        assert refused.status_code == 403


def test_a_person_administers_a_desk_as_the_page_says(keycloak: Keycloak, tmp_path: Path) -> None:
    blocks = blocks_of((ROOT / "docs/how-to/administer-a-desk.md").read_text())
    make, carol, look = blocks[0].partition("watchword dev try ")[0], blocks[3], blocks[4]
    assert PRINTED in carol
    assert "watchword desk sign-in" in look
    shutil.copytree(ROOT / "manifests/tenant-cache", tmp_path / "manifests/tenant-cache")

    def run(block: str, user: str = "carol") -> subprocess.CompletedProcess[str]:
        program = f'watchword() {{ {shlex.quote(sys.executable)} -m watchword.cli.main "$@"; }}'
        browser = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'testing/keycloak_browser.py'))} %s"
        return subprocess.run(
            ["bash", "-c", "\n".join(["set -eu", program, block])],
            env=child_environment(
                NO_PROXY="*",
                HOME=str(tmp_path),
                BROWSER=browser,
                KEYCLOAK_USER=user,
                KEYCLOAK_PASSWORD=PASSWORD,
            ),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=80,
        )

    done = run(f"{make}\n{carol.replace(PRINTED, keycloak.url)}")
    assert done.returncode == 0, done.stderr
    with (
        reserved_ports(1) as [port],
        running(tmp_path / "try", "--desk-admin-listen", f"127.0.0.1:{port}"),
    ):
        url = f"http://127.0.0.1:{port}"
        done = run(look.replace("http://127.0.0.1:8445", url))
        assert done.returncode == 0, done.stderr
        assert "Signed in as client:carol until " in done.stderr
        assert "client:carol" in done.stdout
        assert "It is revoked at the desk." in done.stderr
        assert not list((tmp_path / ".local/state/watchword/desk").iterdir())
        command = f"watchword desk sign-in --admin-url {url}"
        # Dave is a person of the realm, and no admin; Erin's address is not verified.
        for user, reason in (("dave", "not_an_admin_person"), ("erin", "sign_in_refused")):
            done = run(command, user)
            assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
        # Keycloak holds the client to its redirect URI, and says who it is (RFC 9207).
        assert httpx.get(f"{keycloak.url}/.well-known/openid-configuration", trust_env=False).json()[
            "authorization_response_iss_parameter_supported"
        ]
        begun = json.loads(httpx.get(f"{url}/admin/v1/sign-in", trust_env=False).text)
        assert begun["providers"] == [{"issuer": keycloak.url, "client_id": "watchword-cli"}]
    query = {
        "response_type": "code",
        "client_id": "watchword-cli",
        "scope": "openid email",
        "state": "s",
        "nonce": "n",
    }
    strict = query | {"redirect_uri": "http://127.0.0.1:5/callback"}
    answer = httpx.get(f"{keycloak.url}/protocol/openid-connect/auth", params=strict, trust_env=False)
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == ["invalid_request"]
    elsewhere = query | {"redirect_uri": "http://127.0.0.1.evil.example/callback"}
    answer = httpx.get(f"{keycloak.url}/protocol/openid-connect/auth", params=elsewhere, trust_env=False)
    assert answer.status_code == 400
