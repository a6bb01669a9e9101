"""The benchmarks of `dev.py bench`: each is a module that is run in the development environment."""

from __future__ import annotations

# Name -> module. It is started as `python -m MODULE ARGUMENTS` in the repository's root, with the
# variable COMFYUI_PATH; it reads its own arguments.
BENCHMARKS = {
    "bookkeeping": "devtools.bench_bookkeeping",
    "claims": "devtools.bench_claims",
    "engine": "devtools.bench_engine",
    "forecast": "devtools.bench_forecast",
    "import": "devtools.bench_import",
    "latency": "devtools.bench_latency",
    "peers": "devtools.bench_peers",
    "quick": "devtools.bench_quick",
    "search": "devtools.bench_search",
    "workers": "devtools.bench_workers",
}
