-- A usage database of schema version 3, with twelve events of two accounts, as the release of that schema made
-- it: each INSERT into `event_log` and `meter_change` is one block of its own, in their order.
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
CREATE TABLE watchword_usage.event_log
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
CREATE TABLE watchword_usage.noted_key
(
    `key` UInt64,
    `token` UInt64,
    `day` Int32
)
ENGINE = MergeTree
ORDER BY key
SETTINGS index_granularity = 256, min_compress_block_size = 4096, max_compress_block_size = 16384, fsync_after_insert = 1, fsync_part_directory = 1;
INSERT INTO watchword_usage.account VALUES ('acme'),
    ('umbrella');
INSERT INTO watchword_usage.amount VALUES ('','',0,'',1,0),
    ('','',0,'',2,0),
    ('','',0,'',3,0),
    ('acme','count-0360de4310ea4e0d9eab0488751887b9',20760,'',1,2),
    ('acme','count-0360de4310ea4e0d9eab0488751887b9',20761,'',2,2),
    ('acme','count-0360de4310ea4e0d9eab0488751887b9',20762,'',3,2),
    ('acme','max-29baf7e376cf4ce792fd06d6b8dfb61a',20760,'',1,3),
    ('acme','max-29baf7e376cf4ce792fd06d6b8dfb61a',20761,'',2,7),
    ('acme','max-29baf7e376cf4ce792fd06d6b8dfb61a',20762,'',3,11),
    ('acme','sum-dce12fb5568c4c75b5a77042400293fa',20760,'',1,4),
    ('acme','sum-dce12fb5568c4c75b5a77042400293fa',20761,'',2,12),
    ('acme','sum-dce12fb5568c4c75b5a77042400293fa',20762,'',3,20),
    ('umbrella','count-0360de4310ea4e0d9eab0488751887b9',20760,'',1,2),
    ('umbrella','count-0360de4310ea4e0d9eab0488751887b9',20761,'',2,2),
    ('umbrella','count-0360de4310ea4e0d9eab0488751887b9',20762,'',3,2),
    ('umbrella','max-29baf7e376cf4ce792fd06d6b8dfb61a',20760,'',1,4),
    ('umbrella','max-29baf7e376cf4ce792fd06d6b8dfb61a',20761,'',2,8),
    ('umbrella','max-29baf7e376cf4ce792fd06d6b8dfb61a',20762,'',3,12),
    ('umbrella','sum-dce12fb5568c4c75b5a77042400293fa',20760,'',1,6),
    ('umbrella','sum-dce12fb5568c4c75b5a77042400293fa',20761,'',2,14),
    ('umbrella','sum-dce12fb5568c4c75b5a77042400293fa',20762,'',3,22);
INSERT INTO watchword_usage.distinct_value VALUES ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20760,'','"u0"'),
    ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20760,'','"u2"'),
    ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20761,'','"u0"'),
    ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20761,'','"u1"'),
    ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20762,'','"u1"'),
    ('acme','unique_count-20e1859194be46d4a7cd288e202c5215',20762,'','"u2"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20760,'','"u0"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20760,'','"u1"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20761,'','"u1"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20761,'','"u2"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20762,'','"u0"'),
    ('umbrella','unique_count-20e1859194be46d4a7cd288e202c5215',20762,'','"u2"');
INSERT INTO watchword_usage.mark VALUES ('schema',3,'2026-11-29 14:49:32');
INSERT INTO watchword_usage.meter_change VALUES ('ca982fa4-5737-4780-8e95-be260f509266','3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021','[{"definition":"{\\"name\\":\\"bytes\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"sum\\",\\"value\\":\\"/bytes\\"}","place":"sum-dce12fb5568c4c75b5a77042400293fa","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"largest\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"max\\",\\"value\\":\\"/bytes\\"}","place":"max-29baf7e376cf4ce792fd06d6b8dfb61a","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"remote_cache_hits\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"count\\",\\"value\\":null}","place":"count-0360de4310ea4e0d9eab0488751887b9","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"users\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"unique_count\\",\\"value\\":\\"/user\\"}","place":"unique_count-20e1859194be46d4a7cd288e202c5215","counted_from":0,"since":1795963772920292}]',0);
INSERT INTO watchword_usage.meter_change VALUES ('ca982fa4-5737-4780-8e95-be260f509266','3123abccf77b5eba0feb1e46c6cda7377540068a674daca1ae0b7b7f2484f021','[{"definition":"{\\"name\\":\\"bytes\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"sum\\",\\"value\\":\\"/bytes\\"}","place":"sum-dce12fb5568c4c75b5a77042400293fa","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"largest\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"max\\",\\"value\\":\\"/bytes\\"}","place":"max-29baf7e376cf4ce792fd06d6b8dfb61a","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"remote_cache_hits\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"count\\",\\"value\\":null}","place":"count-0360de4310ea4e0d9eab0488751887b9","counted_from":0,"since":1795963772920292},{"definition":"{\\"name\\":\\"users\\",\\"event_type\\":\\"cache.hit\\",\\"aggregation\\":\\"unique_count\\",\\"value\\":\\"/user\\"}","place":"unique_count-20e1859194be46d4a7cd288e202c5215","counted_from":0,"since":1795963772920292}]',1);
INSERT INTO watchword_usage.event_log VALUES (unhex('35DAAC4EAAD30AA7E39B2C1EEE9DC41E5AF4C073'),'/ci','e-1','53b19307-6b30-46ee-820f-a192cfc7163d','cache.hit','umbrella',1793700001000000,'{"bytes":2,"user":"u1"}',NULL,NULL),
    (unhex('460EE621C4467F5D1D8A3F955AB50AAD53663B10'),'/ci','e-3','53b19307-6b30-46ee-820f-a192cfc7163d','cache.hit','umbrella',1793700003000000,'{"bytes":4,"user":"u0"}',NULL,NULL),
    (unhex('53EA4AD788BDBAB9D14DD4349F3E69F08E69544F'),'/ci','e-0','53b19307-6b30-46ee-820f-a192cfc7163d','cache.hit','acme',1793700000000000,'{"bytes":1,"user":"u0"}',NULL,NULL),
    (unhex('CC497A28329DA3EF5DCA92C89B92CAD00082CD2E'),'/ci','e-2','53b19307-6b30-46ee-820f-a192cfc7163d','cache.hit','acme',1793700002000000,'{"bytes":3,"user":"u2"}',NULL,NULL);
INSERT INTO watchword_usage.event_log VALUES (unhex('10C904F93F73AE4154F658FE6D184E3C12C6E448'),'/ci','e-7','306ebe49-490e-418b-8b3e-0fe0ab9c01a6','cache.hit','umbrella',1793786403000000,'{"bytes":8,"user":"u1"}',NULL,NULL),
    (unhex('5F4B104A1B820A9A5DA91E0DCF4BC89FA54142DA'),'/ci','e-6','306ebe49-490e-418b-8b3e-0fe0ab9c01a6','cache.hit','acme',1793786402000000,'{"bytes":7,"user":"u0"}',NULL,NULL),
    (unhex('7D286A8B1915C3541219B190018D77EEBBC2ABA1'),'/ci','e-4','306ebe49-490e-418b-8b3e-0fe0ab9c01a6','cache.hit','acme',1793786400000000,'{"bytes":5,"user":"u1"}',NULL,NULL),
    (unhex('D7DE800224E1D7A254B1390C56F89620CE3BF132'),'/ci','e-5','306ebe49-490e-418b-8b3e-0fe0ab9c01a6','cache.hit','umbrella',1793786401000000,'{"bytes":6,"user":"u2"}',NULL,NULL);
INSERT INTO watchword_usage.event_log VALUES (unhex('4CAF6B0D3934A5257792E9DFB1B3D4D2C47BC974'),'/ci','e-8','d454a565-d83b-4afa-aefc-db02a3d50f7d','cache.hit','acme',1793872800000000,'{"bytes":9,"user":"u2"}',NULL,NULL),
    (unhex('6B34B74A1C45CAADCE336FDB1E1337ACB6D92546'),'/ci','e-9','d454a565-d83b-4afa-aefc-db02a3d50f7d','cache.hit','umbrella',1793872801000000,'{"bytes":10,"user":"u0"}',NULL,NULL),
    (unhex('A9BD0D77C5782A2C5320E88189234D693FD8F804'),'/ci','e-10','d454a565-d83b-4afa-aefc-db02a3d50f7d','cache.hit','acme',1793872802000000,'{"bytes":11,"user":"u1"}',NULL,NULL),
    (unhex('C73E486A72EACC5A1968E4CCDE369CFF72DEDB77'),'/ci','e-11','d454a565-d83b-4afa-aefc-db02a3d50f7d','cache.hit','umbrella',1793872803000000,'{"bytes":12,"user":"u2"}',NULL,NULL);
INSERT INTO watchword_usage.noted_key VALUES (3880603482806487719,7000020761,20760),
    (5048225265030168413,7000020761,20760),
    (6046727739270871737,7000020761,20760),
    (14720431170103649263,7000020761,20760);
INSERT INTO watchword_usage.noted_key VALUES (1209503443483602497,7000020762,20761),
    (6866599967331584666,7000020762,20761),
    (9018575399463273300,7000020762,20761),
    (15555010909681342370,7000020762,20761);
INSERT INTO watchword_usage.noted_key VALUES (5525752972345386277,7000020763,20762),
    (7725000789777042093,7000020763,20762),
    (12230946971073391148,7000020763,20762),
    (14356992284135443546,7000020763,20762);
