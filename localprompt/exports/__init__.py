"""Exports: a found prompt in the forms that other programs take, each with what it must render to. Level 9."""
