ALTER TABLE runs ADD COLUMN pid INTEGER;       -- of the process that holds the run; says who, the lock file says whether

CREATE TABLE discards (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,                        -- JSON string
    reason TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- No reference to answers: checking it would need an index on keys, as large as the table.
CREATE TABLE run_answers (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key BLOB NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

-- Answers that came with an imported run serve that run alone: nobody can tell here whether they are true.
CREATE TABLE imported_answers (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key BLOB NOT NULL,
    kind TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
