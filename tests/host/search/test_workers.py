"""What is shared out to workers, and what comes back, without any worker."""

from __future__ import annotations

import sys

import pytest
import torch


@pytest.fixture
def workers(pack):
    return pack.module("nodes.host.workers")


def part(values, finite=None):
    """A worker's answer: pictures of 2 x 2 px, each of one value."""
    pictures = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    return {"pictures": pictures.numpy(), "finite": finite or [True] * len(values), "seconds": 1.5}


def test_pictures_come_back_in_the_order_of_the_job(workers):
    job = workers.SharedJob(0, (4, 5, 6), [(4, 6), (5,)])
    job.parts[1] = part([50])
    assert (False, 1) == (job.complete, job.images)
    job.parts[0] = part([40, 60])
    assert (True, 3, 3.0) == (job.complete, job.images, job.seconds)
    assert [40, 50, 60] == job.pictures()[:, 0, 0, 0].tolist()


def test_the_first_sample_without_a_picture_is_named(workers, pack):
    job = workers.SharedJob(0, (4, 5, 6), [(4, 6), (5,)])
    job.parts = {0: part([0, 0], [True, False]), 1: part([0], [False])}
    unusable = pack.module("nodes.host.evaluation").UnusableResult
    with pytest.raises(unusable, match="the picture of sample 5 has NaN"):
        job.pictures()
    job.parts[1] = {"failed": "out of memory"}
    with pytest.raises(unusable, match="out of memory"):
        job.pictures()


def test_a_worker_gets_the_host_s_arguments_without_those_of_its_server(workers):
    given = "--listen 0.0.0.0 --port=80 --lowvram --cuda-device 1 --base-directory /a --listen"
    assert ["--lowvram", "--base-directory", "/a"] == workers.for_workers(given.split())
    assert ["--a", "b"] == workers.for_workers(["--port", "80", "--a", "b"])


def test_workers_without_ray_are_an_error_that_names_the_pip_line(
    search, pack, monkeypatch, workers
):
    monkeypatch.setitem(sys.modules, "ray", None)
    pool = pack.module("ecad_search.workers.pool")
    with pytest.raises(pack.module("ecad_search.errors").MissingPackageError, match="pip install"):
        pool.WorkerPool(2, workers.this_host(), "nodes.host.replay", {})


def test_a_search_outside_of_a_graph_has_nothing_for_workers(search, pack):
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="set workers to 1"):
        search(workers=2)


def test_pictures_that_are_not_numbers_are_told_apart(pack):
    evaluation = pack.module("nodes.host.evaluation")
    images = torch.full((3, 2, 2, 3), 0.5)
    images[1, 0, 0, 0] = float("nan")
    pictures, finite = evaluation.finite_eight_bit(images)
    assert [True, False, True] == finite.tolist()
    assert [128, 0, 128] == pictures[:, 1, 1, 1].tolist()
