"""ECAD: component caching schedules for diffusion transformers, and the search for them."""

__version__ = "0.1.0"
