"""A run: how it is set up, estimated, carried out, resumed and told."""
