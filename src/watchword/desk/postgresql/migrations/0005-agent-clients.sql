-- Which client of its provider an agent is, and by which key that was said; one link a client.
--
-- depends: 0004-agent-providers

ALTER TABLE agent ADD COLUMN client text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN signed_by text COLLATE "C" NOT NULL DEFAULT '';

DROP INDEX agent_link;
CREATE UNIQUE INDEX agent_link ON agent (origin, client) WHERE origin <> '' AND state = 'claimed';
DROP INDEX agent_waiting;
CREATE INDEX agent_waiting ON agent (kind, provider) WHERE state = 'unclaimed';
