-- A usage schema after its third migration, with twelve events of two accounts, as the release of that schema
-- made it (pg_dump --inserts).
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA watchword_usage;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE watchword_usage._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE watchword_usage._yoyo_migrations (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE watchword_usage._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE watchword_usage.account (
    name text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE watchword_usage.admitted (
    account text NOT NULL COLLATE pg_catalog."C",
    meter text NOT NULL COLLATE pg_catalog."C",
    month integer NOT NULL,
    grp text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE watchword_usage.distinct_value (
    account text NOT NULL COLLATE pg_catalog."C",
    day integer NOT NULL,
    meter text NOT NULL COLLATE pg_catalog."C",
    grp text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    value text NOT NULL
);
CREATE TABLE watchword_usage.event (
    received integer NOT NULL,
    key bytea NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    "time" bigint NOT NULL,
    data text,
    data_base64 text,
    extensions text
)
PARTITION BY RANGE (received);
CREATE TABLE watchword_usage.event_20787 (
    received integer NOT NULL,
    key bytea NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    account text NOT NULL COLLATE pg_catalog."C",
    "time" bigint NOT NULL,
    data text,
    data_base64 text,
    extensions text
);
CREATE TABLE watchword_usage.group_scope (
    account text NOT NULL COLLATE pg_catalog."C",
    meter text NOT NULL COLLATE pg_catalog."C",
    month integer NOT NULL
);
CREATE TABLE watchword_usage.meter (
    name text NOT NULL COLLATE pg_catalog."C",
    definition text NOT NULL,
    counted_from integer NOT NULL,
    kept_from integer NOT NULL,
    since bigint NOT NULL
);
CREATE TABLE watchword_usage.rollup (
    account text NOT NULL COLLATE pg_catalog."C",
    day integer NOT NULL,
    meter text NOT NULL COLLATE pg_catalog."C",
    grp text NOT NULL COLLATE pg_catalog."C",
    amount numeric NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE watchword_usage.state (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE watchword_usage.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
ALTER TABLE ONLY watchword_usage.event ATTACH PARTITION watchword_usage.event_20787 FOR VALUES FROM (20787) TO (20788);
INSERT INTO watchword_usage._yoyo_migrations VALUES ('d97f38e6f87fe44863775cc40c705e2c1931c8e76264571c708dc86ac74d9f9b', '0001-first', '2026-11-30 15:07:17.092578');
INSERT INTO watchword_usage._yoyo_migrations VALUES ('4fc8fac4ac89bf73b3d51b2c1f373070c077da6efcd80fe8ca6f85991d8a6b32', '0002-key-by-account', '2026-11-30 15:07:17.11505');
INSERT INTO watchword_usage._yoyo_migrations VALUES ('8e2218969dcb06ae18fd5ee81333967a95925ffa364d605e982ab5d5548078bf', '0003-events-by-arrival', '2026-11-30 15:07:17.140609');
INSERT INTO watchword_usage._yoyo_version VALUES (2, '2026-11-30 15:07:17.056758');
INSERT INTO watchword_usage.account VALUES ('acme');
INSERT INTO watchword_usage.account VALUES ('umbrella');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20760, 'users', '', '\xc64cf924e988cd3af17cdcd93fb48b3114ae2bcf', '"u2"');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20760, 'users', '', '\xf94e76390f324c4df5095d96398045dbd19e6090', '"u0"');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20761, 'users', '', '\xa9c20a7deb197f34e09a65bfc1dd87d1927d6a1a', '"u1"');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20761, 'users', '', '\xf94e76390f324c4df5095d96398045dbd19e6090', '"u0"');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20762, 'users', '', '\xa9c20a7deb197f34e09a65bfc1dd87d1927d6a1a', '"u1"');
INSERT INTO watchword_usage.distinct_value VALUES ('acme', 20762, 'users', '', '\xc64cf924e988cd3af17cdcd93fb48b3114ae2bcf', '"u2"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20760, 'users', '', '\xa9c20a7deb197f34e09a65bfc1dd87d1927d6a1a', '"u1"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20760, 'users', '', '\xf94e76390f324c4df5095d96398045dbd19e6090', '"u0"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20761, 'users', '', '\xa9c20a7deb197f34e09a65bfc1dd87d1927d6a1a', '"u1"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20761, 'users', '', '\xc64cf924e988cd3af17cdcd93fb48b3114ae2bcf', '"u2"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20762, 'users', '', '\xc64cf924e988cd3af17cdcd93fb48b3114ae2bcf', '"u2"');
INSERT INTO watchword_usage.distinct_value VALUES ('umbrella', 20762, 'users', '', '\xf94e76390f324c4df5095d96398045dbd19e6090', '"u0"');
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\x2936efc27a2aa099c3ba5e97d0914026a86df1d4', '/ci', 'e-7', 'cache.hit', 'umbrella', 1793786403000000, '{"bytes":8,"user":"u1"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\x29c017c29ed3745700a2e354da5c8ccdab0de82d', '/ci', 'e-8', 'cache.hit', 'acme', 1793872800000000, '{"bytes":9,"user":"u2"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\x536931594a82669103ba2634b12a29e4108b482b', '/ci', 'e-4', 'cache.hit', 'acme', 1793786400000000, '{"bytes":5,"user":"u1"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\x65bceb04647b6c3dccca908a31d3d716d34d856b', '/ci', 'e-3', 'cache.hit', 'umbrella', 1793700003000000, '{"bytes":4,"user":"u0"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\x8613c720f5fcf6d211e31b794c1be2cea9cd12b2', '/ci', 'e-5', 'cache.hit', 'umbrella', 1793786401000000, '{"bytes":6,"user":"u2"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xb71c6487cba005215651e662390ba41ac6508ed6', '/ci', 'e-2', 'cache.hit', 'acme', 1793700002000000, '{"bytes":3,"user":"u2"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xbd78d577523647a5796b02b6f667ee945ff37596', '/ci', 'e-0', 'cache.hit', 'acme', 1793700000000000, '{"bytes":1,"user":"u0"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xc1905543c05024a598110aef5c381cf0a97ce854', '/ci', 'e-6', 'cache.hit', 'acme', 1793786402000000, '{"bytes":7,"user":"u0"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xc4627af483977dae7a9fb3c28445653804c4667a', '/ci', 'e-11', 'cache.hit', 'umbrella', 1793872803000000, '{"bytes":12,"user":"u2"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xc745259efa011fd40744db8fa26803e2edbe3cc6', '/ci', 'e-10', 'cache.hit', 'acme', 1793872802000000, '{"bytes":11,"user":"u1"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xd94e2f7887569952f1b4f979a24b1fd4eff12425', '/ci', 'e-9', 'cache.hit', 'umbrella', 1793872801000000, '{"bytes":10,"user":"u0"}', NULL, NULL);
INSERT INTO watchword_usage.event_20787 VALUES (20787, '\xe598d46d4e3badf91703188afdeee56e776cb738', '/ci', 'e-1', 'cache.hit', 'umbrella', 1793700001000000, '{"bytes":2,"user":"u1"}', NULL, NULL);
INSERT INTO watchword_usage.meter VALUES ('bytes', '{"name":"bytes","event_type":"cache.hit","aggregation":"sum","value":"/bytes"}', 0, 0, 1796051237149883);
INSERT INTO watchword_usage.meter VALUES ('largest', '{"name":"largest","event_type":"cache.hit","aggregation":"max","value":"/bytes"}', 0, 0, 1796051237149883);
INSERT INTO watchword_usage.meter VALUES ('remote_cache_hits', '{"name":"remote_cache_hits","event_type":"cache.hit","aggregation":"count","value":null}', 0, 0, 1796051237149883);
INSERT INTO watchword_usage.meter VALUES ('users', '{"name":"users","event_type":"cache.hit","aggregation":"unique_count","value":"/user"}', 0, 0, 1796051237149883);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20760, 'bytes', '', 4);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20760, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20760, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20761, 'bytes', '', 12);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20761, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20761, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20762, 'bytes', '', 20);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20762, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20762, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20760, 'bytes', '', 6);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20760, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20760, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20761, 'bytes', '', 14);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20761, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20761, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20762, 'bytes', '', 22);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20762, 'remote_cache_hits', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20762, 'users', '', 2);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20760, 'largest', '', 3);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20761, 'largest', '', 7);
INSERT INTO watchword_usage.rollup VALUES ('acme', 20762, 'largest', '', 11);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20760, 'largest', '', 4);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20761, 'largest', '', 8);
INSERT INTO watchword_usage.rollup VALUES ('umbrella', 20762, 'largest', '', 12);
INSERT INTO watchword_usage.state VALUES ('meters', '3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021');
INSERT INTO watchword_usage.state VALUES ('received', '20787');
ALTER TABLE ONLY watchword_usage._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY watchword_usage._yoyo_migrations
    ADD CONSTRAINT _yoyo_migrations_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY watchword_usage._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY watchword_usage.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (name);
ALTER TABLE ONLY watchword_usage.admitted
    ADD CONSTRAINT admitted_pkey PRIMARY KEY (account, meter, month, grp);
ALTER TABLE ONLY watchword_usage.distinct_value
    ADD CONSTRAINT distinct_value_pkey PRIMARY KEY (account, day, meter, grp, digest);
ALTER TABLE ONLY watchword_usage.event_20787
    ADD CONSTRAINT event_20787_pkey PRIMARY KEY (key, account);
ALTER TABLE ONLY watchword_usage.group_scope
    ADD CONSTRAINT group_scope_pkey PRIMARY KEY (account, meter, month);
ALTER TABLE ONLY watchword_usage.meter
    ADD CONSTRAINT meter_pkey PRIMARY KEY (name);
ALTER TABLE ONLY watchword_usage.rollup
    ADD CONSTRAINT rollup_pkey PRIMARY KEY (account, day, meter, grp);
ALTER TABLE ONLY watchword_usage.state
    ADD CONSTRAINT state_pkey PRIMARY KEY (name);
ALTER TABLE ONLY watchword_usage.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX event_20787_time_idx ON watchword_usage.event_20787 USING brin ("time");
