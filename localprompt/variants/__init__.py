"""A prompt asked in other ways: families of variants that should not matter, one file each. Level 6."""
