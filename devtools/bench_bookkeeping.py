"""What a search itself takes between two pictures, on schedules of FLUX.1's size.

The scores come from made-up losses, whose own time does not count; the journal is a real file, and
front and progress are asked for after every job, as the node does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ecad_search.architectures import find
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.search import Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.testing.search_problem import SearchProblem

ARCHITECTURE = "flux"
STEPS = 20
SAMPLES = 16
STAGES = 10


@dataclass(frozen=True)
class Row:
    mode: str
    candidates: int
    images: int
    seconds: float  # since the row before
    share: float  # of the time to render the images since then


def rows(mode: str, options: argparse.Namespace) -> Iterator[Row]:
    problem = SearchProblem(find(ARCHITECTURE), STEPS, seed=0, n_samples=SAMPLES)
    settings = SearchSettings(mode=mode, population=options.population, images=10**9)
    settings = settings.for_new(SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "search.jsonl") as journal:
            search = Search(
                settings,
                problem.architecture,
                problem.steps,
                problem.workload,
                problem.n_samples,
                journal,
            )
            spent, images, stage = 0.0, 0, 1
            while stage <= STAGES:
                started = time.perf_counter()
                job = search.ask()
                spent += time.perf_counter() - started
                if job is None:
                    return
                scores = problem.score(job.candidate.schedule, job.samples)
                started = time.perf_counter()
                search.tell(job, scores)
                _, now = search.front, search.progress
                spent += time.perf_counter() - started
                if now.candidates >= stage * options.candidates // STAGES:
                    rendering = (now.images - images) * options.image_seconds
                    yield Row(mode, now.candidates, now.images, spent, spent / rendering)
                    spent, images, stage = 0.0, now.images, stage + 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench bookkeeping", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the candidates")
    parser.add_argument("--candidates", type=int, metavar="N", help="evaluated, default 10,000")
    parser.add_argument("--population", type=int, default=200, metavar="N")
    parser.add_argument(
        "--image-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="to render one picture, default 2: FLUX.1-dev in 20 cached steps on a fast GPU",
    )
    parser.add_argument("--modes", nargs="+", default=["ecad+", "paper"], metavar="MODE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args(arguments)
    options.candidates = options.candidates or (1_000 if options.quick else 10_000)
    print("mode    candidates    images    seconds     share of rendering")
    found = []
    for mode in options.modes:
        for row in rows(mode, options):
            found.append(row)
            print(
                f"{row.mode:6}{row.candidates:12,}{row.images:10,}{row.seconds:11.1f}"
                f"{row.share:23.2%}",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
