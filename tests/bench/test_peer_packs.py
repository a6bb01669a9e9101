"""Caches of other packs in the benchmark of peers: a folder with a node of a known name."""

from __future__ import annotations

import pytest

from devtools import bench_peers, peer_packs
from devtools.problem import Problem

PACK = """
class TeaCache:
    FUNCTION = "apply"

    def apply(self, model, **settings):
        return ((model, settings),)


NODE_CLASS_MAPPINGS = {"TeaCache": TeaCache, "Another": object}
"""


@pytest.fixture
def pack(tmp_path):
    folder = tmp_path / "a-pack"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACK, encoding="utf-8")
    return folder


def test_a_pack_is_known_by_its_nodes_and_applied_by_all_of_its_settings(pack):
    found = list(peer_packs.applied(pack, "model"))
    assert ["TeaCache 0.2", "TeaCache 0.3"] == [peer.name for peer in found[:2]]
    assert {"TeaCache"} == {bench_peers.peer_of(peer.name) for peer in found}
    model, settings = found[0].model
    assert ("model", "flux", 0.2) == (model, settings["model_type"], settings["rel_l1_thresh"])


NEWER_PACK = """
from types import SimpleNamespace


class Spectrum:
    @classmethod
    def define_schema(cls):
        raise NotImplementedError

    @classmethod
    def execute(cls, model, **settings):
        return SimpleNamespace(args=(model,))


NODE_CLASS_MAPPINGS = {"Spectrum": Spectrum}
"""


def test_a_node_of_the_newer_kind_is_applied_as_well(pack):
    (pack / "__init__.py").write_text(NEWER_PACK, encoding="utf-8")
    other = pack.rename(pack.with_name("a-newer-pack"))
    found = list(peer_packs.applied(other, "model"))
    assert ("Spectrum v1 5 2 0", "model") == (found[0].name, found[0].model)


def test_a_pack_without_a_known_cache_is_a_problem(tmp_path, pack):
    (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}", encoding="utf-8")
    other = pack.rename(tmp_path / "another-pack")
    with pytest.raises(Problem, match="none of the nodes TeaCache, MagCache"):
        list(peer_packs.applied(other, "model"))
    with pytest.raises(Problem, match="no node pack"):
        list(peer_packs.applied(tmp_path, "model"))


def test_no_peer_is_taken_for_another():
    peers = [node.peer for node in peer_packs.KNOWN]
    peers += [bench_peers.OURS, bench_peers.FORA, bench_peers.TGATE]
    peers += [peer.name for peer in bench_peers.HOST_CACHES]
    assert peers == [bench_peers.peer_of(f"{peer} 0.2") for peer in peers]


def test_a_peer_that_fails_on_this_host_is_named_with_what_it_says():
    def sample(model):
        if model is None:
            raise AttributeError("'Flux' object has no attribute 'x'")

    peers = [
        peer_packs.Applied("MagCache 1", "MagCache", None),
        peer_packs.Applied("MagCache 2", "MagCache", 1),
    ]
    running, failures = peer_packs.tried(peers, sample)
    assert peers[1:] == running
    assert {"MagCache": "AttributeError: 'Flux' object has no attribute 'x'"} == failures
