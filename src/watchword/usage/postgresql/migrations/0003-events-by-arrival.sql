-- Events are in partitions by the day on which they came, so that a batch looks for its keys in the index of this
-- day and a few others, and events that are past their time go with their partition.
--
-- `received` is a day since 1970-01-01 by the server's clock. A partition is `event_DAY`, with a key of its own
-- (key, account): a key over all partitions would have `received` in it. What came before this migration is one
-- partition, `event_0`: it came before `arrivals_from`, and is looked through for whatever may have come then.
-- Gates of the release before name (key, account) in ON CONFLICT, which fails from here on: they answer 503 until
-- they are replaced, and their senders send the same again. The events are read once to attach them: about a
-- second for each million, under a lock.
--
-- depends: 0002-key-by-account

ALTER TABLE event RENAME TO event_0;

ALTER INDEX event_pkey RENAME TO event_0_pkey;

ALTER INDEX event_time RENAME TO event_0_time;

ALTER TABLE event_0 ADD COLUMN received integer NOT NULL DEFAULT 0;

CREATE TABLE event (
    received integer NOT NULL,
    key bytea NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    time bigint NOT NULL,
    data text,
    data_base64 text,
    extensions text
) PARTITION BY RANGE (received);

DO $$
DECLARE
    tomorrow integer := extract(epoch FROM clock_timestamp())::bigint / 86400 + 1;
    last_time bigint := max(time) FROM event_0;
BEGIN
    IF last_time IS NULL THEN
        DROP TABLE event_0;
    ELSE
        EXECUTE format('ALTER TABLE event ATTACH PARTITION event_0 FOR VALUES FROM (MINVALUE) TO (%s)', tomorrow);
        INSERT INTO state (name, value) VALUES
            ('arrivals_from', tomorrow::text),
            ('ahead', greatest(0, last_time / 86400000000 - tomorrow + 1)::text);
    END IF;
END $$;
