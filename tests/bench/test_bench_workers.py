"""The benchmark of workers: what is judged when, and what counts as overhead."""

from __future__ import annotations

from types import SimpleNamespace

from devtools import bench_workers


class LastFirst:
    """Stands for a SharedEvaluator of two places whose jobs end in the wrong order."""

    def __init__(self):
        self.running, self.judgements, self.most = [], [], 0

    @property
    def has_room(self):
        return len(self.running) < 2

    def begin(self, schedule, samples):
        job = SimpleNamespace(complete=False, seconds=len(samples) / 4, pictures=lambda: schedule)
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        return job

    def collect(self):
        self.running.pop().complete = True

    def judged(self, schedule, samples, pictures):
        self.judgements.append((schedule, samples, pictures))


def test_batches_are_judged_in_their_order_whichever_ends_first():
    evaluator = LastFirst()
    work = [(name, (0, 1)) for name in "abcde"]
    assert 5 * 0.5 == bench_workers.judged(evaluator, work)
    assert [(name, (0, 1), name) for name in "abcde"] == evaluator.judgements
    assert 2 == evaluator.most


def test_the_table_tells_the_overhead_of_workers_alone():
    work = [(None, (0, 1, 2))] * 10
    rows = [bench_workers.row(0, work, 60.0, None), bench_workers.row(2, work, 31.0, 0.0123)]
    assert [
        "| workers | images | seconds | images/s | overhead |",
        "|---|---|---|---|---|",
        "| alone | 30 | 60.0 | 0.50 |  |",
        "| 2 | 30 | 31.0 | 0.97 | 1.2% |",
    ] == bench_workers.table(rows).splitlines()
