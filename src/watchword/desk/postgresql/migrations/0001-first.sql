-- The whole of the first schema. Names are looked up in the desk's own schema (search_path).
--
-- The role that applies this owns the tables; the role that serves is another one, which may add to the audit
-- log and read it, and nothing else (`watchword desk migrate --serving-role`). An owner could drop the triggers.
-- Times are whole seconds since the epoch. Texts compare by their bytes (COLLATE "C").
--
-- depends:

-- Only ever added to: the row with the highest number is the store's id.
CREATE TABLE identity (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    made_at bigint NOT NULL
);

CREATE TABLE token (
    token_id text COLLATE "C" NOT NULL PRIMARY KEY,
    subject text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    issued_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX token_end ON token (expires_at);

CREATE TABLE revocation (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_id text COLLATE "C" NOT NULL UNIQUE,
    subject text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    issued_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX revocation_end ON revocation (expires_at);

CREATE TABLE assertion (
    client text COLLATE "C" NOT NULL,
    assertion_id text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (client, assertion_id)
);

CREATE INDEX assertion_end ON assertion (expires_at);

CREATE TABLE audit (
    sequence bigint NOT NULL PRIMARY KEY,
    entry text NOT NULL,
    hash text NOT NULL
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();

CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
