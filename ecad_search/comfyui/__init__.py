"""ComfyUI seen from outside: its HTTP API, its events, and one of our own as a child process."""
