# SPDX-License-Identifier: Apache-2.0
"""`watchword dev --desk-listen`: a gate and its desk in one process, tried as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.controlplane.process import reserved_ports
from testing.running_desk import (
    CLIENT_ASSERTION,
    DESK_AUDIENCE,
    ISSUER,
    TARGET,
    Object,
    client_object,
    desk_object,
    exchange_form,
    namespace_object,
    service_object,
    workload_object,
)
from watchword.client import ExchangedToken


class Given:
    """A token source with one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        return self._token


class Dev:
    """The running process."""

    def __init__(self, folder: Path, ports: Iterable[int]) -> None:
        self.folder = folder
        self.gate, self.ops, self.issuer, self.desk = (f"http://127.0.0.1:{port}" for port in ports)

    def cluster_token(self, namespace: str, account: str, audience: str) -> str:
        asked = {"namespace": namespace, "serviceAccount": account, "audience": audience}
        answer = httpx.post(f"{self.issuer}/token", json=asked, trust_env=False)
        token: str = answer.json()["token"]
        return token

    def exchange(self, **changes: str) -> httpx.Response:
        form = exchange_form(self.cluster_token("atlas-production", "atlas", DESK_AUDIENCE), **changes)
        return httpx.post(f"{self.desk}/oauth2/token", data=form, trust_env=False)

    def ask(self, token: str, path: str) -> httpx.Response:
        """What the gate says about a request of this token, asked as a proxy asks."""
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-Method": "GET", "X-Forwarded-Uri": path}
        return httpx.get(f"{self.gate}/authz/traefik", headers=headers, trust_env=False)


def objects() -> list[Object]:
    """One service, one workload, one desk, one resource server, all of the development issuer."""
    by = {"serviceAccount": {"issuerRef": {"name": "development"}, "namespace": "caches", "name": "cache"}}
    return [
        namespace_object(),
        service_object(),
        workload_object(issuerRef={"name": "development"}),
        desk_object(),
        client_object(authentication=by),
    ]


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Dev]:
    log = folder.parent / "log"
    with reserved_ports(4) as ports:
        dev = Dev(folder, ports)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "watchword.cli.main", "dev", str(folder)),
                    *("--listen", dev.gate[7:], "--ops-listen", dev.ops[7:]),
                    *("--issuer-listen", dev.issuer[7:], "--desk-listen", dev.desk[7:], *flags),
                ],
                stdout=file,
                stderr=file,
            )
        try:
            _until(lambda: httpx.get(f"{dev.ops}/readyz", trust_env=False).status_code == 200, log)
            yield dev
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = _written(tmp_path_factory.mktemp("dev") / "manifests", objects())
    with running(folder) as found:
        yield found


def test_a_token_for_one_project_opens_that_project_and_no_other(dev: Dev) -> None:
    token = dev.exchange().json()["access_token"]
    assert dev.ask(token, "/acme/ios/cache").status_code == 200
    refused = dev.ask(token, "/acme/android/cache")
    assert (refused.status_code, refused.json()["reason"]) == (403, "not_in_token")
    # The workload itself may do both.
    own = dev.cluster_token("atlas-production", "atlas", "watchword.dev/services/dev/tuist/tuist-server")
    assert dev.ask(own, "/acme/android/cache").status_code == 200


def test_a_token_for_a_purpose_opens_routes_of_that_purpose_only(dev: Dev) -> None:
    token = dev.exchange(purpose="warm").json()["access_token"]
    assert dev.ask(token, "/acme/ios/warm").status_code == 200
    assert dev.ask(token, "/acme/ios/cache").json()["reason"] == "wrong_purpose"
    plain = dev.exchange().json()["access_token"]
    assert dev.ask(plain, "/acme/ios/warm").json()["reason"] == "wrong_purpose"


def test_a_revoked_token_is_refused_by_the_gate_soon_after(dev: Dev) -> None:
    token = dev.exchange().json()["access_token"]
    other = dev.exchange().json()["access_token"]
    assert dev.ask(token, "/acme/ios/cache").status_code == 200
    assert httpx.post(f"{dev.desk}/oauth2/revoke", data={"token": token}, trust_env=False).status_code == 200
    _until(lambda: dev.ask(token, "/acme/ios/cache").status_code == 401)
    assert dev.ask(token, "/acme/ios/cache").json()["reason"] == "revoked"
    assert dev.ask(other, "/acme/ios/cache").status_code == 200


def test_a_resource_server_asks_with_its_own_projected_token(dev: Dev) -> None:
    token = dev.exchange().json()["access_token"]
    form = {
        "token": token,
        "client_assertion": dev.cluster_token("caches", "cache", ISSUER),
        "client_assertion_type": CLIENT_ASSERTION,
    }
    answer = httpx.post(f"{dev.desk}/oauth2/introspect", data=form, trust_env=False)
    assert answer.json()["active"] is True


def test_the_sdk_gets_its_token_there(dev: Dev) -> None:
    subject = Given(dev.cluster_token("atlas-production", "atlas", DESK_AUDIENCE))
    source = ExchangedToken(
        dev.desk, TARGET, None, "ios", account="acme", scope="cache:read", subject=subject
    )
    assert dev.ask(source.token(), "/acme/ios/cache").status_code == 200


def test_the_command_gets_its_token_there_and_says_no_with_the_desks_words(dev: Dev) -> None:
    subject = dev.cluster_token("atlas-production", "atlas", DESK_AUDIENCE)
    command = [
        *(sys.executable, "-m", "watchword.cli.main", "token", "exchange", "--desk", dev.desk),
        *("--audience", TARGET, "--scope", "cache:read", "--account", "acme"),
        *("--subject-token-file", "-", "--no-keyring"),
    ]
    good = subprocess.run(
        [*command, "--project", "ios", "-o", "json"],
        input=subject,
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(good.stdout)
    assert dev.ask(said["token"], "/acme/ios/cache").status_code == 200
    assert said["audience"].endswith(TARGET)
    bad = subprocess.run(
        [*command, "--project", "web"], input=subject, capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert "grant_not_covered" in bad.stderr
    assert subject not in bad.stderr + good.stderr
    empty = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert empty.returncode == 2


def test_an_edit_of_the_folder_reaches_the_desk(tmp_path: Path) -> None:
    folder = _written(tmp_path / "manifests", objects())
    with running(folder) as dev:
        assert dev.exchange().status_code == 200
        _written(folder, [workload_object(issuerRef={"name": "development"}, suspend=True)])
        _until(lambda: dev.exchange().json().get("reason") == "suspended")


def test_one_address_has_a_rate_and_is_told_when_to_come_back(tmp_path: Path) -> None:
    folder = _written(tmp_path / "manifests", objects())
    with running(folder, "--desk-rate", "2") as dev:
        answers = [httpx.get(f"{dev.desk}/.well-known/jwks.json", trust_env=False) for _ in range(30)]
        refused = next(each for each in answers if each.status_code == 429)
        assert refused.json()["reason"] == "rate_limited"
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_without_exactly_one_desk_is_refused(tmp_path: Path, count: int) -> None:
    desks = [desk_object(f"desk-{each}", issuer=f"https://{each}.example.com") for each in range(count)]
    kept = [each for each in objects() if each["kind"] != "TokenDesk"]
    folder = _written(tmp_path / "manifests", [*kept, *desks])
    done = subprocess.run(
        [sys.executable, "-m", "watchword.cli.main", "dev", str(folder), "--desk-listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--desk-listen" in done.stderr


def _written(folder: Path, documents: list[Object]) -> Path:
    folder.mkdir(exist_ok=True)
    for each in documents:
        path = folder / f"{each['kind']}-{each['metadata']['name']}.yaml".lower()
        new = path.with_suffix(".new")
        new.write_text(json.dumps(each))
        new.rename(path)
    return folder


def _until(is_so: Callable[[], Any], log: Path | None = None) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if is_so():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-3000:] if log else ""
        time.sleep(0.05)
