-- What agents register, claim and hold (watchword.desk.agents). Secrets and codes are there as digests only.
--
-- Times are whole seconds since the epoch. Texts compare by their bytes (COLLATE "C").
--
-- depends: 0002-admin-tokens

CREATE TABLE agent (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    person text COLLATE "C" NOT NULL,
    guesses bigint NOT NULL,
    made_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    claim_digest text COLLATE "C" NOT NULL UNIQUE,
    refresh_digest text COLLATE "C" UNIQUE,
    used_digest text COLLATE "C"
);

CREATE INDEX agent_waiting ON agent (kind) WHERE state = 'unclaimed';
CREATE INDEX agent_used ON agent (used_digest) WHERE used_digest IS NOT NULL;
CREATE INDEX agent_person_of ON agent (person);
CREATE INDEX agent_end ON agent (expires_at);

CREATE TABLE agent_attempt (
    digest text COLLATE "C" NOT NULL PRIMARY KEY,
    agent text COLLATE "C" NOT NULL UNIQUE,
    address text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    code_digest text COLLATE "C" NOT NULL,
    secret_digest text COLLATE "C" UNIQUE,
    proven_issuer text COLLATE "C" NOT NULL,
    proven_subject text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX agent_attempt_end ON agent_attempt (expires_at);

-- The one table with addresses that outlives an attempt: what is deleted here is nowhere else.
CREATE TABLE agent_person (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    address text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    UNIQUE (address, issuer, subject)
);

CREATE TABLE agent_use (
    key text COLLATE "C" NOT NULL PRIMARY KEY,
    uses bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX agent_use_end ON agent_use (expires_at);

-- For agents only: what workloads hold is looked up by its id.
CREATE INDEX token_of_agent ON token (subject) WHERE subject >= 'agent:' AND subject < 'agent;';
