"""A battery of variants of one prompt: how far wording moves a model, and what chance alone gives. Level 8."""
