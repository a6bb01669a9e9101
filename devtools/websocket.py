"""The library's WebSocket client, without the rest of it: dev.py runs before there is numpy."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "ecad_search/comfyui/websocket.py"
NAME = "devtools._websocket"

_spec = spec_from_file_location(NAME, FILE)
assert _spec is not None and _spec.loader is not None
_module = sys.modules[NAME] = module_from_spec(_spec)
_spec.loader.exec_module(_module)

MAGIC = _module.MAGIC
WebSocket = _module.WebSocket
WebSocketClosed = _module.WebSocketClosed
