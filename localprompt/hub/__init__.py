"""Models by name: cards, fetching, files on this machine."""
