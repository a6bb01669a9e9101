"""The adapter to ComfyUI: everything that knows how the host samples, loads and shows things."""
