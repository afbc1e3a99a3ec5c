"""The command line. Level 8."""
