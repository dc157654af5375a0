-- An event is known by its account, source and id: one tenant's ids are no other's.
--
-- `key` stays the digest of source and id; the account is next to it in the key. Gates of the release before
-- name `key` alone in ON CONFLICT, which fails from here on: they answer 503 until they are replaced, and their
-- senders send the same again. The index is built again under a lock: some seconds for each million events.
--
-- depends: 0001-first

ALTER TABLE event DROP CONSTRAINT event_pkey;

ALTER TABLE event ADD PRIMARY KEY (key, account);
