ALTER TABLE runs ADD COLUMN imported INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1));  -- 1: found elsewhere

-- The highest ordinal of the deleted runs of an identity: an id is never given again.
CREATE TABLE deleted (
    identity TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
