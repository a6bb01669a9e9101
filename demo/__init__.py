"""The embedded default: tiny but real models, the script that trained them, its workflow."""
