"""The command line. Level 10."""
