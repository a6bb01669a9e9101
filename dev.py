"""Everything a developer runs, with nothing to install first: python3 dev.py --help

demo  search a schedule for the built-in model, from nothing to pictures
test  every check: ruff, pyright, and pytest with a real ComfyUI
host  ComfyUI with this pack in your browser
matrix  the tests inside ComfyUI, on each release you have a folder of
locales  write locales/ from the nodes and their translations
bench NAME  one of: bookkeeping, claims, engine, import, latency, peers, quick, search
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # this line has to be reached on older ones
    sys.exit("dev.py needs Python 3.10 or newer, this is %d.%d." % sys.version_info[:2])  # noqa: UP031

import argparse
import os
import signal
import subprocess
import tempfile
import webbrowser
from pathlib import Path

from devtools import demo, matrix
from devtools.bench import BENCHMARKS
from devtools.console import StatusLine
from devtools.environment import PACK_NAME, Environment, child_variables, prepare
from devtools.marked_page import write_into
from devtools.problem import Problem, disk_full, means_disk_full
from devtools.pytest_command import whole_run
from devtools.server import Server, choose_port, is_free, make_base

ROOT = Path(__file__).resolve().parent
WORKFLOW = ROOT / "demo" / "workflow_api.json"
EXAMPLE = ROOT / "example_workflows" / "emoji_search.json"  # the same job, for the browser
USUAL_PORT = 8188


def main(arguments: list[str]) -> int:
    parser = commands()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in (run_tests, run_benchmark):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.passed_on = rest
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that ComfyUI is stopped as well
    try:
        return options.command(options)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except OSError as error:
        if not means_disk_full(error):
            raise
        print(f"\n{disk_full(ROOT)}", file=sys.stderr)
    return 1


def commands() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="your own ComfyUI, not a downloaded 0.3.75"
    )
    shared.add_argument(
        "--python", type=Path, metavar="EXE", help="an interpreter that can run it, taken as it is"
    )
    subparsers = parser.add_subparsers(required=True, metavar="demo|test|host|matrix|locales|bench")

    command = subparsers.add_parser("demo", parents=[shared], help="search a schedule, headless")
    command.add_argument("--out", type=Path, default=Path("demo_output"), metavar="DIR")
    command.add_argument(
        "--workflow", type=Path, default=WORKFLOW, metavar="FILE", help="another, in API format"
    )
    command.add_argument("--images", type=int, metavar="N", help="how many images to spend")
    command.add_argument("--port", type=int, metavar="P", help="default: any free one")
    command.set_defaults(command=run_demo)

    command = subparsers.add_parser(
        "test",
        parents=[shared],
        allow_abbrev=False,
        help="ruff, pyright and pytest; with arguments pytest alone, which gets them",
    )
    command.set_defaults(command=run_tests)

    command = subparsers.add_parser("matrix", help="the tests inside ComfyUI, on several releases")
    command.add_argument("releases", nargs="+", type=Path, metavar="PATH", help="ComfyUI folders")
    command.add_argument("--into", type=Path, metavar="FILE", help="a page to put the table into")
    command.add_argument(
        "--brief", action="store_true", help="without the contract of each model family"
    )
    command.set_defaults(command=run_matrix)

    command = subparsers.add_parser("locales", parents=[shared], help="the nodes' translations")
    command.set_defaults(command=write_locales)

    command = subparsers.add_parser(
        "bench",
        parents=[shared],
        allow_abbrev=False,
        add_help=False,  # the benchmark's own is asked for
        help="a benchmark, which gets what is left",
    )
    command.add_argument("name", choices=list(BENCHMARKS), help="which one")
    command.set_defaults(command=run_benchmark)

    command = subparsers.add_parser("host", parents=[shared], help="ComfyUI in your browser")
    command.add_argument("--port", type=int, metavar="P", help=f"default: {USUAL_PORT}, if free")
    command.add_argument("--no-browser", action="store_true", help="only print the address")
    command.set_defaults(command=run_host)
    return parser


def run_demo(options: argparse.Namespace) -> int:
    status = StatusLine()
    workflow = demo.load_workflow(options.workflow, options.images)
    port = choose_port(options.port)
    environment = prepared(options, status)
    (ROOT / ".host").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".host", prefix="demo-") as scratch:
        base = make_base(Path(scratch), ROOT)
        try:
            status.show("  Starting ComfyUI ...")
            with Server(environment, base, port, "--disable-api-nodes") as server:
                outputs = demo.run(server, workflow, status)
                # before it stops: ComfyUI deletes its previews then
                results = demo.collect(base, workflow, outputs, options.out)
        finally:
            status.clear()
    if "summary.json" in results:
        print(demo.summary_table(results["summary.json"]))
    missing = [name for name in demo.RESULTS if name not in results]
    if missing:
        raise Problem(f"The workflow ended without {', '.join(missing)}: check {options.workflow}.")
    print(f"\n{', '.join(results)} are in {options.out.resolve()}")
    return 0


def run_tests(options: argparse.Namespace) -> int:
    environment = prepared(options, StatusLine(), tools=True)
    python = str(environment.python)
    variables = child_variables(COMFYUI_PATH=str(environment.comfyui))
    failed = []
    if not options.passed_on:
        checks = {
            "ruff": [python, "-m", "ruff", "check", "."],
            "pyright": [python, "-m", "pyright", "--pythonpath", python],
        }
        if options.comfyui is not None:
            del checks["pyright"]  # pyproject.toml tells it of the downloaded ComfyUI only
        for name, command in checks.items():
            print(f"\n{name}", flush=True)
            if subprocess.run(command, cwd=ROOT, env=variables).returncode:
                failed.append(name)
        print("\npytest", flush=True)
        pytest, variables = whole_run(python, environment.comfyui)
    else:
        pytest = [python, "-m", "pytest", *options.passed_on]
    code = subprocess.run(pytest, cwd=ROOT, env=variables).returncode
    if failed:
        print(f"{' and '.join(failed)} found something, see above.", file=sys.stderr)
    return code or int(bool(failed))


def run_matrix(options: argparse.Namespace) -> int:
    folders = [folder.resolve() for folder in options.releases]
    outcomes = matrix.run_matrix(ROOT, folders, StatusLine(), brief=options.brief)
    table = matrix.table(outcomes)
    print(f"\n{table}", end="")
    if options.into is not None:
        write_into(options.into, "matrix", table)
    return int(any(outcome.failed for outcome in outcomes))


def write_locales(options: argparse.Namespace) -> int:
    environment = prepared(options, StatusLine())
    variables = child_variables(COMFYUI_PATH=str(environment.comfyui))
    command = [str(environment.python), "-m", "devtools.locales"]
    return subprocess.run(command, cwd=ROOT, env=variables).returncode


def run_benchmark(options: argparse.Namespace) -> int:
    environment = prepared(options, StatusLine(), tools=True)
    command = [str(environment.python), "-m", BENCHMARKS[options.name], *options.passed_on]
    variables = child_variables(COMFYUI_PATH=str(environment.comfyui))
    return subprocess.run(command, cwd=ROOT, env=variables).returncode


def run_host(options: argparse.Namespace) -> int:
    status = StatusLine()
    usual = USUAL_PORT if is_free(USUAL_PORT) else None
    port = choose_port(usual if options.port is None else options.port)
    environment = prepared(options, status)
    base = make_base(ROOT / ".host" / "base", ROOT)
    status.show("  Starting ComfyUI ...")
    with Server(environment, base, port) as server:
        address = f"{server.url}/?template={EXAMPLE.stem}&source={PACK_NAME}"
        status.finish(f"ComfyUI runs at {address}")
        if (failure := server.import_failure()) is not None:
            print(f"The pack did not load. {failure}", file=sys.stderr)
        print(
            f"It opens the demo workflow. All examples: Workflow > Browse Templates > {PACK_NAME}."
        )
        print(f"Its models and pictures are in {base}. Ctrl-C stops it.", flush=True)
        if not options.no_browser:
            webbrowser.open(address)
        server.wait()
    return 0


def prepared(
    options: argparse.Namespace, status: StatusLine, *, tools: bool = False
) -> Environment:
    """The environment that was asked for, set up where it is ours."""
    return prepare(
        ROOT,
        status=status,
        comfyui=options.comfyui and options.comfyui.resolve(),
        # not resolved: the link in a virtual environment is what makes it one
        python=options.python and Path(os.path.abspath(options.python)),
        tools=tools,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
