"""The menu: every node of the pack, listed by hand."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .demo_model import LoadDemoModel
from .host.paths import register_schedule_folder

# In the order of their use. Ids never change: saved workflows name them.
MENU: list[type[io.ComfyNode]] = [
    LoadDemoModel,
]


class EcadExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return MENU


async def comfy_entrypoint() -> ComfyExtension:
    register_schedule_folder()  # before any node's schema lists the folder
    return EcadExtension()
