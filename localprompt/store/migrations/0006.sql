-- What the search had spent when a prompt was first measured in this way, and when something happened; NULL in runs of
-- before this was kept.
ALTER TABLE evaluations ADD COLUMN tokens INTEGER;
ALTER TABLE evaluations ADD COLUMN seconds REAL;
ALTER TABLE events ADD COLUMN tokens INTEGER;
ALTER TABLE events ADD COLUMN seconds REAL;

ALTER TABLE requests ADD COLUMN kind TEXT NOT NULL DEFAULT '';  -- name of the meta-prompt
