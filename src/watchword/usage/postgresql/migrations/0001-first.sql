-- The whole of the first schema. Names are looked up in the store's own schema (search_path).
--
-- An event is known by `key`: a digest of its source and id, each with its length before it. A B-tree entry
-- holds at most 2704 bytes, and a source alone may have 4096. Texts compare by their bytes (COLLATE "C").
-- Amounts are `numeric`, which adds exactly. Days are days since 1970-01-01, times microseconds, both UTC.
--
-- depends:

CREATE TABLE event (
    key bytea NOT NULL PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    time bigint NOT NULL,
    data text,
    data_base64 text,
    extensions text
);

-- For giving up old events. Events come in nearly in the order of their times, which is all that BRIN needs.
CREATE INDEX event_time ON event USING brin (time);

CREATE TABLE account (name text COLLATE "C" NOT NULL PRIMARY KEY);

-- counted_from: the first day whose events were all there to be counted. kept_from: the first day whose
-- amounts are kept. since: when this definition came into force.
CREATE TABLE meter (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    definition text NOT NULL,
    counted_from integer NOT NULL,
    kept_from integer NOT NULL,
    since bigint NOT NULL
);

CREATE TABLE state (name text NOT NULL PRIMARY KEY, value text NOT NULL);

CREATE TABLE rollup (
    account text COLLATE "C" NOT NULL,
    day integer NOT NULL,
    meter text COLLATE "C" NOT NULL,
    grp text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    PRIMARY KEY (account, day, meter, grp)
) WITH (fillfactor = 70);

CREATE TABLE distinct_value (
    account text COLLATE "C" NOT NULL,
    day integer NOT NULL,
    meter text COLLATE "C" NOT NULL,
    grp text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (account, day, meter, grp, digest)
);

-- A row for each account, meter and month that has groups: what is locked while a group is let in.
CREATE TABLE group_scope (
    account text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    month integer NOT NULL,
    PRIMARY KEY (account, meter, month)
);

CREATE TABLE admitted (
    account text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    month integer NOT NULL,
    grp text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, meter, month, grp)
);
