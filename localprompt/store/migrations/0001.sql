-- Free text is kept as JSON strings in ASCII: models and data hold lone surrogates, which SQLite's UTF-8 cannot.
PRAGMA application_id = 0x6c707374;

CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation; a deleted run's number is not given again
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 12 AND id NOT GLOB '*[^0-9a-f]*'),
    identity TEXT NOT NULL,                    -- SHA-256 of what makes two runs the same
    ordinal INTEGER NOT NULL,                  -- among runs with this identity
    status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'paused', 'failed')),
    created REAL NOT NULL,
    updated REAL NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    proposer TEXT NOT NULL,
    method TEXT NOT NULL,
    seed TEXT NOT NULL,                        -- a Python integer of any length
    configuration TEXT NOT NULL,               -- JSON object
    result TEXT,                               -- JSON object
    stopped TEXT NOT NULL,
    UNIQUE (identity, ordinal)
) STRICT;

CREATE TABLE candidates (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    prompt_id TEXT NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON object
    op TEXT NOT NULL,
    parents TEXT NOT NULL,                     -- JSON list of prompt ids
    PRIMARY KEY (run, number),
    UNIQUE (run, prompt_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON object
    PRIMARY KEY (run, number),
    UNIQUE (run, kind, prompt_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (
    run INTEGER NOT NULL,
    evaluation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    example_id TEXT NOT NULL,
    prediction TEXT,                           -- JSON string
    score REAL NOT NULL,
    margin REAL,
    PRIMARY KEY (run, evaluation, number),
    UNIQUE (run, evaluation, example_id),
    FOREIGN KEY (run, evaluation) REFERENCES evaluations (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,                        -- JSON string
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE answers (
    key BLOB PRIMARY KEY,                      -- hash of model, kind, request, sampling, seed
    kind TEXT NOT NULL,
    value BLOB NOT NULL                        -- msgpack
) STRICT, WITHOUT ROWID;
