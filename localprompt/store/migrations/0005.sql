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

-- Before, each run of a comparison named it in its configuration, with its place and the number of all runs.
CREATE TEMPORARY TABLE tags AS
    SELECT tag.key AS id, json_extract(tag.value, '$[0]') AS place, json_extract(tag.value, '$[1]') AS size,
        runs.id AS run, runs.created, runs.updated
    FROM runs, json_each(CASE WHEN json_valid(configuration) THEN json_extract(configuration, '$.comparisons') END) AS tag
    WHERE NOT runs.imported AND tag.type = 'array' AND length(tag.key) = 12 AND tag.key NOT GLOB '*[^0-9a-f]*'
        AND typeof(json_extract(tag.value, '$[0]')) = 'integer' AND typeof(json_extract(tag.value, '$[1]')) = 'integer';
INSERT INTO studies (id, kind, status, created, updated, configuration)
    SELECT id, 'comparison', 'paused', min(created), max(updated), json_object('n_runs', max(size))
    FROM tags GROUP BY id ORDER BY min(created), id;
INSERT OR IGNORE INTO study_runs (study, place, run)
    SELECT studies.number, place, run FROM tags JOIN studies ON studies.id = tags.id;
DROP TABLE tags;
