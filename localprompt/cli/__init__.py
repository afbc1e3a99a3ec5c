"""The command line. Level 9."""
