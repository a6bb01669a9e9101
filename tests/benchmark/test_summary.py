import csv
import io

import numpy as np
import pytest

from ecad_search.benchmark import report
from ecad_search.benchmark.record import Measured, Record
from ecad_search.benchmark.summary import ColumnFacts, shown_samples, summarised
from ecad_search.scorers.frechet import frechet_distance

FACTS = (
    ColumnFacts("uncached", "uncached", "k0", macs=2 * 10**12, relative_macs=1.0),
    ColumnFacts("FORA 2", "fora", "k1", 10**12, 0.5, 2**30, 0.5),
    ColumnFacts("other", "model"),
)
LOSSES = (0.1, 0.3, 0.2, 0.0, 0.5, 0.4)  # of FORA 2, sample by sample


@pytest.fixture
def record(tmp_path):
    found = Record(tmp_path / "benchmark.jsonl", {}, [facts.name for facts in FACTS])
    rng = np.random.default_rng(0)
    features = rng.random((len(LOSSES), 3)).astype(np.float32)
    for i, loss in enumerate(LOSSES):
        found.append(
            [
                Measured(i, "uncached", 2.0, {"s": 1.0 + i}, 5, features=features[i]),
                Measured(i, "FORA 2", 1.0 + i / 10, {"s": 1.0 + i - loss}, 6, "", features[i] + 1),
                Measured(i, "other", 4.0, {}, None, "is black"),
            ]
        )
    return found


@pytest.fixture
def rows(record):
    return summarised(record, FACTS, ["s"], [0, 1, 2, 3, 4, 5])


def test_latency_is_the_median_and_speed_is_paired(rows):
    assert [2.0, 1.25, 4.0] == [row["seconds"] for row in rows]
    assert [1.0, np.median([2 / (1 + i / 10) for i in range(6)]), 0.5] == pytest.approx(
        [row["speedup"] for row in rows]
    )


def test_differences_are_paired_with_uncached(rows):
    found = rows[1]["scores"]["s"]
    assert -np.mean(LOSSES) == pytest.approx(found["difference"])
    assert found["difference_low"] < found["difference"] < found["difference_high"]
    assert 1 / 6 == found["not_worse"]
    assert 2 * 2 / 64 == found["p"] == found["p_adjusted"]  # the sample without loss has two signs
    assert rows[0]["scores"]["s"]["difference"] is None


def test_peak_and_distance_are_those_of_the_pictures(rows):
    assert [5, 6, None] == [row["peak_bytes"] for row in rows]
    assert [0, 3, None] == pytest.approx([row["frechet"] for row in rows], abs=1e-6)


def test_the_distance_to_other_pictures_is_measured_as_well(record):
    other = np.random.default_rng(1).random((9, 3)).astype(np.float32)
    found = summarised(record, FACTS, ["s"], [0, 1, 2, 3, 4, 5], reference=other)
    own = np.stack([m.features for m in record.column("uncached")])
    to_other = [row["frechet_to_reference"] for row in found]
    assert [frechet_distance(own, other), frechet_distance(own + 1, other), None] == to_other
    assert [0, 3, None] == pytest.approx([row["frechet"] for row in found], abs=1e-6)


def test_broken_pictures_are_counted_and_not_scored(rows):
    assert (6, "is black") == (rows[2]["broken_images"], rows[2]["problem"])
    assert rows[2]["scores"]["s"]["mean"] is None


def test_the_worst_and_the_median_samples_are_shown(record):
    names = [facts.name for facts in FACTS]
    shown = shown_samples(record, names, "s", 4)
    assert [("worst", 4), ("worst", 5), ("median", 1), ("median", 2)] == shown
    assert 6 == len(shown_samples(record, names, "s", 100))


def test_samples_without_scores_are_shown_in_order(record):
    assert [("sample", 0), ("sample", 1)] == shown_samples(record, ["uncached", "other"], "s", 2)


@pytest.fixture
def summary(rows):
    return {
        "name": "mine",
        "model": "PixArt",
        "device": "cpu",
        "sampling": {
            "steps": 20,
            "sampler": "euler",
            "scheduler": "simple",
            "cfg": 3.0,
            "width": 96,
            "height": 96,
            "batch": 1,
        },
        "prompts": {
            "source": "a|b",
            "prompts": 6,
            "seeds_per_prompt": 1,
            "seed": 0,
            "samples": 6,
            "measured": 6,
        },
        "scorers": ["s"],
        "compares_itself": [],
        "features": "clip-score",
        "reference": {"folder": "photos", "pictures": 1234},
        "latencies": [],
        "rows": rows,
    }


def test_every_line_of_the_text_table_is_aligned(summary):
    lines = report.summary_table(summary).splitlines()
    assert 6 == len(lines)
    assert lines[0].startswith("column")
    assert "FORA 2" in lines[3] and "TMACs" in lines[0]
    assert "other: 6 of 6 pictures are broken, such as: is black" == lines[-1]


def test_the_page_has_a_table_with_even_rows(summary):
    page = report.markdown(summary, plot=True, grid=False)
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert 5 == len(table)
    assert 1 == len({line.count("|") for line in table})
    assert "](plot.png)" in page and "grid.png" not in page
    assert "p 0.062" in page and "±" in page


def test_scorer_that_compares_with_the_uncached_pictures_has_one_column(summary):
    titles = report.cells(summary | {"compares_itself": ["s"]})[0]
    assert "s" in titles and "s to uncached" not in titles
    assert "s to uncached" in report.cells(summary)[0]


def test_times_of_several_pictures_at_once_are_a_table_of_their_own(summary):
    seconds = [{"uncached": 2.0, "FORA 2": 1.0, "other": 4.0}]
    seconds += [{"uncached": 1.5, "FORA 2": 0.6, "other": None}]
    timed = [{"batch": n, "seconds": s} for n, s in zip((1, 4), seconds, strict=True)]
    cells = report.latency_cells(summary | {"latencies": timed})
    assert ["column", "s/image at 1", "faster at 1", "s/image at 4", "faster at 4"] == cells[0]
    assert ["FORA 2", "1", "2.00x", "0.6", "2.50x"] == cells[2]
    assert ["other", "4", "0.50x", "-", "-"] == cells[3]
    page = report.markdown(summary | {"latencies": timed}, plot=False, grid=False)
    assert "| FORA 2 | 1 | 2.00x | 0.6 | 2.50x |" in page
    assert "FORA 2       1" in report.summary_table(summary | {"latencies": timed})


def test_every_picture_is_a_row_of_the_spreadsheet(record):
    prompts = [f"prompt {i}, with a comma" for i in range(6)]
    rows = report.sample_rows(record, ["s"], prompts, range(6))
    read = list(csv.DictReader(io.StringIO(report.as_csv(rows))))
    assert 18 == len(read)
    assert ("prompt 1, with a comma", "FORA 2", "1.7") == (
        read[4]["prompt"],
        read[4]["column"],
        read[4]["s"],
    )
    assert "" == read[5]["s"]
