"""ECAD: component caching schedules for diffusion transformers, and the search for them."""

from . import architectures as _architectures  # noqa: F401  (core learns of the known transformers)

__version__ = "0.1.0"
