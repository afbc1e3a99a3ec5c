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
    pid INTEGER,                               -- of the process that holds it; says who, the lock file says whether
    imported INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1)),  -- 1: found elsewhere
    UNIQUE (identity, ordinal)
) STRICT;

-- The highest ordinal of the deleted runs of an identity: an id is never given again.
CREATE TABLE deleted (
    identity TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE candidates (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    prompt_id TEXT NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON object
    op TEXT NOT NULL,
    parents TEXT NOT NULL,                     -- JSON list of prompt ids
    is_proposed INTEGER NOT NULL DEFAULT 1 CHECK (is_proposed IN (0, 1)),
    PRIMARY KEY (run, number),
    UNIQUE (run, prompt_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON object
    tokens INTEGER,                            -- what the search had spent when the prompt was first measured so
    seconds REAL,
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
    completion TEXT,                           -- JSON string: what the model wrote, behind the prediction
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
    tokens INTEGER,                            -- what the search had spent until then
    seconds REAL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE discards (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,                        -- JSON string
    reason TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- What the proposer was asked, in order, and what it replied.
CREATE TABLE requests (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    prompt TEXT NOT NULL,                      -- JSON string
    replies TEXT NOT NULL,                     -- JSON list of strings
    kind TEXT NOT NULL DEFAULT '',             -- name of the meta-prompt
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- Work that is not one search: a comparison, which is a list of runs, and whatever else has a beginning and a result.
CREATE TABLE studies (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 12 AND id NOT GLOB '*[^0-9a-f]*'),
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'paused', 'failed')),
    created REAL NOT NULL,
    updated REAL NOT NULL,
    configuration TEXT NOT NULL,               -- JSON object
    result TEXT                                -- JSON object
) STRICT;

CREATE TABLE study_runs (
    study INTEGER NOT NULL REFERENCES studies (number) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    run TEXT NOT NULL,                         -- its id; the run itself may be deleted
    PRIMARY KEY (study, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE answers (
    key BLOB PRIMARY KEY,                      -- hash of model, kind, request, sampling, seed
    kind TEXT NOT NULL,
    value BLOB NOT NULL                        -- msgpack
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
