"""The version of this distribution, read by the build and by `heroctl version`."""

__version__ = "0.1.0"
