"""The node that loads a demo model shipped with the pack."""

from __future__ import annotations

from comfy_api.latest import io

from .host.schema import schema

EMOJI_PIXART = "Emoji-PixArt (96 px, 10 blocks)"
KINDS = {EMOJI_PIXART: "pixart", "Emoji-FLUX (96 px, 3 + 6 blocks)": "flux"}


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_DemoModel",
            display_name="ECAD Demo Model",
            category="ECAD",
            description=(
                "A tiny but real text-to-image model that comes with the pack: ComfyUI's own "
                "PixArt or FLUX class, trained on emoji. Prompt it with "
                "'<thing> on a <colour> background'."
            ),
            search_aliases=["emoji", "demo", "example checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=list(KINDS),
                    default=EMOJI_PIXART,
                    tooltip="Which demo model to load. All of them are part of the pack.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The diffusion transformer, PixArt or FLUX, for 96 px."),
                io.Clip.Output(tooltip="The text encoder; knows some 700 words around its emoji."),
                io.Vae.Output(tooltip="The tiny VAE between 96 px pictures and latents."),
            ],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        from .host.demo_model import load_demo_model

        return io.NodeOutput(*load_demo_model(KINDS[model_name]))
