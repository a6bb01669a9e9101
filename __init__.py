"""ComfyUI-ECAD: faster diffusion transformers by reusing what barely changes between steps."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
