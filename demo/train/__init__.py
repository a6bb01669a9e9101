"""Trains the demo models. See demo/README.md."""
