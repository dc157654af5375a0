# SPDX-License-Identifier: Apache-2.0
"""The SQLite statements of the desk's store: every one a constant, every value a parameter."""

from typing import Final

APPLICATION_ID: Final = 0x5757444B  # "WWDK": tells our files from other programs' databases
SCHEMA_VERSION: Final = 5

_REFUSE: Final = "SELECT RAISE(ABORT, 'the audit log is append-only')"
# What agents register, claim and hold (watchword.desk.agents). Secrets and codes are there as digests only.
AGENT_TABLES: Final = (
    """CREATE TABLE agent (
        id TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, epoch INTEGER NOT NULL,
        person TEXT NOT NULL, guesses INTEGER NOT NULL, made_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        claim_digest TEXT NOT NULL UNIQUE, refresh_digest TEXT UNIQUE, used_digest TEXT
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX agent_waiting ON agent (kind) WHERE state = 'unclaimed'",
    "CREATE INDEX agent_used ON agent (used_digest) WHERE used_digest IS NOT NULL",
    "CREATE INDEX agent_person_of ON agent (person)",
    "CREATE INDEX agent_end ON agent (expires_at)",
    """CREATE TABLE agent_attempt (
        digest TEXT NOT NULL PRIMARY KEY, agent TEXT NOT NULL UNIQUE, address TEXT NOT NULL,
        state TEXT NOT NULL, code_digest TEXT NOT NULL, secret_digest TEXT UNIQUE,
        proven_issuer TEXT NOT NULL, proven_subject TEXT NOT NULL, expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX agent_attempt_end ON agent_attempt (expires_at)",
    # The one table with addresses that outlives an attempt: what is deleted here is nowhere else.
    """CREATE TABLE agent_person (
        id TEXT NOT NULL PRIMARY KEY, address TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,
        UNIQUE (address, issuer, subject)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE agent_use (
        key TEXT NOT NULL PRIMARY KEY, uses INTEGER NOT NULL, expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX agent_use_end ON agent_use (expires_at)",
    "CREATE INDEX token_of_agent ON token (subject) WHERE subject >= 'agent:' AND subject < 'agent;'",
)
# From each version to the next one, each in the transaction that also says so.
STEPS: Final[dict[int, tuple[str, ...]]] = {
    0: (
        # Only ever added to: the last row is the store's id.
        """CREATE TABLE identity (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL, made_at INTEGER NOT NULL
        ) STRICT""",
        # By ids that begin with their time, so that new rows go to the end, however many there are.
        """CREATE TABLE token (
            token_id TEXT NOT NULL PRIMARY KEY, subject TEXT NOT NULL, service TEXT NOT NULL,
            issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX token_end ON token (expires_at)",
        """CREATE TABLE revocation (
            number INTEGER PRIMARY KEY, token_id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL,
            service TEXT NOT NULL, issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
        ) STRICT""",
        "CREATE INDEX revocation_end ON revocation (expires_at)",
        """CREATE TABLE assertion (
            client TEXT NOT NULL, assertion_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
            PRIMARY KEY (client, assertion_id)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX assertion_end ON assertion (expires_at)",
        """CREATE TABLE audit (
            sequence INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL
        ) STRICT""",
        f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN {_REFUSE}; END",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN {_REFUSE}; END",
        # INSERT OR REPLACE fires no trigger for the row that it deletes.
        """CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
            WHEN NEW.sequence IS NOT coalesce((SELECT max(sequence) FROM audit), 0) + 1
            BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    ),
    1: (
        # Tokens of admin clients: what a token speaks for, and which version of its client's record.
        "ALTER TABLE token ADD COLUMN kind TEXT NOT NULL DEFAULT 'workload'",
        "ALTER TABLE token ADD COLUMN version TEXT NOT NULL DEFAULT ''",
    ),
    2: AGENT_TABLES,
    3: (
        # Agents that came by a provider: whose, for which subject (a digest), and within which scopes.
        "ALTER TABLE agent ADD COLUMN provider TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE agent ADD COLUMN origin TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE agent ADD COLUMN scope TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX agent_origin ON agent (origin) WHERE origin <> ''",
        "CREATE UNIQUE INDEX agent_link ON agent (origin) WHERE origin <> '' AND state = 'claimed'",
    ),
    4: (
        # Which client of its provider each is, and by which key that was said; one link a client.
        "ALTER TABLE agent ADD COLUMN client TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE agent ADD COLUMN signed_by TEXT NOT NULL DEFAULT ''",
        "DROP INDEX agent_link",
        "CREATE UNIQUE INDEX agent_link ON agent (origin, client) WHERE origin <> '' AND state = 'claimed'",
        "DROP INDEX agent_waiting",
        "CREATE INDEX agent_waiting ON agent (kind, provider) WHERE state = 'unclaimed'",
    ),
}
INSERT_IDENTITY: Final = "INSERT INTO identity (id, made_at) VALUES (?, ?)"
IDENTITY: Final = "SELECT id FROM identity ORDER BY number DESC LIMIT 1"
# With the place of one row, for as many rows as there are to be in one statement.
ADD_ISSUED: Final = (
    "INSERT INTO token (token_id, subject, service, issued_at, expires_at, kind, version) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?)",
)
INSERT_REVOCATION: Final = """INSERT INTO revocation (token_id, subject, service, issued_at, expires_at)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
INSERT_ASSERTION: Final = """INSERT INTO assertion (client, assertion_id, expires_at)
    VALUES (?, ?, ?) ON CONFLICT DO NOTHING"""
INSERT_AUDIT: Final = ("INSERT INTO audit (sequence, entry, hash) VALUES ", "(?, ?, ?)")
HEAD: Final = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1"
ENTRIES_AFTER: Final = "SELECT sequence, entry, hash FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?"
FIND: Final = """SELECT t.subject, t.service, t.expires_at,
        EXISTS (SELECT 1 FROM revocation r WHERE r.token_id = t.token_id), t.kind, t.version
    FROM token t WHERE t.token_id = ?"""
TOKENS_BEFORE: Final = """SELECT t.token_id, t.subject, t.service, t.issued_at, t.expires_at, t.kind,
        EXISTS (SELECT 1 FROM revocation r WHERE r.token_id = t.token_id)
    FROM token t WHERE t.token_id < ? ORDER BY t.token_id DESC LIMIT ?"""
REVOKED: Final = """SELECT token_id, subject, service, issued_at, expires_at FROM revocation
    WHERE expires_at > ? ORDER BY number"""
# Some at a time, so that no issuing waits for long.
EXPIRE: Final = (
    "DELETE FROM token WHERE token_id IN (SELECT token_id FROM token WHERE expires_at < ? LIMIT ?)",
    "DELETE FROM revocation WHERE number IN (SELECT number FROM revocation WHERE expires_at < ? LIMIT ?)",
    """DELETE FROM assertion WHERE (client, assertion_id) IN
        (SELECT client, assertion_id FROM assertion WHERE expires_at < ? LIMIT ?)""",
)
