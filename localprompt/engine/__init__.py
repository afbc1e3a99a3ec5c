"""The engine: requests as token ids in, log-probabilities and token ids out, each prefix computed once."""
