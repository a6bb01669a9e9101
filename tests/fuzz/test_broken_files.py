"""Whatever a file or a name holds: it is taken and means the same again, or it is one sentence.

Every target breaks valid input at random and looks at what becomes of it. Cases are made from
(seed, target, number) alone, and a failure prints all three. Two variables of the environment make
longer runs: ECAD_FUZZ_TIMES multiplies the number of cases, ECAD_FUZZ_SEED is another seed (see
CONTRIBUTING.md).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecad_search import cli
from ecad_search.architectures import GENERIC_FAMILY, sized
from ecad_search.benchmark.record import Measured, Record
from ecad_search.calibration import CalibrationPrompts
from ecad_search.comfyui.connection import Connection
from ecad_search.comfyui.workflow import SearchWorkflow
from ecad_search.commands.benchmark import BenchmarkWorkflow
from ecad_search.core import presets, schedule_json
from ecad_search.core.front import Front, FrontPoint, Quality
from ecad_search.core.latency import Latency
from ecad_search.core.schedule import Schedule
from ecad_search.errors import EcadError
from ecad_search.evolution.journal import Journal
from ecad_search.evolution.journal_front import recorded_search
from ecad_search.evolution.lock import PROCESS_TOKEN, LockFile
from ecad_search.evolution.search import Job, Search
from ecad_search.evolution.settings import SearchSettings
from ecad_search.file_names import confined
from ecad_search.library import ScheduleLibrary
from ecad_search.prompt_files import load_prompts
from ecad_search.testing.mutation import (
    broken_bytes,
    broken_file,
    broken_lines,
    hostile_name,
)
from ecad_search.testing.search_problem import SearchProblem

SEED = int(os.environ.get("ECAD_FUZZ_SEED", "0"))
TIMES = float(os.environ.get("ECAD_FUZZ_TIMES", "1"))
HANG_SECONDS = 60.0  # for one case; what takes this long never ends

TINY = sized("pixart", {"blocks": 2}, hidden=16, text_tokens=7)
TINY_FLUX = sized("flux", {"double_blocks": 1, "single_blocks": 2}, hidden=16, id="my flux")
UNKNOWN = GENERIC_FAMILY.build(
    {"layers": 2, "@2.layers": 1},
    **{"hidden": 16, "layers/attn": 900, "layers/ff": 8000, "@2.layers/attn": 900},
)
IDENTITY = {"model": "abc", "scorer": "ssim"}
COLUMNS = ("uncached", "FORA 2")


# --- how a case is run


def hunt(name: str, cases: int, case: Callable[[random.Random], None]) -> None:
    """`case` this many times; an exception of its own fails the test with how to make it again."""
    for number in range(round(cases * TIMES)):
        with no_hang():
            try:
                case(random.Random(f"{SEED} {name} {number}"))
            except EcadError as error:
                pytest.fail(f"seed {SEED}, target {name}, case {number}: not refused: {error!r}")
            except Exception as error:
                raise AssertionError(f"seed {SEED}, target {name}, case {number}") from error


@contextlib.contextmanager
def no_hang():
    """Where the system has such a clock."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(autouse=True)
def hangs_are_told():
    def ring(*_: object) -> None:
        raise TimeoutError(f"a case took more than {HANG_SECONDS} seconds")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


def refused(read: Callable[[], Any]) -> Any:
    """What `read` gives; None when it refuses, in one sentence that a terminal can show."""
    try:
        return read()
    except EcadError as error:
        message = str(error)
        assert message.strip() and message.isprintable(), repr(message)
        assert len(message) < 5000
        return None


def put(path: Path, content: bytes) -> None:
    """A new file each time: to cut an old one costs some file systems milliseconds."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def same_json(a: Any, b: Any) -> bool:
    """With their types: True is not 1, and 1 is not 1.0."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- schedules and fronts


def schedule_documents() -> list[bytes]:
    info = {
        "sampling": {"sampler": "euler", "sigmas": [14.0, 3.5, 1.0, 0.2, 0.0], "width": 512},
        "model": {"fingerprint": "0123"},
        "objectives": [{"name": "quality", "value": -0.01, "stderr": 0.002}],
        "provenance": {"tool": "x", "generation": 3},
        "payload": {"attn": "taylor1"},
        "note": [1, {"a": None}],
    }
    fora = presets.fora(TINY, 4, 2)
    rich = Schedule(TINY_FLUX, presets.fora(TINY_FLUX, 4, 2).compute, name="é 1", info=info)
    listed = presets.fora(sized("pixart", {"blocks": 28}, hidden=16), 3, 2)
    unknown = presets.fora(UNKNOWN, 3, 2)
    return [schedule_json.dumps(s).encode("utf-8") for s in (fora, rich, listed, unknown)]


def paper_documents() -> list[bytes]:
    documents = []
    for architecture in (TINY, TINY_FLUX):
        document = json.loads(schedule_json.dumps_paper(presets.fora(architecture, 3, 2)))
        document["config"] = {"width": 256, "height": 256, "guidance_scale": 4.5}
        document["metrics"] = {"total_macs_T": 2.1, "image_reward": [0.1, 0.2]}
        document["cache_schedule"]["attributes"] = {"generation": 7}
        first = next(iter(document["cache_schedule"]["schedule"]["000"].values()))
        first["custom_compute_x"] = None
        documents.append(json.dumps(document).encode("utf-8"))
    return documents


def schedule_of(content: bytes) -> Schedule:
    return schedule_json.loads(schedule_json.decoded(content, "a.json"), source="a.json")


def check_schedule(schedule: Schedule) -> None:
    text = schedule_json.dumps(schedule)
    again = schedule_json.loads(text)
    assert text == schedule_json.dumps(again)
    assert schedule == again and schedule.name == again.name
    assert np.array_equal(schedule.compute, again.compute)
    assert same_json(schedule.info, again.info)
    assert schedule.compute[0].all() and 0 < schedule.computed_fraction <= 1
    assert all(
        a >= b for a, b in zip(schedule.noise_levels, schedule.noise_levels[1:], strict=False)
    )
    assert 5 == schedule.resampled(5).steps
    assert schedule.key == schedule.canonical().key
    paper = refused(lambda: schedule_json.dumps_paper(schedule))
    if paper is not None:
        theirs = schedule_json.loads(paper)
        assert np.array_equal(schedule.compute, theirs.compute)


def schedules(folder: Path) -> Callable[[random.Random], None]:
    documents = schedule_documents()

    def case(rng: random.Random) -> None:
        content = broken_file(rng.choice(documents), rng)
        if (schedule := refused(lambda: schedule_of(content))) is not None:
            check_schedule(schedule)

    return case


def official_schedules(folder: Path) -> Callable[[random.Random], None]:
    documents = paper_documents()

    def case(rng: random.Random) -> None:
        content = broken_file(rng.choice(documents), rng)
        if (schedule := refused(lambda: schedule_of(content))) is not None:
            check_schedule(schedule)

    return case


def front() -> Front:
    def point(every: int, quality: float, **more: Any) -> FrontPoint:
        schedule = presets.fora(TINY, 4, every)
        cost = schedule.computed_fraction
        return FrontPoint(schedule, cost, quality, 0.01, 16, mean_score=0.5, **more)

    other = Quality(-0.25, 0.02, 0.75)
    points = (
        point(1, 0.0, is_reference=True, cache_bytes=0, more_qualities=(other,)),
        point(2, -0.1, seconds=0.5, relative_macs=0.5, more_qualities=(other,)),
        point(3, -0.2, cache_bytes=4096, within_limits=False, more_qualities=(other,)),
    )
    return Front.of(points, {"search": "0123", "images": 40, "identity": IDENTITY})


def fronts(folder: Path) -> Callable[[random.Random], None]:
    document = front().to_json().encode("ascii")
    path = folder / "a.front.json"

    def case(rng: random.Random) -> None:
        content = broken_file(document, rng)
        put(path, content)
        found = refused(lambda: Front.load(path))
        assert content == path.read_bytes()
        if found is None:
            return
        text = found.to_json()
        again = Front.from_json(text)
        assert text == again.to_json() and found == again
        assert all(0 < p.cost <= 1 and p.samples >= 1 for p in found)
        for point in found.members:
            assert point.within_limits and point.describe() and point.saving
        refused(found.pick_knee)
        refused(lambda: found.pick_speedup(1.5))
        refused(lambda: found.pick_quality(-0.1))

    return case


# --- journals


PROBLEM = SearchProblem(TINY, 4, seed=1, n_samples=4)
SEVERAL = 7  # the seed of the search with two scorers
SEARCHES = (
    {"images": 60, "population": 4, "offspring": 2},
    {"images": 60, "population": 4, "offspring": 2, "mode": "random"},
    {"images": 60, "population": 4, "mode": "paper"},
    {"images": 60, "population": 4, "offspring": 2, "cost": "seconds"},
    {"images": 60, "population": 4, "offspring": 2, "seed": SEVERAL},
)
LATENCY = Latency(
    0.01, {"blocks": 0.001}, {"blocks": {"attn": 0.02, "cross_attn": 0.01, "mlp": 0.03}}
)


def search_in(journal: Journal, which: dict[str, Any]) -> Search:
    settings = SearchSettings(**which)
    scorers = 2 if settings.seed == SEVERAL else 1
    return Search(settings, TINY, 4, PROBLEM.workload, PROBLEM.n_samples, journal, scorers=scorers)


def answer(search: Search, job: Job | None) -> None:
    if job is not None:
        scores = PROBLEM.score(job.candidate.schedule, job.samples)
        search.tell(job, scores, *[[0.5 - s for s in scores]] * (search.n_scorers - 1))


def journal_of(path: Path, which: dict[str, Any]) -> bytes:
    with Journal(path, IDENTITY) as journal:
        search = search_in(journal, which)
        if search.awaits_latency:
            search.count_in(LATENCY, images=2, seconds=0.5)
        elif search.awaits_start:
            search.start_from([presets.fora(TINY, 4, 3)], images=2, seconds=0.5)
        for _ in range(6):
            answer(search, search.ask())
        if (job := search.ask()) is not None:
            search.fail(job, "out of memory")
    content = path.read_bytes()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return content


def older(journal: bytes) -> bytes:
    """As the first release of the format wrote it: without the settings that came later."""
    head, _, rest = journal.partition(b"\n")
    header = json.loads(head)
    for name in ("heat", "guided"):
        header["settings"].pop(name, None)
    return json.dumps(header, separators=(",", ":")).encode("ascii") + b"\n" + rest


def journals(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    found = [(which, journal_of(folder / "made.jsonl", which)) for which in SEARCHES]
    return [*found, (SEARCHES[0], older(found[0][1]))]


def kept_journals() -> list[bytes]:
    """Those that releases wrote."""
    kept = Path(__file__).resolve().parents[1] / "evolution" / "journals"
    return [path.read_bytes() for path in sorted(kept.glob("*.jsonl"))]


def read_journals(folder: Path) -> Callable[[random.Random], None]:
    """The lines alone, as every reader of a journal gets them."""
    documents = [document for _, document in journals(folder)] + kept_journals()
    path = folder / "a.jsonl"

    def case(rng: random.Random) -> None:
        content = broken_lines(rng.choice(documents), rng)
        put(path, content)
        journal = refused(lambda: Journal(path, IDENTITY, readonly=True))
        assert content == path.read_bytes()
        if journal is not None:
            assert all(isinstance(record, dict) for record in journal.records)
            assert json.dumps(journal.records, allow_nan=False)
            assert ["a.jsonl"] == os.listdir(folder)

    return case


def recorded_searches(folder: Path) -> Callable[[random.Random], None]:
    """A search that is looked at: its settings are those of the broken file."""
    documents = [document for _, document in journals(folder)] + kept_journals()
    path = folder / "a.jsonl"

    def case(rng: random.Random) -> None:
        content = broken_lines(rng.choice(documents), rng)
        put(path, content)
        search = refused(lambda: recorded_search(path))
        assert content == path.read_bytes() and ["a.jsonl"] == os.listdir(folder)
        if search is not None:
            again = Front.from_json(search.front.to_json())
            assert [p.schedule.key for p in search.front] == [p.schedule.key for p in again]
            assert search.progress.images >= 0 and np.isfinite(search.progress.seconds)

    return case


def resumed_searches(folder: Path) -> Callable[[random.Random], None]:
    """A search that goes on: what is refused stays as it was, what goes on loses nothing whole."""
    documents = journals(folder)
    path = folder / "a.jsonl"

    def case(rng: random.Random) -> None:
        which, document = rng.choice(documents)
        content = broken_lines(document, rng)
        put(path, content)

        def resumed() -> bytes:
            with Journal(path, IDENTITY) as journal:
                kept = content[: len(content) - len(journal.torn)]
                search = search_in(journal, which)
                if search.awaits_latency:
                    search.count_in(LATENCY, images=2)
                refused(lambda: answer(search, search.ask()))
            return kept

        kept = refused(resumed)
        after = files_below(folder)
        if kept is None:
            assert {"a.jsonl": content} == after
            return
        assert after["a.jsonl"].startswith(kept)
        assert after.keys() <= {"a.jsonl", "a.jsonl.torn", "a.jsonl.times"}
        lost = content[len(kept) :].rstrip(b"\n")
        assert after["a.jsonl"] == content or lost in after.get("a.jsonl.torn", b"")
        recorded_search(path)
        for name in after:
            (folder / name).unlink()

    return case


def times_of_journals(folder: Path) -> Callable[[random.Random], None]:
    """The seconds beside a journal are for show: whatever they say, the journal opens."""
    path = folder / "a.jsonl"
    content = journal_of(path, SEARCHES[0])
    times = b'{"record":1,"seconds":0.25}\n{"record":2,"seconds":1.5}\n'

    path.write_bytes(content)

    def case(rng: random.Random) -> None:
        put(folder / "a.jsonl.times", broken_lines(times, rng))
        seconds = Journal(path, IDENTITY, readonly=True).seconds
        assert 0 <= seconds < float("inf")

    return case


def locks(folder: Path) -> Callable[[random.Random], None]:
    """A lock is taken over, or there is a sentence that names its owner."""
    path = folder / "a.lock"
    owner = {"pid": 7, "host": "elsewhere", "process": PROCESS_TOKEN, "started": "x", "holder": "y"}

    def case(rng: random.Random) -> None:
        content = broken_file(json.dumps(owner).encode("ascii"), rng)
        put(path, content)
        lock = LockFile(path, subject="a.jsonl")
        if refused(lambda: lock.acquire() or lock) is None:
            assert {"a.lock": content} == files_below(folder)
        else:
            lock.release()
            assert {} == files_below(folder)

    return case


# --- benchmarks


def records(folder: Path) -> Callable[[random.Random], None]:
    path = folder / "benchmark.jsonl"
    features = np.array([1.5, -2.25], np.float32)
    first = Record(path, IDENTITY, COLUMNS)
    for sample in range(2):
        first.append(
            [
                Measured(sample, "uncached", 1.5, {"ssim": 0.5}, 7, "", features),
                Measured(sample, "FORA 2", 0.5, {}, None, "is black"),
            ]
        )
    document = path.read_bytes()

    def case(rng: random.Random) -> None:
        content = broken_lines(document, rng)
        put(path, content)
        found = refused(lambda: Record(path, IDENTITY, COLUMNS, 4))
        if found is None:
            assert {"benchmark.jsonl": content} == files_below(folder)
            return
        rows = [m for row in found.rows.values() for m in row.values()]
        assert all(m.seconds > 0 and 0 <= m.sample < 4 for m in rows)
        assert json.dumps([m.to_json() for m in rows], allow_nan=False)
        found.append([Measured(3, column, 1.0) for column in COLUMNS])
        again = Record(path, IDENTITY, COLUMNS, 4)
        assert sorted({*found.samples(), 3}) == again.samples()

    return case


# --- workflows


def workflow_documents() -> list[bytes]:
    nodes = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}},
        "2": {"class_type": "ECAD_CalibrationPrompts", "inputs": {"source": "general", "seed": 3}},
        "3": {
            "class_type": "ECAD_Search",
            "inputs": {"model": ["1", 0], "calibration": ["2", 0], "journal": "a", "images": 100},
            "_meta": {"title": "Search"},
        },
        "4": {"class_type": "ECAD_Benchmark", "inputs": {"model": ["1", 0], "front": ["3", 0]}},
        "5:1": {"class_type": "PreviewAny", "inputs": {"source": ["4", 1]}},
    }
    page = {
        "id": "x",
        "nodes": [
            {"id": 3, "type": "ECAD_Search", "inputs": [], "widgets_values": [100, "ecad+", 0, ""]}
        ],
        "links": [[1, 1, 0, 3, 0, "MODEL"]],
        "version": 0.4,
    }
    return [json.dumps(nodes).encode(), json.dumps(nodes).encode(), json.dumps(page).encode()]


def workflows(folder: Path) -> Callable[[random.Random], None]:
    documents = workflow_documents()
    path = folder / "workflow.json"

    def case(rng: random.Random) -> None:
        put(path, broken_file(rng.choice(documents), rng))
        kind = rng.choice((SearchWorkflow, BenchmarkWorkflow))
        node = rng.choice((None, None, "3", "x\x1b"))
        found = refused(lambda: kind.load(path, node))
        if found is None:
            return
        assert found.id in found.nodes
        text = json.dumps(found.nodes, allow_nan=False)
        again = kind.parsed(text, found.id, source="again")
        assert same_json(found.nodes, again.nodes)
        changed = found.changed({"images": 9, "journal": "b"})
        assert 9 == changed.nodes[found.id]["inputs"]["images"]
        assert set(changed.nodes) <= set(found.nodes)

    return case


# --- prompts


PROMPTS = (
    (".txt", "# a comment\na fox, red\n\n[style] a pizza\n日本語の犬 🎨\n"),
    (".csv", 'Prompts,Category\n"a fox, red",animal\na pizza,food\n"he said ""no""",x\n'),
    (".csv", "prompt;own\na fox;b\nc;d\n"),
    (".tsv", 'Prompt\tCategory\n"Hello"\tx\nthe word "HI"\ty\n'),
    (".json", '["a fox", "a pizza", "é"]'),
    (".json", '[{"id": 1, "prompt": "a fox"}, {"id": 2, "prompt": "a pizza"}]'),
    (".json", '{"a1": {"category": "x", "prompt": "a fox"}, "a2": {"prompt": "b"}}'),
    (".json", '{"prompts": ["a", "b"], "note": 1.5}'),
    (".json", '{"annotations": [{"image_id": 7,"caption": "a"}, {"image_id": 8,"caption": "é"}]}'),
)  # fmt: skip


def prompts(folder: Path) -> Callable[[random.Random], None]:
    def case(rng: random.Random) -> None:
        ending, text = rng.choice(PROMPTS)
        content = text.encode("utf-8")
        content = broken_file(content, rng) if ending == ".json" else broken_bytes(content, rng)
        column = rng.choice(("", "", "own", "caption", "x\x1b\n", "a" * 300))
        source: Path | str = content.decode("utf-8", "replace")
        if rng.random() < 0.5:
            source = folder / f"a{rng.choice((ending, ending, '.txt', ''))}"
            put(source, content)
        found = refused(lambda: load_prompts(source, column=column))
        if found is None:
            return
        assert found and all(prompt.strip() and prompt.encode("utf-8") for prompt in found)
        listed = load_prompts(json.dumps(found), "json")
        assert [" ".join(prompt.split()) for prompt in found] == list(listed)
        assert 2 * len(found) == len(CalibrationPrompts(found, 2, 5, "x").samples)

    return case


# --- names and addresses


def names(folder: Path) -> Callable[[random.Random], None]:
    """Names of widgets that become files of the results, the input folder or the library."""
    home, outside = folder / "home", folder / "outside"
    for place in (home / "mine", outside):
        place.mkdir(parents=True)
    with contextlib.suppress(OSError):  # links need rights on Windows
        (home / "link").symlink_to(outside)
        (home / "loop").symlink_to(home / "loop")
    schedule_json.save(presets.fora(TINY, 4, 2), home / "mine" / "fast.json")
    library = ScheduleLibrary(home, home)
    before = sorted(folder.rglob("*"))
    parts = ("mine", "fast", "fast.json", "link", "loop", "a", str(outside), str(home))

    def case(rng: random.Random) -> None:
        name = hostile_name(rng, parts)
        suffix = rng.choice(("", ".jsonl", ".workflow.json"))
        path = refused(lambda: confined(home, name, "the folder", suffix=suffix))
        if path is not None:
            inside = path.relative_to(home.resolve()).parts
            assert inside and not set(inside) & {"..", ".", ""} and inside[0] != "link"
            for part in inside:
                assert part.isprintable() and part == part.strip(" .")
                assert not set(part) & set('<>:"/\\|?*') and len(os.fsencode(part)) <= 255
                assert part.split(".")[0].lower() not in {"con", "aux", "nul", "com1", "conin$"}
            path.is_file()
        found = refused(lambda: library.path(rng.choice(("", "my/")) + name))
        assert found in (None, home / "mine" / "fast.json")
        if rng.random() < 0.02:
            saved = refused(lambda: library.save(presets.fora(TINY, 4, 3), name))
            if saved is not None:
                assert saved.resolve().is_relative_to(home.resolve())
                saved.unlink()
                for parent in saved.relative_to(home).parents[:-1]:
                    with contextlib.suppress(OSError):  # not empty: it was there before
                        (home / parent).rmdir()
            assert before == sorted(folder.rglob("*"))

    return case


def addresses(folder: Path) -> Callable[[random.Random], None]:
    """Addresses of a ComfyUI, as `--server` gets them."""
    usual = (
        "127.0.0.1:8188",
        "http://localhost:8188/",
        "https://a.example/comfy",
        "http://[::1]:80",
    )

    def case(rng: random.Random) -> None:
        address = broken_bytes(rng.choice(usual).encode(), rng).decode("utf-8", "replace")
        found = refused(lambda: Connection.to(address))
        if found is not None:
            request = urllib.request.Request(found.url + "/prompt")
            assert request.full_url.encode("ascii") and request.host
            assert "@" not in found.url and found.url.isprintable()
            assert found == Connection.to(found.url)

    return case


# --- the command line


def commands(folder: Path) -> Callable[[random.Random], None]:
    """`show`, `convert`, `front` and `export` end with 0, or with 1 and one line."""
    schedules, points = schedule_documents() + paper_documents(), front().to_json().encode("ascii")
    path, out = folder / "a.json", folder / "out"

    def case(rng: random.Random) -> None:
        kind = rng.choice(("show", "convert", "front", "export"))
        source = points if kind in ("front", "export") else rng.choice(schedules)
        put(path, broken_file(source, rng))
        arguments = [kind, str(path)]
        if kind == "export":
            arguments += ["--all", "--overwrite", "--out", str(out)]
        elif kind == "convert":
            arguments += ["--overwrite", "--out", str(out), *rng.choice(([], ["--steps", "7"]))]
        arguments += rng.choice(([], ["--json"]))
        told, wrong = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(wrong):
            code = cli.main(arguments)
        in_json = kind == "convert" and "--json" in arguments  # it tells of errors there
        assert (code == 1) == bool(wrong.getvalue() or (in_json and '"error"' in told.getvalue()))
        assert code in (0, 1)
        assert wrong.getvalue().count("\n") <= 1 and wrong.getvalue().rstrip("\n").isprintable()
        assert all(line.isprintable() for line in told.getvalue().splitlines())
        if "--json" in arguments and told.getvalue():
            json.loads(told.getvalue())
        assert {path, out} >= set(folder.iterdir())

    return case


# --- the targets


@dataclass(frozen=True)
class Target:
    """`made(folder)` gives the function that runs a case; `cases` of them in a usual run."""

    made: Callable[[Path], Callable[[random.Random], None]]
    cases: int


TARGETS = (
    Target(schedules, 14_000),
    Target(official_schedules, 5_000),
    Target(fronts, 4_000),
    Target(read_journals, 12_000),
    Target(recorded_searches, 1_500),
    Target(resumed_searches, 1_200),
    Target(times_of_journals, 3_000),
    Target(locks, 2_000),
    Target(records, 10_000),
    Target(workflows, 16_000),
    Target(prompts, 20_000),
    Target(names, 14_000),
    Target(addresses, 8_000),
    Target(commands, 400),
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.made.__name__)
def test_what_is_broken_is_refused_in_a_sentence_or_means_the_same_again(target, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    hunt(target.made.__name__, target.cases, target.made(folder))
    assert ["folder"] == os.listdir(tmp_path)


def test_a_usual_run_has_a_hundred_thousand_cases():
    assert sum(target.cases for target in TARGETS) >= 100_000


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.made.__name__)
def test_cases_are_the_same_every_time(target, tmp_path):
    """Only then can a failure be looked into: the first broken bytes of two runs are equal."""
    drawn = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        case, rng = target.made(tmp_path / place), random.Random("a case")
        with contextlib.suppress(EcadError):
            case(rng)
        drawn.append(rng.random())
    assert drawn[0] == drawn[1]
