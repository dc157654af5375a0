-- Tokens of admin clients: what a token speaks for, and which version of its client's record it was issued for.
-- A constant default is no rewrite of the table.
--
-- depends: 0001-first

ALTER TABLE token ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'workload';
ALTER TABLE token ADD COLUMN version text COLLATE "C" NOT NULL DEFAULT '';
