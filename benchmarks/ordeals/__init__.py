"""What `reliability.py` puts the project through, one file an ordeal."""
