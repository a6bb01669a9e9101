"""The node that chooses and encodes the prompts a schedule is judged on."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..ecad_search.calibration import (
    BUILTIN_SETS,
    CalibrationPrompts,
    builtin_prompts,
)
from ..ecad_search.errors import EcadError, PromptSetError
from ..ecad_search.prompt_files import load_prompts
from .host.fingerprint import model_fingerprint
from .host.paths import input_path
from .host.progress import NodeProgress
from .host.rendering import EncodedCalibration
from .host.schema import schema
from .types import CalibrationType

CUSTOM, FILE = "custom text", "file"
SOURCES = [*BUILTIN_SETS, CUSTOM, FILE]


class CalibrationPromptsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ECAD_CalibrationPrompts",
            display_name="ECAD Calibration Prompts",
            category="ECAD",
            description=(
                "The prompts and seeds that schedules are judged on, encoded. 16 to 64 samples "
                "tell schedules apart; compare the result on other prompts than it was found on."
            ),
            search_aliases=["prompt set", "calibration", "held-out", "dataset"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.Combo.Input(
                    "source",
                    options=SOURCES,
                    default=BUILTIN_SETS[0],
                    tooltip=(
                        "A built-in set (emoji: for the demo model; the others: for real ones), "
                        "the text below, or a file in ComfyUI's input folder."
                    ),
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="One prompt a line, or a JSON list. For the source 'custom text'.",
                ),
                io.String.Input(
                    "file",
                    default="",
                    tooltip=(
                        "A file in ComfyUI's input folder, for the source 'file': one prompt a "
                        "line, a table with a header line, or JSON, as PartiPrompts, DrawBench, "
                        "ImageReward, MJHQ-30K and COCO captions are published."
                    ),
                ),
                io.Int.Input(
                    "prompts",
                    default=16,
                    min=0,
                    max=100_000,
                    tooltip="How many prompts to draw from the source, by the seed. 0 takes all.",
                ),
                io.Int.Input(
                    "seeds_per_prompt",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Pictures for each prompt. More prompts tell more than more seeds.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,  # a new seed would be a new search
                    tooltip="Chooses the prompts and the noise of every sample.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    tooltip="Negative prompt of every sample; use the one you generate with.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    optional=True,
                    tooltip="Guidance of models that take it as an input (FLUX: 3.5). 0 sets none.",
                ),
                io.String.Input(
                    "column",
                    default="",
                    optional=True,
                    tooltip=(
                        "Column of the file's table, or key of its JSON objects, that holds the "
                        "prompts. Empty: the one called prompt, prompts, caption or text."
                    ),
                ),
            ],
            outputs=[
                CalibrationType.Output(
                    display_name="calibration",
                    tooltip="For ECAD Search and ECAD Compare Schedules.",
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        source: str | None = None,
        text: str | None = None,
        file: str | None = None,
        column: str | None = "",
    ) -> bool | str:
        if source is not None and source not in SOURCES:
            return f"There is no prompt source '{source}', expected one of {', '.join(SOURCES)}."
        if source == CUSTOM and text is not None and not text.strip():
            return "The source is 'custom text', but the text is empty; write one prompt a line."
        if source == FILE and file is not None and column is not None:
            try:
                load_prompts(existing(file), column=column)
            except EcadError as error:
                return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: str | None = None, file: str | None = None, **_: Any):
        """An edited prompt file encodes again."""
        if source != FILE or not file:
            return ""
        try:
            status = input_path(file).stat()
        except (OSError, EcadError):
            return ""
        return f"{status.st_mtime_ns} {status.st_size}"

    @classmethod
    def execute(
        cls,
        clip: Any,
        source: str,
        text: str,
        file: str,
        prompts: int,
        seeds_per_prompt: int,
        seed: int,
        negative: str,
        guidance: float = 0.0,
        column: str = "",
    ) -> io.NodeOutput:
        if source == CUSTOM:
            texts = load_prompts(text)
        elif source == FILE:
            texts = load_prompts(existing(file), column=column)
        else:
            texts = builtin_prompts(source)
        name = file if source == FILE else source
        calibration = CalibrationPrompts(texts, seeds_per_prompt, seed, name)
        if prompts:
            calibration = calibration.drawn(min(prompts, len(texts)), seed=seed)
        progress = NodeProgress(
            cls.hidden.unique_id if cls.hidden else None, len(calibration.prompts) + 1
        )
        return io.NodeOutput(encode(clip, calibration, negative, guidance, progress))


def existing(file: str) -> Any:
    if not file.strip():
        raise PromptSetError(
            "The source is 'file', but no file is named; put a prompt file into ComfyUI's input "
            "folder and write its name."
        )
    path = input_path(file)
    if not path.is_file():
        raise PromptSetError(
            f"There is no file '{file}' in ComfyUI's input folder; put the prompt file there."
        )
    return path


def encode(
    clip: Any,
    calibration: CalibrationPrompts,
    negative: str,
    guidance: float,
    progress: NodeProgress,
) -> EncodedCalibration:
    """Every prompt once; a repeated prompt is encoded once."""
    known: dict[str, list] = {}

    def conditioning(text: str) -> list:
        if text not in known:
            encoded = clip.encode_from_tokens_scheduled(clip.tokenize(text))
            if guidance:
                encoded = [[state, {**rest, "guidance": guidance}] for state, rest in encoded]
            known[text] = encoded
        return known[text]

    positives = []
    for done, prompt in enumerate(calibration.prompts):
        progress.update(done)
        positives.append(conditioning(prompt))
    encoded_negative = conditioning(negative)
    progress.update(progress.total)
    return EncodedCalibration(
        prompts=calibration,
        positives=tuple(positives),
        negative=encoded_negative,
        negative_text=negative,
        guidance=guidance,
        clip=model_fingerprint(clip.patcher),
    )
