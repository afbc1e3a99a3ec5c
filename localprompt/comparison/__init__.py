"""Several methods on several tasks with the same budget, and prompts on several models."""
