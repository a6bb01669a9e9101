"""The benchmark: paired columns, files that say it, a run that goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

STEPS = 4


class Features:
    """A scorer that needs no reference and gives features: brightness and colours."""

    needs_reference = False

    def __init__(self, name="features", after=10**9):
        self.name, self.after, self.calls = name, after, 0

    def score(self, images, prompts, references=None):
        self.calls += 1
        if self.calls > self.after:
            raise KeyboardInterrupt
        return images.mean((1, 2, 3)).tolist()

    def image_features(self, images):
        return images.mean((1, 2)).numpy()

    def unload(self):
        pass


@pytest.fixture
def model(tiny_pixart):
    return tiny_pixart(depth=2, flow=True)


@pytest.fixture
def fora(pack, model):
    presets = pack.module("ecad_search.core.presets")
    architecture = pack.module("nodes.host.patching").detect_architecture(model)
    return lambda every: presets.fora(architecture, STEPS, every)


@pytest.fixture
def benchmark(pack, output, model, calibration, settings, tiny_vae, test_scorer):
    node = pack.module("nodes.benchmark").Benchmark

    def run(**changes):
        inputs = {
            "model": model,
            "vae": tiny_vae(),
            "prompts": calibration((6,) * 6, seed=100),
            "sampler_settings": settings(),
            "scorer": test_scorer(),
            "picks": 0,
            "fora": True,
            "grid_rows": 3,
            "name": "mine/first",
        }
        with torch.inference_mode():
            return node.execute(**(inputs | changes))

    return run


@pytest.fixture
def folder(output):
    return output / "ecad" / "mine" / "first"


def rows_of(result):
    return {row["name"]: row for row in json.loads(result.args[1])["rows"]}


def test_columns_are_measured_beside_uncached(benchmark, fora):
    rows = rows_of(benchmark(schedule_a=fora(4), scorer_b=Features()))
    assert ["uncached", "FORA 2", "FORA 3"] == list(rows)[:3] and 4 == len(rows)
    assert all(6 == row["images"] and row["seconds"] > 0 for row in rows.values())
    assert 1.0 == rows["uncached"]["speedup"] == rows["uncached"]["relative_macs"]
    assert 0 == rows["uncached"]["cache_bytes"] < rows["FORA 2"]["cache_bytes"]
    assert rows["FORA 2"]["macs"] < rows["uncached"]["macs"]
    assert 1.0 == rows["uncached"]["scores"]["ssim"]["mean"]
    for name in list(rows)[1:]:
        found = rows[name]["scores"]["ssim"]
        assert found["difference_low"] < found["difference"] < 0
        assert 0 < found["p"] <= found["p_adjusted"] <= 1
    assert 0 == pytest.approx(rows["uncached"]["frechet"], abs=1e-9)
    assert rows["FORA 2"]["frechet"] > 0


def test_scores_are_those_of_a_comparison(benchmark, pack, model, calibration, settings, tiny_vae):
    """Chunks, record and pairing change no number."""
    rows = rows_of(benchmark(sampler_settings=settings(batch=2)))
    rendering = pack.module("nodes.host.rendering")
    evaluation = pack.module("nodes.host.evaluation")
    presets = pack.module("ecad_search.core.presets")
    ssim = pack.module("ecad_search.scorers.reference_similarity").ReferenceSimilarity()
    renderer = rendering.Renderer(model, tiny_vae(), calibration((6,) * 6, seed=100), settings())
    evaluator = evaluation.Evaluator(renderer, ssim)
    with torch.inference_mode():
        scores, _ = evaluator.evaluate(presets.fora(renderer.architecture, STEPS, 2), range(6))
    assert sum(scores) / 6 == pytest.approx(rows["FORA 2"]["scores"]["ssim"]["mean"], abs=1e-4)


def test_the_report_lies_in_the_output_folder(benchmark, folder):
    text, _, plot, grid, front = benchmark().args
    expected = {"report.md", "summary.json", "samples.csv", "samples.json", "plot.png", "grid.png"}
    files = {file.name for file in folder.iterdir()}
    assert files == expected | {"front.json", "benchmark.jsonl", "pictures"}
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "# Benchmark mine/first" in page and "FORA 2" in page
    with open(folder / "samples.csv", encoding="utf-8", newline="") as file:
        samples = list(csv.DictReader(file))
    assert 18 == len(samples) == len(json.loads((folder / "samples.json").read_text()))
    assert ("prompt 1", "101") == (samples[3]["prompt"], samples[3]["seed"])
    assert "column" in text.splitlines()[0]
    assert 1 == len(plot) == len(grid)
    assert all(point.is_reference and 6 == point.samples for point in front)
    assert {1.0} < {point.cost for point in front}


def test_a_front_of_a_search_is_measured_on_its_picks(benchmark, search, folder):
    found = search(images=24).args[0]
    result = benchmark(front=found, picks=2)
    rows = rows_of(result)
    picks = [row for row in rows.values() if row["kind"] == "ecad"]
    keys = {point.schedule.key for point in found}
    assert 1 <= len(picks) <= 2 and {row["key"] for row in picks} <= keys
    assert {point.schedule.key for point in result.args[4]} <= {r["key"] for r in rows.values()}
    assert (folder / "front.json").is_file()


def test_other_caches_are_columns(benchmark, pack, model, fora):
    apply = pack.module("nodes.host.patching").apply_schedule
    other = model.clone()
    other.set_model_unet_function_wrapper(
        lambda model, call: model(call["input"], call["timestep"], **call["c"])
    )
    rows = rows_of(
        benchmark(
            fora=False, model_b=apply(model, fora(2)), name_b="FORA 2", model_c=other, name_c=" "
        )
    )
    assert ["uncached", "FORA 2", "model"] == list(rows)
    assert 0.4 < rows["FORA 2"]["relative_macs"] < 1
    assert rows["model"]["macs"] is None
    assert 1.0 == pytest.approx(rows["model"]["scores"]["ssim"]["mean"])
    assert rows["FORA 2"]["scores"]["ssim"]["mean"] < 1


def test_a_stopped_benchmark_goes_on(benchmark, folder):
    with pytest.raises(KeyboardInterrupt):
        benchmark(scorer_b=Features(after=3))
    record = folder / "benchmark.jsonl"
    begun = record.read_text().splitlines()
    assert 1 + 4 * 3 == len(begun)  # the first chunk of four samples
    resumed = rows_of(benchmark(scorer_b=Features()))
    assert begun == record.read_text().splitlines()[: len(begun)]
    assert 1 + 6 * 3 == len(record.read_text().splitlines())
    fresh = rows_of(benchmark(scorer_b=Features(), name="mine/second"))
    for name, row in resumed.items():
        assert row["scores"] == fresh[name]["scores"]
        assert row["frechet"] == fresh[name]["frechet"]


def test_latency_is_measured_at_each_batch_size(benchmark, folder):
    summary = json.loads(benchmark(latency_batches="2, 1").args[1])
    assert [2, 1] == [entry["batch"] for entry in summary["latencies"]]
    names = [row["name"] for row in summary["rows"]]
    for entry in summary["latencies"]:
        assert names == list(entry["seconds"])
        assert all(seconds > 0 for seconds in entry["seconds"].values())
    assert "## Several pictures at once" in (folder / "report.md").read_text(encoding="utf-8")


def test_known_latencies_are_not_measured_again(benchmark, folder):
    first = json.loads(benchmark(latency_batches="1").args[1])["latencies"]
    both = json.loads(benchmark(latency_batches="1 2").args[1])["latencies"]
    assert first == both[:1]
    again = json.loads(benchmark(latency_batches="2, 1").args[1])["latencies"]
    assert both == again[::-1]
    kept = folder / "latency.json"
    kept.write_text(kept.read_text(encoding="utf-8")[:-9], encoding="utf-8")  # torn
    assert both[0] != json.loads(benchmark(latency_batches="1").args[1])["latencies"][0]


@pytest.mark.parametrize("text", ["0", "1, two", "-1", "257", "1.5", "1 2 3 4 5 6 7 8 9", "²"])
def test_batch_sizes_that_are_none_are_refused(pack, benchmark, text):
    validated = pack.module("nodes.benchmark").Benchmark.validate_inputs(latency_batches=text)
    assert "expected at most 8 numbers from 1 to 256" in validated
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="latency_batches"):
        benchmark(latency_batches=text)


@pytest.fixture
def photos(comfy, tmp_path, monkeypatch):
    """A folder in ComfyUI's input folder, with pictures of several sizes, one of them deeper."""
    monkeypatch.setattr(comfy.folder_paths, "get_input_directory", lambda: str(tmp_path))
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "more/c.PNG")):
        image = Image.new("RGB", (20 + 7 * i, 31), (40 * i, 90, 200))
        image.save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_distance_to_a_folder_of_pictures_is_measured(benchmark, folder, photos):
    seen = Features("colours")
    result = benchmark(features=seen, reference_folder="photos")
    summary = json.loads(result.args[1])
    assert ("colours", {"folder": "photos", "pictures": 3}) == (
        summary["features"],
        summary["reference"],
    )
    rows = rows_of(result)
    colours = torch.tensor([[0, 90, 200], [40, 90, 200], [80, 90, 200]]) / 255
    kept = load_file(folder / "reference.safetensors")["features"]
    assert colours.numpy() == pytest.approx(kept, abs=0.02)  # one of them is a JPEG
    assert all(row["frechet_to_reference"] > 0 for row in rows.values())
    assert "to photos" in result.args[0].splitlines()[0]
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "the 3 pictures of the folder 'photos'" in page


def test_reference_pictures_are_looked_at_once(benchmark, photos):
    class Counting(Features):
        seen = 0

        def image_features(self, images):
            self.seen += len(images)
            return super().image_features(images)

    first, again, changed = Counting("colours"), Counting("colours"), Counting("colours")
    expected = rows_of(benchmark(features=first, reference_folder="photos"))
    assert expected == rows_of(benchmark(features=again, reference_folder="photos"))
    assert (18 + 3, 0) == (first.seen, again.seen)
    Image.new("RGB", (9, 9)).save(photos / "d.bmp")
    rows = rows_of(benchmark(features=changed, reference_folder="photos"))
    assert 4 == changed.seen
    assert expected["uncached"]["frechet_to_reference"] != rows["uncached"]["frechet_to_reference"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "There is no folder 'nothing' in ComfyUI's input folder"),
        ("photos/more", "holds 1 pictures, expected two or more"),
        ("../photos", "is not a usable file name"),
    ],
)
def test_a_folder_without_pictures_is_refused_before_anything_runs(
    benchmark, pack, photos, name, words
):
    assert words in pack.module("nodes.benchmark").Benchmark.validate_inputs(reference_folder=name)
    with pytest.raises(pack.module("ecad_search.errors").EcadError, match=words):
        benchmark(features=Features("colours"), reference_folder=name)


def test_a_folder_needs_features_to_be_compared_by(benchmark, pack, photos):
    with pytest.raises(pack.module("ecad_search.errors").SearchError, match="Inception Features"):
        benchmark(reference_folder="photos")


def test_a_broken_reference_picture_is_named(benchmark, pack, photos):
    (photos / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(pack.module("ecad_search.errors").StorageError, match=r"'torn\.png'"):
        benchmark(features=Features("colours"), reference_folder="photos")


def test_a_finished_benchmark_samples_nothing(benchmark, tiny_vae):
    first = benchmark()
    vae = tiny_vae()
    again = benchmark(vae=vae, grid_rows=1)
    assert 0 == vae.decoded
    assert first.args[:2] == again.args[:2]


def test_other_settings_need_another_name(benchmark, pack, settings):
    benchmark()
    error = pack.module("ecad_search.errors").JournalError
    with pytest.raises(error, match="other cfg"):
        benchmark(sampler_settings=settings(cfg=3.0))
    with pytest.raises(error, match="other scorers"):
        benchmark(scorer=Features())


def test_broken_pictures_are_reported_and_the_rest_is_measured(benchmark, test_scorer):
    """The scorer fails on what comes after the first uncached and FORA 2 chunk."""
    rows = rows_of(benchmark(scorer=test_scorer(after=8, failure=float("nan"))))
    assert 0 == rows["uncached"]["broken_images"]
    assert 6 == rows["FORA 3"]["broken_images"] and rows["FORA 3"]["problem"]
    assert 2 == rows["FORA 2"]["broken_images"]
    assert rows["FORA 2"]["scores"]["ssim"]["mean"] < 1


def test_what_cannot_be_measured_is_refused(benchmark, pack, model, test_scorer):
    error = pack.module("ecad_search.errors").SearchError
    with pytest.raises(error, match="Two scorers have the name 'ssim'"):
        benchmark(scorer_b=test_scorer())
    latents = SimpleNamespace(get_model_object=lambda name: object())
    with pytest.raises(error, match="works on latents of the kind object"):
        benchmark(model_b=latents)
    node = pack.module("nodes.benchmark").Benchmark
    assert "ecad folder" in str(node.validate_inputs(name="../away"))


def test_a_column_may_be_sampled_in_another_way(
    pack, model, calibration, settings, tiny_vae, test_scorer, tmp_path
):
    rendering = pack.module("nodes.host.rendering")
    bench = pack.module("nodes.host.benchmark")
    facts = pack.module("ecad_search.benchmark.summary").ColumnFacts
    prompts = calibration((6,) * 4, seed=100)
    renderer, fewer = (
        rendering.Renderer(model, tiny_vae(), prompts, settings(steps=steps)) for steps in (4, 2)
    )
    columns = bench.columns_of(renderer, fora=False)
    columns.append(bench.Column(facts("2 steps", "steps"), model, "2 steps", renderer=fewer))
    run = bench.BenchmarkRun(renderer, columns, [test_scorer()], tmp_path, lambda *_: None)
    with torch.inference_mode():
        run.measure()
        evaluator = pack.module("nodes.host.evaluation").Evaluator(fewer, test_scorer())
        evaluator.remember(
            range(4),
            pack.module("nodes.host.evaluation").eight_bit(
                torch.cat([renderer.render(None, [i]) for i in range(4)]), range(4)
            ),
        )
        expected = evaluator.score(evaluator.pictures(None, range(4)), range(4))
    found = [measured.scores["ssim"] for measured in run.record.column("2 steps")]
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(found) < 1
