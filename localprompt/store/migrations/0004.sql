ALTER TABLE outcomes ADD COLUMN completion TEXT;  -- JSON string: what the model wrote, behind the prediction

ALTER TABLE candidates ADD COLUMN is_proposed INTEGER NOT NULL DEFAULT 1 CHECK (is_proposed IN (0, 1));
UPDATE candidates SET is_proposed = 0 WHERE op IN ('seed', 'seed with demos', 'manual');

-- What the proposer was asked, in order, and what it replied.
CREATE TABLE requests (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON string
    replies TEXT NOT NULL,                     -- JSON list of strings
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
