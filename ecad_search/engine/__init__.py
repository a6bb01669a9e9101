"""Reusing component outputs while a transformer samples. Needs torch, knows nothing of ComfyUI."""
