-- Agents that came by a provider: whose, for which of its subjects (a digest), and within which scopes.
--
-- depends: 0003-agents

ALTER TABLE agent ADD COLUMN provider text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN origin text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE agent ADD COLUMN scope text COLLATE "C" NOT NULL DEFAULT '';

CREATE INDEX agent_origin ON agent (origin) WHERE origin <> '';
CREATE UNIQUE INDEX agent_link ON agent (origin) WHERE origin <> '' AND state = 'claimed';
