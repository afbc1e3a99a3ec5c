"""Intervals and tests of few rows. Level 2: on errors and types alone."""
