"""The version of localprompt."""

__version__ = "0.1.0"
