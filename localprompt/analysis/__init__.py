"""What scores say: intervals, differences, tests. Level 6."""
