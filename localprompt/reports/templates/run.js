// The sections of a run.
