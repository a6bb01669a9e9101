"""Where a search stands is told to a page that has not seen it, cancelled or not."""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

WORKFLOW = "0e4c8fd4-6c1e-4a0f-9b4c-2d8a64a3f001"
NODE = "4:7"


@pytest.fixture
def snapshots(pack):
    return pack.module("nodes.host.search_snapshots")


@pytest.fixture
def kept(pack, snapshots, monkeypatch):
    """The snapshots of a server that has just started."""
    fresh = snapshots.SearchSnapshots()
    monkeypatch.setattr(snapshots, "SNAPSHOTS", fresh)
    monkeypatch.setattr(pack.module("nodes.search"), "SNAPSHOTS", fresh)
    return fresh


@pytest.fixture
def queued(pack, search, monkeypatch):
    """Runs the node as a page queues it, with its hidden inputs."""
    hidden = SimpleNamespace(
        unique_id=NODE, prompt={}, extra_pnginfo={"workflow": {"id": WORKFLOW}}
    )
    monkeypatch.setattr(pack.module("nodes.search").SearchNode, "hidden", hidden, raising=False)
    return search


@pytest.fixture
def asked(snapshots, monkeypatch):
    """What the route answers, over HTTP."""
    table = web.RouteTableDef()
    running = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(routes=table)))

    def ask(workflow):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "server", running)
            if not len(table):
                snapshots.add_searches_route()

        async def get():
            app = web.Application()
            app.add_routes(table)
            async with TestClient(TestServer(app)) as client:
                answer = await client.get("/ecad/searches", params={"workflow": workflow})
                return await answer.json()

        return asyncio.run(get())["searches"]

    return ask


def cancelling(comfy, scorer, after):
    class Cancelling(scorer):
        def score(self, images, prompts, references=None):
            if self.scored >= after:
                comfy.model_management.interrupt_current_processing()
            return super().score(images, prompts, references)

    return Cancelling()


def test_a_cancelled_search_is_told_with_the_schedules_it_had_found(
    comfy, kept, queued, asked, test_scorer
):
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            queued(scorer=cancelling(comfy, test_scorer, 10))
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert {} == asked("another workflow")
    told = asked(WORKFLOW)[NODE]
    assert not told["finished"]
    assert 0 < told["images"] < told["images_budget"]
    assert [] == [point for point in told["front"]["points"] if not point["compute"]]


def test_a_search_that_ended_is_told_as_its_output_tells_it(kept, queued, asked):
    (shown,) = queued().ui["ecad_search"]
    assert json.loads(json.dumps(shown)) == asked(WORKFLOW)[NODE]
    assert shown["finished"]


def test_a_search_that_no_page_queued_is_not_kept(kept):
    kept.keep(None, NODE, {})
    kept.keep(WORKFLOW, None, {})
    assert {} == kept.of(WORKFLOW) == kept.of("None")


def test_the_oldest_searches_are_forgotten(snapshots, kept):
    for i in range(snapshots.MOST):
        kept.keep(WORKFLOW, str(i), {})
    kept.keep(WORKFLOW, "0", {"images": 4})  # told again
    kept.keep("another", "0", {})
    nodes = kept.of(WORKFLOW)
    assert snapshots.MOST == len(nodes) + 1
    assert "1" not in nodes and {"images": 4} == nodes["0"]
