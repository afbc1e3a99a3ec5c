"""Several methods on several tasks with the same budget: planned, carried out, told."""
