# SPDX-License-Identifier: Apache-2.0
"""The real process: its ports, its end, its store that is new or was restored, and kill -9 at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from testing.desk_process import DeskProcess, desk_process
from testing.logs import log_lines
from testing.postgres_server import PostgresServer
from testing.running_desk import (
    CLIENT_ASSERTION,
    TARGET,
    account_token,
    default_objects,
    exchange_form,
)
from testing.tokens import claims_of
from tests.desk.roles import migrated
from watchword.desk.audit_chain import Head, check_chain
from watchword.desk.configuration import KeyRecord
from watchword.desk.minting import SigningKey
from watchword.desk.store import open_desk_store
from watchword.trust.desk_revocations import read_desk_document

ROUNDS = int(os.environ.get("WATCHWORD_DESK_KILL_ROUNDS", "3"))


def exchange(url: str) -> str:
    answer = httpx.post(f"{url}/oauth2/token", data=exchange_form(), trust_env=False)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def is_active(url: str, token: str) -> bool:
    data = {
        "token": token,
        "client_assertion": account_token("caches", "cache"),
        "client_assertion_type": CLIENT_ASSERTION,
    }
    answer = httpx.post(f"{url}/oauth2/introspect", data=data, trust_env=False)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def sqlite_dsn(folder: Path) -> str:
    return f"sqlite:///{folder / 'desk.db'}"


def test_a_desk_serves_three_things_and_stops_cleanly(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        url = desk.start()
        token = exchange(url)
        assert is_active(url, token)
        ready = httpx.get(f"{desk.ops_url}/readyz", trust_env=False)
        assert ready.status_code == 200
        assert ready.json()["services"] == [TARGET]
        assert httpx.get(f"{desk.ops_url}/healthz", trust_env=False).status_code == 200
        metrics = httpx.get(f"{desk.ops_url}/metrics", trust_env=False).text
        assert 'watchword_desk_tokens_issued_total{service="tuist/tuist-server"} 1.0' in metrics
        # Nothing of the public port on the ops port, and the other way round.
        assert (
            httpx.post(f"{desk.ops_url}/oauth2/token", data=exchange_form(), trust_env=False).status_code
            == 404
        )
        assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 404
        assert desk.stop() == 0
        assert token not in desk.log.read_text()
        heads = [each["head"] for each in log_lines(desk.log, "audit head")]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "watchword.cli.main", "audit", "verify"),
                *("--store", desk.store, "--head", heads[-1]),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"Head: {heads[-1]}" in done.stdout


def test_strangers_are_counted_and_written_once(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        url = desk.start()
        for _ in range(50):
            httpx.post(f"{url}/oauth2/token", data=exchange_form(subject_token="x"), trust_env=False)
        desk.stop()
        store = open_desk_store(desk.store)
        entries = store.entries_after(0, 1000)
        store.close()
    assert len(entries) == 1
    assert '"count":50' in entries[0].entry
    assert '"addresses":1' in entries[0].entry


def test_a_proven_refusal_is_written_by_itself_with_what_the_caller_is_not_told(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        url = desk.start()
        answer = httpx.post(f"{url}/oauth2/token", data=exchange_form(audience="tuist/none"), trust_env=False)
        desk.stop()
        store = open_desk_store(desk.store)
        [entry] = [each.entry for each in store.entries_after(0, 1000)]
        store.close()
    assert answer.json()["request_id"] in entry
    assert "no such service names this desk" in entry
    assert "no such service" not in answer.text


@pytest.mark.parametrize("how", ["restored", "new"])
def test_a_store_that_was_restored_or_is_new_revokes_all_earlier_keys(tmp_path: Path, how: str) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        url = desk.start()
        before = exchange(url)
        desk.stop()
        if how == "restored":
            shutil.copy(tmp_path / "desk.db", tmp_path / "backup.db")

        url = desk.start()
        after = exchange(url)
        httpx.post(f"{url}/oauth2/revoke", data={"token": after}, trust_env=False)
        _until(
            lambda: (
                claims_of(after)["jti"].encode()
                in (tmp_path / "config/published/revocations.json").read_bytes()
            )
        )
        # The mark moves on with the revocation.
        desk.stop()
        for each in tmp_path.glob("desk.db*"):
            each.unlink()
        if how == "restored":
            shutil.copy(tmp_path / "backup.db", tmp_path / "desk.db")

        url = desk.start()
        # What the earlier key signed is good for nothing, the token that the store still knows included.
        assert not is_active(url, before)
        assert not is_active(url, after)
        refused = httpx.post(f"{url}/oauth2/token", data=exchange_form(), trust_env=False)
        assert (refused.status_code, refused.json()["reason"]) == (503, "not_ready")
        said = [each["message"] for each in log_lines(desk.log)]
        assert "the store is new or was restored; all earlier keys are revoked" in said
        assert httpx.get(f"{desk.ops_url}/readyz", trust_env=False).status_code == 503

        # A new key makes it a desk again.
        desk.source.keys.insert(0, KeyRecord(SigningKey.generate()))
        desk.write(*default_objects())
        _until(lambda: httpx.get(f"{desk.ops_url}/readyz", trust_env=False).status_code == 200)
        token = exchange(url)
        assert is_active(url, token)
        assert not is_active(url, before)


def test_a_desk_that_is_started_again_on_its_own_store_goes_on(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        token = exchange(desk.start())
        for _ in range(3):
            desk.kill()
            url = desk.start()
            assert is_active(url, token)
            exchange(url)


class Load:
    """Callers that exchange and revoke for as long as they can, and remember what they were told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.issued: set[str] = set()
        self.revoked: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for each in self._threads:
            each.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{self.url}/oauth2/token", data=exchange_form())
                    if answer.status_code != 200:
                        continue
                    token = answer.json()["access_token"]
                    self.issued.add(claims_of(token)["jti"])
                    if len(self.issued) % 2:
                        taken = client.post(f"{self.url}/oauth2/revoke", data={"token": token})
                        if taken.status_code == 200:
                            self.revoked.add(claims_of(token)["jti"])
                except httpx.HTTPError:
                    time.sleep(0.01)

    def end(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


def hold(dsn: str, issued: set[str], revoked: set[str]) -> None:
    """Nothing issued without its entry, no revocation lost after its 2xx, the chain whole."""
    store = open_desk_store(dsn)
    try:
        rows = []
        while page := store.entries_after(rows[-1].sequence if rows else 0, 1000):
            rows += page
        assert isinstance(check_chain(rows), Head)
        entries = [json.loads(each.entry) for each in rows]
        in_log = {each["token_id"] for each in entries if each["event"] == "token_issued"}
        taken_back = {each["token_id"] for each in entries if each["event"] == "token_revoked"}
        assert issued <= in_log
        assert revoked <= taken_back
        # And the other way round: each entry has its token, also where the answer never arrived.
        for token_id in in_log:
            known = store.find(token_id)
            assert known is not None
            assert known.is_revoked == (token_id in taken_back)
    finally:
        store.close()


def kill_rounds(desk: DeskProcess, hit: object, again: object) -> None:
    assert callable(hit)
    assert callable(again)
    chance = random.Random(2611)
    issued: set[str] = set()
    revoked: set[str] = set()
    url = desk.start()
    for _ in range(ROUNDS):
        load = Load(url)
        _until(lambda load=load: len(load.revoked) > 5)
        time.sleep(chance.uniform(0, 0.4))
        hit()
        time.sleep(0.05)
        load.end()
        issued |= load.issued
        revoked |= load.revoked
        url = again() or url
        hold(desk.store, issued, revoked)
    assert len(issued) > 10 * ROUNDS


def test_no_kill_of_the_desk_loses_what_was_answered(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        kill_rounds(desk, desk.kill, desk.start)
        _until(
            lambda: bool(
                read_desk_document((tmp_path / "config/published/revocations.json").read_bytes()).services
            )
        )


@pytest.mark.postgresql
def test_no_kill_of_a_desk_on_postgresql_loses_what_was_answered(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with desk_process(tmp_path, migrated(postgres)) as desk:
        kill_rounds(desk, desk.kill, desk.start)


@pytest.mark.postgresql
def test_no_kill_of_postgresql_loses_what_was_answered(tmp_path: Path, postgres: PostgresServer) -> None:
    with desk_process(tmp_path, migrated(postgres)) as desk:

        def again() -> None:
            postgres.start()
            _until(
                lambda: (
                    httpx.post(f"{url[0]}/oauth2/token", data=exchange_form(), trust_env=False).status_code
                    == 200
                )
            )

        url: list[str] = []
        start = desk.start

        def start_and_note() -> str:
            url.append(start())
            return url[-1]

        desk.start = start_and_note  # type: ignore[method-assign]
        kill_rounds(desk, postgres.kill, again)


def test_a_tampered_row_is_found_by_the_command(tmp_path: Path) -> None:
    with desk_process(tmp_path, sqlite_dsn(tmp_path)) as desk:
        url = desk.start()
        for _ in range(5):
            exchange(url)
        desk.stop()
        command = [sys.executable, "-m", "watchword.cli.main", "audit"]
        verify = [*command, "verify", "--store", desk.store]
        assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
        exported = tmp_path / "audit.jsonl"
        subprocess.run(
            [*command, "export", str(exported), "--store", desk.store], check=True, capture_output=True
        )

        with sqlite3.connect(tmp_path / "desk.db") as other:
            other.execute("DROP TRIGGER audit_no_update")
            other.execute("UPDATE audit SET entry = replace(entry, 'atlas-0', 'atlas-1') WHERE sequence = 3")
        found = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert found.returncode == 1
        assert "Entry 3:" in found.stdout
        whole = subprocess.run(
            [*command, "verify", "--file", str(exported)], capture_output=True, check=False
        )
        assert whole.returncode == 0
        shown = subprocess.run(
            [*command, "show", "--store", desk.store, "--last", "2"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.count("token_issued") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--token-desk is missing"),
        (["--token-desk", "a/b"], "--store is missing"),
        (["--token-desk", "a/b", "--store", "desk.db", "--config-folder", "."], "--cluster-id"),
        (
            ["--token-desk", "a/b", "--store", "nothing", "--config-folder", ".", "--cluster-id", "dev"],
            "names no store",
        ),
        (["--token-desk", "a/b", "--store", "sqlite:///x", "--cluster-id", "dev"], "without --config-folder"),
        (["--token-desk", "a/b", "--store", "sqlite:///x"], "--api-server"),
        (["--token-desk", "a", "--store", "sqlite:///x"], "NAMESPACE/NAME"),
        (["--token-desk", "a/b", "--store", "sqlite:///x", "--tls-cert", sys.executable], "--tls-key"),
        (
            [
                "--token-desk",
                "a/b",
                "--store",
                "postgresql://[:password@h/d",
                "--config-folder",
                ".",
                "--cluster-id",
                "dev",
            ],
            "cannot be read",
        ),
    ],
)
def test_a_desk_that_cannot_start_says_which_flag(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchword.cli.main", "desk", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "password" not in done.stderr
    assert "Traceback" not in done.stderr


def _until(is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + 90
    while True:
        try:
            if is_so():
                return
        except (OSError, httpx.HTTPError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
