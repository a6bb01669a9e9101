"""What `dev.py` is made of: set-up of a development ComfyUI and runs on it. Stdlib only."""
