-- A usage file of schema version 3, with twelve events of two accounts, as the release of that schema made it.
PRAGMA application_id = 1465339733;
PRAGMA user_version = 3;
CREATE TABLE account (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO "account" VALUES('acme');
INSERT INTO "account" VALUES('umbrella');
CREATE TABLE admitted (
        account TEXT NOT NULL, meter TEXT NOT NULL, month INTEGER NOT NULL, grp TEXT NOT NULL,
        PRIMARY KEY (account, meter, month, grp)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE distinct_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp, value)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "distinct_value" VALUES('acme',20760,'users','','"u0"');
INSERT INTO "distinct_value" VALUES('acme',20760,'users','','"u2"');
INSERT INTO "distinct_value" VALUES('acme',20761,'users','','"u0"');
INSERT INTO "distinct_value" VALUES('acme',20761,'users','','"u1"');
INSERT INTO "distinct_value" VALUES('acme',20762,'users','','"u1"');
INSERT INTO "distinct_value" VALUES('acme',20762,'users','','"u2"');
INSERT INTO "distinct_value" VALUES('umbrella',20760,'users','','"u0"');
INSERT INTO "distinct_value" VALUES('umbrella',20760,'users','','"u1"');
INSERT INTO "distinct_value" VALUES('umbrella',20761,'users','','"u1"');
INSERT INTO "distinct_value" VALUES('umbrella',20761,'users','','"u2"');
INSERT INTO "distinct_value" VALUES('umbrella',20762,'users','','"u0"');
INSERT INTO "distinct_value" VALUES('umbrella',20762,'users','','"u2"');
CREATE TABLE meter (
        name TEXT NOT NULL PRIMARY KEY, definition TEXT NOT NULL,
        counted_from INTEGER NOT NULL, kept_from INTEGER NOT NULL, since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "meter" VALUES('bytes','{"name":"bytes","event_type":"cache.hit","aggregation":"sum","value":"/bytes"}',0,0,1796065229859626);
INSERT INTO "meter" VALUES('largest','{"name":"largest","event_type":"cache.hit","aggregation":"max","value":"/bytes"}',0,0,1796065229859626);
INSERT INTO "meter" VALUES('remote_cache_hits','{"name":"remote_cache_hits","event_type":"cache.hit","aggregation":"count","value":null}',0,0,1796065229859626);
INSERT INTO "meter" VALUES('users','{"name":"users","event_type":"cache.hit","aggregation":"unique_count","value":"/user"}',0,0,1796065229859626);
CREATE TABLE rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "rollup" VALUES('acme',20760,'bytes','','4');
INSERT INTO "rollup" VALUES('acme',20760,'largest','','3');
INSERT INTO "rollup" VALUES('acme',20760,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('acme',20760,'users','','2');
INSERT INTO "rollup" VALUES('acme',20761,'bytes','','12');
INSERT INTO "rollup" VALUES('acme',20761,'largest','','7');
INSERT INTO "rollup" VALUES('acme',20761,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('acme',20761,'users','','2');
INSERT INTO "rollup" VALUES('acme',20762,'bytes','','20');
INSERT INTO "rollup" VALUES('acme',20762,'largest','','11');
INSERT INTO "rollup" VALUES('acme',20762,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('acme',20762,'users','','2');
INSERT INTO "rollup" VALUES('umbrella',20760,'bytes','','6');
INSERT INTO "rollup" VALUES('umbrella',20760,'largest','','4');
INSERT INTO "rollup" VALUES('umbrella',20760,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('umbrella',20760,'users','','2');
INSERT INTO "rollup" VALUES('umbrella',20761,'bytes','','14');
INSERT INTO "rollup" VALUES('umbrella',20761,'largest','','8');
INSERT INTO "rollup" VALUES('umbrella',20761,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('umbrella',20761,'users','','2');
INSERT INTO "rollup" VALUES('umbrella',20762,'bytes','','22');
INSERT INTO "rollup" VALUES('umbrella',20762,'largest','','12');
INSERT INTO "rollup" VALUES('umbrella',20762,'remote_cache_hits','','2');
INSERT INTO "rollup" VALUES('umbrella',20762,'users','','2');
CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "state" VALUES('meters','3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021');
CREATE TABLE usage_event (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT,
        data_base64 TEXT,
        extensions TEXT
    ) STRICT;
INSERT INTO "usage_event" VALUES('/ci','e-0','cache.hit','acme',1793700000000000,'{"bytes":1,"user":"u0"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-1','cache.hit','umbrella',1793700001000000,'{"bytes":2,"user":"u1"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-2','cache.hit','acme',1793700002000000,'{"bytes":3,"user":"u2"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-3','cache.hit','umbrella',1793700003000000,'{"bytes":4,"user":"u0"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-4','cache.hit','acme',1793786400000000,'{"bytes":5,"user":"u1"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-5','cache.hit','umbrella',1793786401000000,'{"bytes":6,"user":"u2"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-6','cache.hit','acme',1793786402000000,'{"bytes":7,"user":"u0"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-7','cache.hit','umbrella',1793786403000000,'{"bytes":8,"user":"u1"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-8','cache.hit','acme',1793872800000000,'{"bytes":9,"user":"u2"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-9','cache.hit','umbrella',1793872801000000,'{"bytes":10,"user":"u0"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-10','cache.hit','acme',1793872802000000,'{"bytes":11,"user":"u1"}',NULL,NULL);
INSERT INTO "usage_event" VALUES('/ci','e-11','cache.hit','umbrella',1793872803000000,'{"bytes":12,"user":"u2"}',NULL,NULL);
CREATE UNIQUE INDEX usage_event_key ON usage_event (source, id, account);
