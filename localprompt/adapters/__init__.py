"""Adapters: a local model as the tools of others see one, and their models as ours. Level 9, each file an extra."""
