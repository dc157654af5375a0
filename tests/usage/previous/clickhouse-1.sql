-- A usage database of schema version 1, with twelve events of two accounts, as the release of that schema made
-- it: each INSERT into `event` and `meter_change` is one block of its own, in their order.
CREATE DATABASE watchword_usage;
CREATE TABLE watchword_usage.account
(
    `name` String
)
ENGINE = ReplacingMergeTree
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192;
CREATE TABLE watchword_usage.admission
(
    `account` String,
    `meter` String,
    `month` Int32,
    `grp` String
)
ENGINE = MergeTree
ORDER BY (account, meter, month)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192;
CREATE TABLE watchword_usage.amount
(
    `account` String,
    `meter` String,
    `day` Int32,
    `grp` String,
    `seq` UInt64,
    `amount` Decimal(76, 30)
)
ENGINE = ReplacingMergeTree
PARTITION BY intDiv(seq, 256)
ORDER BY (account, meter, day, grp, seq)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;
CREATE TABLE watchword_usage.distinct_value
(
    `account` String,
    `meter` String,
    `day` Int32,
    `grp` String,
    `value` String
)
ENGINE = ReplacingMergeTree
ORDER BY (account, meter, day, grp, value)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;
CREATE TABLE watchword_usage.event
(
    `key` FixedString(20),
    `source` String,
    `id` String,
    `batch` UUID,
    `type` LowCardinality(String),
    `account` String,
    `time` Int64,
    `data` Nullable(String),
    `data_base64` Nullable(String),
    `extensions` Nullable(String)
)
ENGINE = MergeTree
ORDER BY key
SETTINGS index_granularity = 512, enable_block_number_column = 1, enable_block_offset_column = 1, fsync_after_insert = 1, fsync_part_directory = 1;
CREATE TABLE watchword_usage.mark
(
    `name` String,
    `value` Int64,
    `at` DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192;
CREATE TABLE watchword_usage.meter_change
(
    `change` UUID,
    `digest` String,
    `meters` String,
    `ready` UInt8
)
ENGINE = MergeTree
ORDER BY change
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192;
CREATE TABLE watchword_usage.rollup
(
    `account` String,
    `meter` String,
    `day` Int32,
    `grp` String,
    `amount` Decimal(76, 30),
    `upto` UInt64
)
ENGINE = ReplacingMergeTree(upto)
ORDER BY (account, meter, day, grp)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;
INSERT INTO watchword_usage.account VALUES ('acme'),
    ('umbrella');
INSERT INTO watchword_usage.amount VALUES ('','',0,'',2,0),
    ('acme','count-0227d544001f453dbfc5f8cf973737c9',20761,'',2,2),
    ('acme','max-70ac97953b494fee8c30d07abe737fc5',20761,'',2,7),
    ('acme','sum-a2899fe756fb4f27be87bc18b6a44376',20761,'',2,12),
    ('umbrella','count-0227d544001f453dbfc5f8cf973737c9',20761,'',2,2),
    ('umbrella','max-70ac97953b494fee8c30d07abe737fc5',20761,'',2,8),
    ('umbrella','sum-a2899fe756fb4f27be87bc18b6a44376',20761,'',2,14),
    ('','',0,'',1,0),
    ('acme','count-0227d544001f453dbfc5f8cf973737c9',20760,'',1,2),
    ('acme','max-70ac97953b494fee8c30d07abe737fc5',20760,'',1,3),
    ('acme','sum-a2899fe756fb4f27be87bc18b6a44376',20760,'',1,4),
    ('umbrella','count-0227d544001f453dbfc5f8cf973737c9',20760,'',1,2),
    ('umbrella','max-70ac97953b494fee8c30d07abe737fc5',20760,'',1,4),
    ('umbrella','sum-a2899fe756fb4f27be87bc18b6a44376',20760,'',1,6),
    ('','',0,'',3,0),
    ('acme','count-0227d544001f453dbfc5f8cf973737c9',20762,'',3,2),
    ('acme','max-70ac97953b494fee8c30d07abe737fc5',20762,'',3,11),
    ('acme','sum-a2899fe756fb4f27be87bc18b6a44376',20762,'',3,20),
    ('umbrella','count-0227d544001f453dbfc5f8cf973737c9',20762,'',3,2),
    ('umbrella','max-70ac97953b494fee8c30d07abe737fc5',20762,'',3,12),
    ('umbrella','sum-a2899fe756fb4f27be87bc18b6a44376',20762,'',3,22);
INSERT INTO watchword_usage.distinct_value VALUES ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20761,'','"u0"'),
    ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20761,'','"u1"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20761,'','"u1"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20761,'','"u2"'),
    ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20760,'','"u0"'),
    ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20760,'','"u2"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20760,'','"u0"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20760,'','"u1"'),
    ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20762,'','"u1"'),
    ('acme','unique_count-aef19f5689e14d2bba25540e8d437636',20762,'','"u2"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20762,'','"u0"'),
    ('umbrella','unique_count-aef19f5689e14d2bba25540e8d437636',20762,'','"u2"');
INSERT INTO watchword_usage.event VALUES (unhex('65BCEB04647B6C3DCCCA908A31D3D716D34D856B'),'/ci','e-3','d9c46cae-24c2-4bdd-a4ac-20732e9c5055','cache.hit','umbrella',1793700003000000,'{"bytes":4,"user":"u0"}',NULL,NULL),
    (unhex('B71C6487CBA005215651E662390BA41AC6508ED6'),'/ci','e-2','d9c46cae-24c2-4bdd-a4ac-20732e9c5055','cache.hit','acme',1793700002000000,'{"bytes":3,"user":"u2"}',NULL,NULL),
    (unhex('BD78D577523647A5796B02B6F667EE945FF37596'),'/ci','e-0','d9c46cae-24c2-4bdd-a4ac-20732e9c5055','cache.hit','acme',1793700000000000,'{"bytes":1,"user":"u0"}',NULL,NULL),
    (unhex('E598D46D4E3BADF91703188AFDEEE56E776CB738'),'/ci','e-1','d9c46cae-24c2-4bdd-a4ac-20732e9c5055','cache.hit','umbrella',1793700001000000,'{"bytes":2,"user":"u1"}',NULL,NULL);
INSERT INTO watchword_usage.event VALUES (unhex('2936EFC27A2AA099C3BA5E97D0914026A86DF1D4'),'/ci','e-7','69b83e85-ba48-4351-bd3d-c735a7d383f1','cache.hit','umbrella',1793786403000000,'{"bytes":8,"user":"u1"}',NULL,NULL),
    (unhex('536931594A82669103BA2634B12A29E4108B482B'),'/ci','e-4','69b83e85-ba48-4351-bd3d-c735a7d383f1','cache.hit','acme',1793786400000000,'{"bytes":5,"user":"u1"}',NULL,NULL),
    (unhex('8613C720F5FCF6D211E31B794C1BE2CEA9CD12B2'),'/ci','e-5','69b83e85-ba48-4351-bd3d-c735a7d383f1','cache.hit','umbrella',1793786401000000,'{"bytes":6,"user":"u2"}',NULL,NULL),
    (unhex('C1905543C05024A598110AEF5C381CF0A97CE854'),'/ci','e-6','69b83e85-ba48-4351-bd3d-c735a7d383f1','cache.hit','acme',1793786402000000,'{"bytes":7,"user":"u0"}',NULL,NULL);
INSERT INTO watchword_usage.event VALUES (unhex('29C017C29ED3745700A2E354DA5C8CCDAB0DE82D'),'/ci','e-8','705025ea-be18-48de-ae55-09ecd273fc02','cache.hit','acme',1793872800000000,'{"bytes":9,"user":"u2"}',NULL,NULL),
    (unhex('C4627AF483977DAE7A9FB3C28445653804C4667A'),'/ci','e-11','705025ea-be18-48de-ae55-09ecd273fc02','cache.hit','umbrella',1793872803000000,'{"bytes":12,"user":"u2"}',NULL,NULL),
    (unhex('C745259EFA011FD40744DB8FA26803E2EDBE3CC6'),'/ci','e-10','705025ea-be18-48de-ae55-09ecd273fc02','cache.hit','acme',1793872802000000,'{"bytes":11,"user":"u1"}',NULL,NULL),
    (unhex('D94E2F7887569952F1B4F979A24B1FD4EFF12425'),'/ci','e-9','705025ea-be18-48de-ae55-09ecd273fc02','cache.hit','umbrella',1793872801000000,'{"bytes":10,"user":"u0"}',NULL,NULL);
INSERT INTO watchword_usage.mark VALUES ('schema',1,'2026-11-28 20:45:34');
INSERT INTO watchword_usage.meter_change VALUES ('49f6e49d-3346-4e63-8a26-80479e315435','3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021','[{"definition":"{\\"name\\":\\"bytes\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"sum\\",\\"value\\":\\"/bytes\\"}","place":"sum-a2899fe756fb4f27be87bc18b6a44376","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"largest\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"max\\",\\"value\\":\\"/bytes\\"}","place":"max-70ac97953b494fee8c30d07abe737fc5","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"remote_cache_hits\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"count\\",\\"value\\":null}","place":"count-0227d544001f453dbfc5f8cf973737c9","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"users\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"unique_count\\",\\"value\\":\\"/user\\"}","place":"unique_count-aef19f5689e14d2bba25540e8d437636","counted_from":0,"since":1795898734289695}]',0);
INSERT INTO watchword_usage.meter_change VALUES ('49f6e49d-3346-4e63-8a26-80479e315435','3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021','[{"definition":"{\\"name\\":\\"bytes\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"sum\\",\\"value\\":\\"/bytes\\"}","place":"sum-a2899fe756fb4f27be87bc18b6a44376","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"largest\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"max\\",\\"value\\":\\"/bytes\\"}","place":"max-70ac97953b494fee8c30d07abe737fc5","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"remote_cache_hits\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"count\\",\\"value\\":null}","place":"count-0227d544001f453dbfc5f8cf973737c9","counted_from":0,"since":1795898734289695},{"definition":"{\\"name\\":\\"users\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"unique_count\\",\\"value\\":\\"/user\\"}","place":"unique_count-aef19f5689e14d2bba25540e8d437636","counted_from":0,"since":1795898734289695}]',1);
