"""The benchmark of what a search itself takes."""

from __future__ import annotations

import json

from devtools import bench_bookkeeping


def test_every_stage_is_a_row_with_its_share_of_rendering(tmp_path, capsys):
    path = tmp_path / "rows.json"
    arguments = "--candidates 20 --population 8 --modes ecad+ --image-seconds 4 --json".split()
    assert 0 == bench_bookkeeping.main([*arguments, str(path)])
    rows = json.loads(path.read_text())
    assert bench_bookkeeping.STAGES == len(rows)
    assert rows[-1]["candidates"] >= 20
    images = [0, *(row["images"] for row in rows)]
    for before, row in zip(images, rows, strict=False):
        assert row["seconds"] / ((row["images"] - before) * 4) == row["share"] > 0
    assert f"{rows[-1]['share']:.2%}" in capsys.readouterr().out
