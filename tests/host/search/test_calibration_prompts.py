"""Calibration prompts: where they come from, what is refused before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def clip(pack):
    return pack.module("nodes.host.demo_model").load_demo_model()[1]


@pytest.fixture
def node(pack):
    return pack.module("nodes.calibration_prompts").CalibrationPromptsNode


@pytest.fixture
def encode(node, clip):
    def run(**changes):
        inputs = {
            "clip": clip,
            "source": "emoji-calibration",
            "text": "",
            "file": "",
            "prompts": 3,
            "seeds_per_prompt": 2,
            "seed": 7,
            "negative": "",
            "guidance": 0.0,
        }
        with torch.inference_mode():
            return node.execute(**(inputs | changes)).args[0]

    return run


@pytest.fixture
def input_file(comfy):
    """Writes a file into the host's input folder."""
    folder = Path(comfy.folder_paths.get_input_directory())

    def write(name, text):
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


def test_a_built_in_set_is_drawn_and_encoded(encode):
    calibration = encode()
    assert 3 == len(calibration.prompts.prompts) == len(calibration.positives)
    assert 6 == len(calibration.prompts.samples)
    assert (1, 16, 96) == tuple(calibration.positives[0][0][0].shape)
    assert calibration.prompts == encode().prompts
    assert calibration.prompts.prompts != encode(seed=8).prompts.prompts


def test_custom_text_is_one_prompt_a_line(encode):
    calibration = encode(source="custom text", text="a fox\n\na pizza\na fox\n", prompts=0)
    assert ("a fox", "a pizza", "a fox") == calibration.prompts.prompts
    assert calibration.positives[0] is calibration.positives[2]


def test_a_file_of_the_input_folder_can_be_used(encode, input_file):
    input_file("mine.txt", "a fox on a green background\n")
    assert ("a fox on a green background",) == encode(
        source="file", file="mine.txt"
    ).prompts.prompts


def test_a_column_of_the_file_can_be_named(node, encode, input_file):
    input_file("mine.csv", "prompt,own\na fox,a pizza\n")
    inputs = {"source": "file", "file": "mine.csv"}
    assert ("a fox",) == encode(**inputs).prompts.prompts
    assert ("a pizza",) == encode(**inputs, column="own").prompts.prompts
    assert "expected one called 'other'" in node.validate_inputs(**inputs, column="other")


def test_every_built_in_set_is_in_the_dropdown(node, encode):
    source = next(i for i in node.define_schema().inputs if i.id == "source")
    for name in ("people", "objects", "scenes", "lettering", "styles"):
        assert name in source.options
        assert 2 == len(encode(source=name, prompts=2).prompts.prompts)


def test_an_edited_file_encodes_again(node, input_file):
    path = input_file("mine.txt", "a fox\n")
    before = node.fingerprint_inputs(source="file", file="mine.txt")
    path.write_text("a fox\na pizza\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert before != node.fingerprint_inputs(source="file", file="mine.txt")
    assert "" == node.fingerprint_inputs(source="general", file="mine.txt")


def test_guidance_is_set_only_when_asked_for(encode):
    assert "guidance" not in encode().positives[0][0][1]
    guided = encode(guidance=3.5)
    assert 3.5 == guided.positives[0][0][1]["guidance"] == guided.negative[0][1]["guidance"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"source": "custom text", "text": "  "}, "empty"),
        ({"source": "file", "file": ""}, "no file is named"),
        ({"source": "file", "file": "absent.txt"}, "no file 'absent.txt'"),
        ({"source": "file", "file": "../secret.txt"}, "ComfyUI's input folder"),
        ({"source": "file", "file": "/etc/passwd"}, "ComfyUI's input folder"),
        ({"source": "nothing"}, "expected one of"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(node, inputs, said):
    assert said in str(node.validate_inputs(**inputs))


def test_linked_inputs_are_left_to_the_run(node):
    assert node.validate_inputs(source="custom text", text=None, file=None) is True
    assert node.validate_inputs(source=None, text=None, file=None) is True


def test_the_identity_changes_with_every_choice(encode):
    texts = [
        str(encode(**changes).identity())
        for changes in ({}, {"seed": 8}, {"negative": "blurry"}, {"guidance": 2.0}, {"prompts": 4})
    ]
    assert len(texts) == len(set(texts))
