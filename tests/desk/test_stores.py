# SPDX-License-Identifier: Apache-2.0
"""What every store of the desk promises, held against a real file and a real server."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from testing.postgres_server import PostgresServer
from tests.desk.roles import OWNER, SERVING, migrated
from watchword.desk.agents import storage
from watchword.desk.agents.records import AssertAgain, EndOrigin, Registration
from watchword.desk.audit_chain import AuditEvent, ChainProblem, Head, check_chain
from watchword.desk.postgresql import PostgreSQLDeskStore
from watchword.desk.sqlite import SQLiteDeskStore, schema
from watchword.desk.store import (
    DeskStore,
    DeskStoreError,
    DeskStoreRefusedError,
    Issue,
    KnownToken,
    Note,
    Revoke,
    UseAssertion,
    open_desk_store,
)
from watchword.storage.postgresql import MIGRATIONS_TABLE

Open = Callable[[], DeskStore]


def issue(name: str, ends: int = 2000) -> Issue:
    event = AuditEvent("token_issued", {"token_id": name}, 1.0)
    return Issue(name, "workload:a:b:c", "tuist/server", 1000, ends, event)


def revoke(name: str, ends: int = 2000) -> Revoke:
    event = AuditEvent("token_revoked", {"token_id": name}, 2.0)
    return Revoke(name, "workload:a:b:c", "tuist/server", 1000, ends, event)


def test_what_was_issued_is_known_and_has_its_entry(open_store: Open) -> None:
    store = open_store()

    assert store.write([issue("t1"), issue("t2")]) == [True, True]

    again = open_store()
    assert again.find("t1") == KnownToken("workload:a:b:c", "tuist/server", 2000, is_revoked=False)
    assert again.find("t") is None
    entries = again.entries_after(0, 10)
    assert [each.sequence for each in entries] == [1, 2]
    assert '"token_id":"t1"' in entries[0].entry
    assert check_chain(entries) == again.head()


def test_a_revocation_counts_once_and_is_written_once(open_store: Open) -> None:
    store = open_store()
    store.write([issue("t1")])

    assert store.write([revoke("t1"), revoke("t1")]) == [True, False]
    assert store.write([revoke("t1")]) == [False]

    known = store.find("t1")
    assert known is not None
    assert known.is_revoked
    # A gate may take it for 300 s after its end (spec.token.clockSkewSeconds).
    assert [each.token_id for each in store.revoked(2299)] == ["t1"]
    assert store.revoked(2300) == []
    assert store.head().sequence == 2


def test_an_assertion_counts_once(open_store: Open) -> None:
    store = open_store()
    once = UseAssertion("cache", "a1", 2000)

    assert store.write([once, once]) == [True, False]
    assert open_store().write([once, UseAssertion("other", "a1", 2000)]) == [False, True]
    # Not an event: what a client signs each second would fill the log.
    assert store.head() == Head()


def test_a_batch_that_fails_leaves_nothing_behind(open_store: Open) -> None:
    store = open_store()
    store.write([issue("t1")])

    with pytest.raises(DeskStoreError):
        store.write([issue("t2"), revoke("t2"), UseAssertion("c", "a", 9), issue("t1")])

    assert store.find("t2") is None
    assert store.revoked(0) == []
    assert store.head().sequence == 1
    assert store.write([UseAssertion("c", "a", 9), issue("t2")]) == [True, True]


def test_tokens_are_listed_from_the_newest_on_with_what_they_speak_for(open_store: Open) -> None:
    store = open_store()
    ids = [f"{number:032x}" for number in range(5)]
    admin = AuditEvent("admin_token_issued", {"token_id": ids[4]}, 1.0)
    store.write(
        [*map(issue, ids[:4]), Issue(ids[4], "client:a", "", 1000, 2000, admin, "admin", "uid/digest")]
    )
    store.write([revoke(ids[2])])

    again = open_store()
    assert again.find(ids[4]) == KnownToken(
        "client:a", "", 2000, is_revoked=False, kind="admin", version="uid/digest"
    )
    listed = again.tokens_before("", 3)
    assert [each.token_id for each in listed] == ids[:1:-1]
    assert [each.kind for each in listed] == ["admin", "workload", "workload"]
    assert [each.is_revoked for each in listed] == [False, False, True]
    assert [each.token_id for each in again.tokens_before(listed[-1].token_id, 10)] == [ids[1], ids[0]]
    assert again.tokens_before(ids[0], 10) == []


def _old_file(folder: Path, version: int, row: str) -> str:
    """A file as a desk of an earlier schema left it, with one row in it."""
    path = folder / "desk.db"
    with closing(sqlite3.connect(path)) as old:
        for statement in (
            *(each for step in range(version) for each in schema.STEPS[step]),
            f"PRAGMA application_id = {schema.APPLICATION_ID}",
            f"PRAGMA user_version = {version}",
            "INSERT INTO identity (id, made_at) VALUES ('old', 1)",
            row,
        ):
            old.execute(statement)
        old.commit()
    return str(path)


def test_a_file_of_the_release_before_is_brought_up_with_what_is_in_it(tmp_path: Path) -> None:
    store = SQLiteDeskStore(
        _old_file(tmp_path, 1, "INSERT INTO token VALUES ('t', 'workload:a:b:c', 'tuist/server', 1, 2000)")
    )
    try:
        assert store.identity() == "old"
        assert store.find("t") == KnownToken("workload:a:b:c", "tuist/server", 2000, is_revoked=False)
    finally:
        store.close()


_OLD_AGENT = (
    "INSERT INTO agent (id, kind, state, epoch, person, guesses, made_at, expires_at, claim_digest) "
    "VALUES ('reg_old', 'service_auth', 'claimed', 3, 'person_1', 0, 1, 9000, 'digest')"
)


def test_a_file_with_agents_of_before_there_were_providers_is_brought_up(tmp_path: Path) -> None:
    store = SQLiteDeskStore(_old_file(tmp_path, 3, _OLD_AGENT))
    try:
        _is_the_agent_of_before(store)
    finally:
        store.close()


@pytest.mark.postgresql
def test_a_schema_with_agents_of_before_there_were_providers_is_brought_up(postgres: PostgresServer) -> None:
    dsn = migrated(postgres)
    owner = PostgreSQLDeskStore(dsn.replace(f"{SERVING}@", f"{OWNER}@"))
    with psycopg.connect(f"{postgres.conninfo()} options=-csearch_path={owner.schema}") as connection:
        for name in ("provider", "origin", "scope", "client", "signed_by"):
            connection.execute(f"ALTER TABLE agent DROP COLUMN {name}".encode())
        connection.execute("CREATE INDEX agent_waiting ON agent (kind) WHERE state = 'unclaimed'")
        forget = sql.SQL("DELETE FROM {} WHERE migration_id >= '0004'")
        connection.execute(forget.format(sql.Identifier(MIGRATIONS_TABLE)))
        connection.execute(_OLD_AGENT.encode())
    with pytest.raises(DeskStoreRefusedError, match="not of this version"):
        PostgreSQLDeskStore(dsn).identity()
    owner.migrate(SERVING)
    owner.close()
    store = PostgreSQLDeskStore(dsn)
    try:
        _is_the_agent_of_before(store)
    finally:
        store.close()


_OLD_LINK = (
    "INSERT INTO agent (id, kind, state, epoch, person, guesses, made_at, expires_at, claim_digest, "
    "provider, origin, scope) VALUES "
    "('reg_link', 'identity_assertion', 'claimed', 1, 'person_1', 0, 1, 9000, 'other', 'p', 'origin', '')"
)


def test_a_file_with_links_of_before_clients_were_kept_is_brought_up(tmp_path: Path) -> None:
    store = SQLiteDeskStore(_old_file(tmp_path, 4, _OLD_LINK))
    try:
        _keeps_the_first_client_that_comes(store)
    finally:
        store.close()


@pytest.mark.postgresql
def test_a_schema_with_links_of_before_clients_were_kept_is_brought_up(postgres: PostgresServer) -> None:
    dsn = migrated(postgres)
    owner = PostgreSQLDeskStore(dsn.replace(f"{SERVING}@", f"{OWNER}@"))
    with psycopg.connect(f"{postgres.conninfo()} options=-csearch_path={owner.schema}") as connection:
        for name in ("client", "signed_by"):
            connection.execute(f"ALTER TABLE agent DROP COLUMN {name}".encode())
        for statement in schema.STEPS[3][-1:]:
            connection.execute(statement.encode())
        connection.execute("DROP INDEX agent_waiting")
        connection.execute("CREATE INDEX agent_waiting ON agent (kind) WHERE state = 'unclaimed'")
        forget = sql.SQL("DELETE FROM {} WHERE migration_id >= '0005'")
        connection.execute(forget.format(sql.Identifier(MIGRATIONS_TABLE)))
        connection.execute(_OLD_LINK.encode())
    with pytest.raises(DeskStoreRefusedError, match="not of this version"):
        PostgreSQLDeskStore(dsn).identity()
    owner.migrate(SERVING)
    owner.close()
    store = PostgreSQLDeskStore(dsn)
    try:
        _keeps_the_first_client_that_comes(store)
    finally:
        store.close()


def _keeps_the_first_client_that_comes(store: DeskStore) -> None:
    def link(client: str) -> Registration | None:
        return storage.registration_of(store.look(storage.LINK_OF_CLIENT, ("origin", client)))

    found = link("one")
    assert found is not None
    assert (found.id, found.client, found.scope, found.signed_by) == ("reg_link", "", "", "")
    assert link("two") == found

    def again(client: str, scope: str) -> bool:
        step = AssertAgain(agent="reg_link", epoch=1, expires_at=9999, client=client, scope=scope, now=5)
        return store.write([step]) == [True]

    assert again("one", "a b")
    assert not again("two", "a b c")
    assert again("one", "a b c")
    found = link("one")
    assert found is not None
    assert (found.client, found.scope, found.expires_at) == ("one", "a b", 9999)
    assert link("two") is None


def _is_the_agent_of_before(store: DeskStore) -> None:
    found = storage.registration_of(store.look(storage.BY_ID, ("reg_old",)))
    assert found is not None
    assert (found.kind, found.state, found.epoch, found.person) == ("service_auth", "claimed", 3, "person_1")
    assert (found.provider, found.origin, found.scope) == ("", "", "")
    # It is no subject's link, and no event ends it.
    assert store.look(storage.LINKS_OF_ORIGIN, ("",)) == []
    ended = EndOrigin(issuer="https://a", token_id="t", expires_at=2, origin="", now=1)
    assert store.write([ended]) == [True]
    assert storage.registration_of(store.look(storage.BY_ID, ("reg_old",))) == found


def test_what_ended_is_forgotten_and_the_log_is_not(open_store: Open) -> None:
    store = open_store()
    store.write([issue("old", 1500), issue("new", 2500), revoke("old", 1500), UseAssertion("c", "a", 1500)])

    assert store.expire(2000) == 3

    assert store.find("old") is None
    assert store.find("new") is not None
    assert store.head().sequence == 3
    assert store.expire(2000) == 0


def test_many_writers_make_one_chain(open_store: Open) -> None:
    def work(number: int) -> None:
        store = open_store()
        for each in range(20):
            store.write([issue(f"{number}-{each}"), Note(AuditEvent("x", {}, 1.0))])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    entries = open_store().entries_after(0, 1000)
    assert len(entries) == 160
    assert isinstance(check_chain(entries), Head)


def test_a_store_has_an_id_of_its_own_until_it_is_given_another(open_store: Open) -> None:
    store = open_store()
    first = store.identity()

    assert open_store().identity() == first
    second = store.renew_identity(AuditEvent("store_renewed", {"from": first}, 1.0))
    assert second != first
    assert open_store().identity() == second
    assert store.head().sequence == 1


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "desk.db"
    SQLiteDeskStore(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = '{}' WHERE sequence = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE sequence = 2",
        "INSERT OR REPLACE INTO audit VALUES (1, '{}', 'x')",
        "INSERT INTO audit VALUES (9, '{}', 'x')",
        "REPLACE INTO audit VALUES (2, '{}', 'x')",
    ],
)
def test_a_file_refuses_to_change_its_log(tmp_path: Path, statement: str) -> None:
    path = str(tmp_path / "desk.db")
    store = SQLiteDeskStore(path)
    store.write([issue("t1"), issue("t2")])
    with sqlite3.connect(path) as other, pytest.raises(sqlite3.DatabaseError, match="append-only"):
        other.execute(statement)
    assert isinstance(check_chain(store.entries_after(0, 9)), Head)
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE audit SET entry = '{"event":"token_issued","sequence":1}' WHERE sequence = 1""",
        "DELETE FROM audit WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 2",
    ],
)
def test_a_row_that_was_changed_around_the_triggers_is_found(tmp_path: Path, statement: str) -> None:
    path = str(tmp_path / "desk.db")
    store = SQLiteDeskStore(path)
    store.write([issue("t1"), issue("t2"), issue("t3")])
    with sqlite3.connect(path) as other:
        for trigger in ("audit_no_update", "audit_no_delete", "audit_in_order"):
            other.execute(f"DROP TRIGGER {trigger}")
        other.execute(statement)
    assert isinstance(check_chain(store.entries_after(0, 9)), ChainProblem)
    store.close()


def test_the_last_row_taken_away_is_found_by_the_noted_head(tmp_path: Path) -> None:
    path = str(tmp_path / "desk.db")
    store = SQLiteDeskStore(path)
    store.write([issue("t1"), issue("t2")])
    noted = store.head()
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER audit_no_delete")
        other.execute("DELETE FROM audit WHERE sequence = 2")
    rows = store.entries_after(0, 9)
    assert isinstance(check_chain(rows), Head)
    assert isinstance(check_chain(rows, noted), ChainProblem)
    store.close()


def test_a_store_keeps_its_log_when_another_process_comes_and_goes(tmp_path: Path) -> None:
    """`watchword audit verify` next to a desk: closing takes the log away if no one else has locks."""
    path = tmp_path / "desk.db"
    store = SQLiteDeskStore(str(path))
    log = path.with_name("desk.db-wal")
    before = log.stat().st_ino
    other = "import sys; from watchword.desk.sqlite import SQLiteDeskStore as S; S(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    assert log.stat().st_ino == before
    store.write([issue("t1")])
    with sqlite3.connect(path) as reader:
        assert reader.execute("SELECT count(*) FROM audit").fetchone() == (1,)
    store.close()


def test_files_of_others_are_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE x (y)")
    before = path.read_bytes()
    with pytest.raises(DeskStoreRefusedError, match="another program"):
        SQLiteDeskStore(str(path))
    assert path.read_bytes() == before
    (tmp_path / "text").write_text("no database")
    with pytest.raises(DeskStoreRefusedError):
        SQLiteDeskStore(str(tmp_path / "text"))


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "desk.db",
        "mysql://x",
        "sqlite://x",
        "sqlite:///",
        "sqlite:////x?mode=ro",
        "postgresql://[x/y?schema=A",
    ],
)
def test_a_dsn_that_names_no_store_is_refused(dsn: str) -> None:
    with pytest.raises(DeskStoreRefusedError):
        open_desk_store(dsn)


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = '{}'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_no_change ON audit",
        "UPDATE identity SET id = 'x'",
        "DELETE FROM identity",
        "CREATE TABLE mine (x int)",
    ],
)
def test_the_serving_role_may_not_change_the_log(postgres: PostgresServer, statement: str) -> None:
    dsn = migrated(postgres)
    store = PostgreSQLDeskStore(dsn)
    store.write([issue("t1")])
    info = f"host={postgres.folder} user={SERVING} dbname=postgres options=-csearch_path={store.schema}"
    with psycopg.connect(info) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.execute(statement.encode())
    assert isinstance(check_chain(store.entries_after(0, 9)), Head)
    store.close()


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET entry = '{}'", "DELETE FROM audit", "TRUNCATE audit"]
)
def test_not_even_the_owner_changes_the_log_in_passing(postgres: PostgresServer, statement: str) -> None:
    dsn = migrated(postgres)
    store = PostgreSQLDeskStore(dsn)
    store.write([issue("t1")])
    info = f"{postgres.conninfo()} options=-csearch_path={store.schema}"
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only")
    with psycopg.connect(info) as owner, refused:
        owner.execute(statement.encode())
    store.close()


@pytest.mark.postgresql
def test_a_desk_that_connects_as_the_owner_is_refused(postgres: PostgresServer) -> None:
    dsn = migrated(postgres).replace(f"{SERVING}@", f"{OWNER}@")
    store = PostgreSQLDeskStore(dsn)
    with pytest.raises(DeskStoreRefusedError, match="superuser"):
        store.identity()
    store.close()


@pytest.mark.postgresql
def test_a_role_that_owns_the_log_without_being_superuser_is_refused(postgres: PostgresServer) -> None:
    dsn = migrated(postgres)
    store = PostgreSQLDeskStore(dsn)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as owner:
        owner.execute(f"ALTER TABLE {store.schema}.audit OWNER TO {SERVING}".encode())
    with pytest.raises(DeskStoreRefusedError, match="owns the audit log"):
        store.identity()
    store.close()


@pytest.mark.postgresql
def test_a_schema_that_is_not_there_is_refused_with_the_command_that_makes_it(
    postgres: PostgresServer,
) -> None:
    store = PostgreSQLDeskStore(postgres.dsn("never_made", SERVING))
    with pytest.raises(DeskStoreRefusedError, match="watchword desk migrate"):
        store.identity()
    store.close()


@pytest.mark.postgresql
def test_migrating_again_changes_nothing(postgres: PostgresServer) -> None:
    dsn = migrated(postgres)
    store = PostgreSQLDeskStore(dsn)
    before = store.identity()
    owner = PostgreSQLDeskStore(dsn.replace(f"{SERVING}@", f"{OWNER}@"))
    owner.migrate(SERVING)
    assert store.identity() == before
    with pytest.raises(DeskStoreRefusedError, match="no role"):
        owner.migrate("never_made")
    with pytest.raises(DeskStoreRefusedError, match="superuser"):
        owner.migrate(OWNER)
    owner.close()
    store.close()
