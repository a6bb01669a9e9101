"""What `search` and `resume` are given, before there is a ComfyUI."""

from __future__ import annotations

import json

import pytest

from ecad_search import cli
from ecad_search.comfyui.connection import Connection, Refused
from ecad_search.comfyui.process import OwnComfyUI
from ecad_search.comfyui.workflow import SearchWorkflow
from ecad_search.commands.search import line_of, split_host_arguments
from ecad_search.commands.status import spoken
from ecad_search.errors import SearchError

NODES = {
    "1": {"class_type": "Loader", "inputs": {}},
    "2": {"class_type": "ECAD_Search", "inputs": {"model": ["1", 0], "images": ["3", 0]}},
    "3": {"class_type": "Number", "inputs": {"value": 7}},
    "4": {"class_type": "Save", "inputs": {"front": ["2", 0]}},
}


def error(capsys, *arguments) -> str:
    assert 1 == cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    return printed.err


def test_a_search_needs_what_is_before_it_and_nothing_after():
    workflow = SearchWorkflow.of(NODES, source="a")
    assert ("2", {"1", "2", "3"}) == (workflow.id, set(workflow.nodes))


def test_what_the_host_notes_on_a_node_that_runs_is_left_out():
    """Any node may say NaN when it is asked whether it changed, so that it always runs."""
    noted = {id: {**fields, "is_changed": [float("nan")]} for id, fields in NODES.items()}
    workflow = SearchWorkflow.of(noted, source="the graph")
    assert SearchWorkflow.of(NODES, source="the graph") == workflow
    assert workflow == SearchWorkflow.parsed(json.dumps(workflow.nodes), source="kept.json")


def test_an_override_replaces_a_link_and_what_only_that_link_needed():
    workflow = SearchWorkflow.of(NODES, source="a").changed({"images": 9})
    assert {"model": ["1", 0], "images": 9} == workflow.nodes["2"]["inputs"]
    assert {"1", "2"} == set(workflow.nodes)
    assert ["3", 0] == NODES["2"]["inputs"]["images"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a workflow"),
        ("[]", "not a workflow in API format"),
        ('{"1": {"inputs": {}}}', "not a workflow in API format"),
        (json.dumps({"nodes": [], "links": []}), "Export \\(API\\)"),
        ("{}", "has none; add it"),
        ('{"1": {"class_type": "A", "inputs": null}}', "not a workflow in API format"),
        ('{"1": {"class_type": "A", "_meta": "x"}}', "not a workflow in API format"),
        ('{"1": {"class_type": "A", "inputs": {"x": NaN}}}', "it has the number NaN"),
        ("[" * 5000, "nested too deeply"),
        (json.dumps({**NODES, "5": NODES["2"]}), r"2 of them \(2, 5\); name one of them"),
    ],
)
def test_a_file_that_is_no_workflow_of_one_search_is_refused(content, message):
    with pytest.raises(SearchError, match=message):
        SearchWorkflow.parsed(content, source="a.json")


def test_one_of_several_searches_is_named():
    assert "5" == SearchWorkflow.of({**NODES, "5": NODES["2"]}, "5", source="a").id


def test_of_searches_that_start_from_one_another_the_last_is_meant():
    after = {"class_type": "ECAD_Search", "inputs": {"start_front": ["2", 0]}}
    assert "5" == SearchWorkflow.of({**NODES, "5": after}, source="a").id
    assert "2" == SearchWorkflow.of({**NODES, "5": after}, "2", source="a").id


def test_what_follows_two_dashes_is_for_comfyui():
    given = ["search", "a.json", "--comfyui", "x", "--", "--cpu", "--", "y"]
    assert (given[:4], ["--cpu", "--", "y"]) == split_host_arguments(given)
    assert (["show", "--", "-a"], []) == split_host_arguments(["show", "--", "-a"])


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:8188", "http://localhost:8188"),
        ("http://10.0.0.1:80/comfy/", "http://10.0.0.1:80/comfy"),
        ("https://a.example", "https://a.example"),
    ],
)
def test_the_address_of_a_server(address, url):
    assert url == Connection.to(address).url


def test_a_workflow_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(json.dumps(NODES).encode("utf-8-sig"))
    assert "2" == SearchWorkflow.load(tmp_path / "a.json").id


def test_a_workflow_that_is_no_file_is_said_in_one_line(capsys, tmp_path):
    assert "is not a file" in error(capsys, "search", tmp_path, "--server", "127.0.0.1:9")
    (tmp_path / "a.json").write_bytes(b"\xff")
    message = error(capsys, "search", tmp_path / "a.json", "--server", "127.0.0.1:9")
    assert "is not UTF-8 text" in message


@pytest.mark.parametrize(
    "address",
    [
        *("", "ftp://a", "http://", "a:port", "http://a:99999"),
        *("http://[", "http://a/ä", "http://ä", "http://a b", "http://a?b", "http://a#b"),
        *("http://user:secret@a", "http://a\r\nHost: b", "file:///etc/passwd"),
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(SearchError, match="not the address of a ComfyUI"):
        Connection.to(address)


def test_a_server_that_is_not_there_is_said_in_one_line(capsys, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(NODES))
    message = error(capsys, "search", tmp_path / "a.json", "--server", "127.0.0.1:9")
    assert "No ComfyUI answers at http://127.0.0.1:9" in message
    assert "No ComfyUI answers" in error(capsys, "resume", "a", "--server", "127.0.0.1:9")


def test_a_folder_without_comfyui_is_said_in_one_line(capsys, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(NODES))
    message = error(capsys, "search", tmp_path / "a.json", "--comfyui", tmp_path)
    assert "is not a ComfyUI folder" in message


def test_a_journal_outside_of_a_results_folder_is_said_in_one_line(capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    message = error(capsys, "resume", tmp_path / "a.jsonl", "--comfyui", tmp_path)
    assert "does not lie in a folder 'ecad'" in message


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ([], "{comfyui}/output"),
        (["--base-directory", "{base}"], "{base}/output"),
        (["--base-directory={base}", "--output-directory", "{base}/a"], "{base}/a"),
    ],
)
def test_where_a_comfyui_writes(tmp_path, arguments, output):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "main.py").write_text("")
    places = {"comfyui": tmp_path / "c", "base": tmp_path / "b"}
    own = OwnComfyUI(tmp_path / "c", arguments=[a.format(**places) for a in arguments])
    assert output.format(**places) == str(own.output)


def test_what_a_server_refuses_is_one_line():
    answer = {
        "error": {"message": "outer"},
        "node_errors": {
            "7": {"class_type": "A", "errors": [{"message": "bad", "details": "a\nb"}] * 2}
        },
    }
    assert "A: bad a b" == Refused(400, json.dumps(answer).encode()).sentence
    assert "no" == Refused(400, b'{"error": {"message": "no"}}').sentence
    assert "HTTP 500" == Refused(500, b"[]").sentence


def test_the_line_of_a_search():
    data = {"generation": 2, "images": 5, "images_budget": 9, "eta_seconds": 95.0}
    assert "generation 2 · 5 of 9 images · 1:35 left" == line_of(data)
    best = {"speedup": 2.0, "quality": -0.25}
    assert line_of({**data, "best": best, "finished": True}).endswith(
        "best 2.00x at quality -0.25 · finished"
    )


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (9.6, "0:10"), (3700, "1:01:40")])
def test_times_are_spoken(seconds, text):
    assert text == spoken(seconds)
