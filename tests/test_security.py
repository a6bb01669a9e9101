"""What the pack may do on somebody's machine: no code from files, no shell, no network unasked."""

from __future__ import annotations

import ast
import functools
import http.server
import re
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from ecad_search.comfyui.connection import Connection, Refused

ROOT = Path(__file__).resolve().parent.parent
# Run code from data, or fetch it.
NEVER_IMPORTED = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("yaml", "xml", "xmlrpc", "telnetlib", "ftplib", "smtplib", "requests", "httpx", "urllib3"),
    *("huggingface_hub", "webbrowser", "pip", "code", "codeop", "runpy"),
}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}
NEVER_CALLED_OF = {"os": re.compile(r"system|popen|exec\w+|spawn\w+|startfile")}
NETWORK = {"socket", "ssl", "http", "urllib", "aiohttp", "socketserver"}
PROCESSES = {"subprocess", "multiprocessing", "_winapi"}
# Who needs them: the client of a ComfyUI that the user names or has us start; the workers.
MAY_NETWORK = {
    "ecad_search/comfyui/connection.py",  # the address that the user gives
    "ecad_search/comfyui/websocket.py",  # the same
    "ecad_search/comfyui/process.py",  # a free port of this machine
}
MAY_PROCESS = {
    "ecad_search/comfyui/process.py",  # the ComfyUI of --comfyui
    "ecad_search/testing/scorer_contract.py",  # tests: imports in a Python of their own
}


def sources() -> list[Path]:
    folders = (ROOT / "ecad_search", ROOT / "nodes")
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [ROOT / "__init__.py", *(f for f in files if "__pycache__" not in f.parts)]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {named(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


def found_by(walk: Callable[[ast.AST], Collection[str]]) -> dict[str, Collection[str]]:
    """What a walk finds, by file."""
    return {name: found for name, tree in trees().items() if (found := walk(tree))}


def imported(tree: ast.AST) -> set[str]:
    """The first names of what is imported absolutely, at the top or inside of functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # The half of aiohttp that answers what the host is asked, and asks nobody.
            if (node.module, [alias.name for alias in node.names]) != ("aiohttp", ["web"]):
                names.add((node.module or "").split(".")[0])
    return names


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """(what stands before the last dot, the name called, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield "", node.func.id, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, node


def dangers(tree: ast.AST) -> list[str]:
    """Calls that run what a file or a user says, or that hand it to a shell."""
    found = []
    for owner, name, call in calls(tree):
        keywords = {k.arg: k.value for k in call.keywords}
        shown = ast.unparse(call)[:80]
        if not owner and name in NEVER_CALLED:
            found.append(shown)
        if owner in NEVER_CALLED_OF and NEVER_CALLED_OF[owner].fullmatch(name):
            found.append(shown)
        if "shell" in keywords or name in ("getoutput", "getstatusoutput", "mktemp"):
            found.append(shown)
        if owner == "torch" and name == "load" and not is_true(keywords.get("weights_only")):
            found.append(shown)
        if owner in ("np", "numpy") and name == "load" and "allow_pickle" in keywords:
            found.append(shown)
        if name in ("load_state_dict_from_url", "hf_hub_download", "urlretrieve", "download_url"):
            found.append(shown)
        if name == "from_pretrained" and not is_true(keywords.get("local_files_only")):
            found.append(shown)
    return found


def is_true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def unsafe_routes(tree: ast.AST) -> list[str]:
    """HTTP routes that are not GET, and GET routes that answer with anything but JSON."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and is_routes(decorator.func):
                    method = getattr(decorator.func, "attr", "")
                    if method != "get" or not answers_json(node):
                        found.append(f"{method} {node.name}")
    for owner, name, call in calls(tree):
        direct = name.startswith("add_") and ("router" in owner or "routes" in owner)
        if direct or (name == "add_routes" and owner):
            found.append(ast.unparse(call)[:80])
    return found


def is_routes(function: ast.AST) -> bool:
    return isinstance(function, ast.Attribute) and ast.unparse(function.value).endswith("routes")


def answers_json(function: ast.AST) -> bool:
    """Whether all its answers are made by json_response."""
    answers = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    return bool(answers) and all(
        isinstance(answer, ast.Call) and ast.unparse(answer.func).endswith("json_response")
        for answer in answers
    )


def test_nothing_that_runs_code_from_data_is_imported():
    assert {} == found_by(lambda tree: imported(tree) & NEVER_IMPORTED)


def test_no_text_is_run_and_no_shell_is_asked():
    assert {} == found_by(dangers)


def test_only_the_client_of_a_comfyui_opens_connections():
    assert MAY_NETWORK == found_by(lambda tree: imported(tree) & NETWORK).keys()


def test_only_who_must_starts_processes():
    assert MAY_PROCESS == found_by(lambda tree: imported(tree) & PROCESSES).keys()


def test_http_routes_only_read_and_answer_in_json():
    assert {} == found_by(unsafe_routes)


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(text)",
        "os.execv(a, b)",
        "subprocess.run(text, shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name)",
        "tempfile.mktemp()",
    ],
)
def test_the_walk_sees_what_is_dangerous(code):
    assert [code] == dangers(ast.parse(code))


def test_the_walk_passes_what_is_not():
    code = "torch.load(path, weights_only=True)\nmodel.eval()\nre.compile(x)\nos.replace(a, b)"
    assert [] == dangers(ast.parse(code))


@pytest.mark.parametrize(
    ("route", "answer", "unsafe"),
    [
        ("PromptServer.instance.routes.get('/ecad/x')", "web.json_response({})", False),
        ("PromptServer.instance.routes.get('/ecad/x')", "web.FileResponse(path)", True),
        ("PromptServer.instance.routes.post('/ecad/x')", "web.json_response({})", True),
        ("routes.delete('/ecad/x')", "web.json_response({})", True),
    ],
)
def test_the_walk_sees_routes(route, answer, unsafe):
    code = f"@{route}\nasync def handler(request):\n    return {answer}\n"
    assert unsafe == bool(unsafe_routes(ast.parse(code)))
    assert unsafe_routes(ast.parse("app.router.add_get('/x', handler)"))


# --- the page


def scripts() -> list[Path]:
    return sorted(p for p in (ROOT / "web").rglob("*") if p.suffix in (".js", ".mjs"))


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_scripts_make_no_markup_of_texts_and_load_nothing_from_elsewhere(path):
    """Names of schedules and scorers come from files of other people."""
    text = path.read_text(encoding="utf-8")
    code = re.sub(r"^\s*(//|\*).*$", "", text, flags=re.MULTILINE)
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\("
    assert [] == re.findall(forbidden, code)
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", code)
    assert [] == [a for a in addresses if a != "http://www.w3.org/2000/svg"]
    assert [] == re.findall(r"\bnew (?:WebSocket|EventSource|XMLHttpRequest|Worker)\b", code)


# --- the client connects to nothing but what it was told


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Sends everybody on to `target`; counts who comes."""

    target = ""
    seen: list[str]

    def do_GET(self):
        self.seen.append(self.path)
        self.send_response(302 if self.target else 200)
        if self.target:
            self.send_header("Location", f"{self.target}{self.path}")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """Starts HTTP servers of this machine; `server(target)` gives (address, paths it was asked)."""
    running = []

    def start(target: str = ""):
        handler = type("Handler", (Elsewhere,), {"target": target, "seen": []})
        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        running.append(made)
        return f"http://127.0.0.1:{made.server_address[1]}", handler.seen

    yield start
    for made in running:
        made.shutdown()
        made.server_close()


@pytest.mark.parametrize("ask", ["get", "post"])
def test_a_server_cannot_send_the_client_elsewhere(server, ask):
    other, asked_other = server()
    address, asked = server(other)
    connection = Connection.to(address)
    with pytest.raises(Refused, match="HTTP 302"):
        connection.get("/prompt") if ask == "get" else connection.post("/prompt", {})
    assert (["/prompt"], []) == (asked, asked_other)


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    address, asked = server()
    proxy, asked_proxy = server()
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    assert {} == Connection.to(address).get("/prompt")
    assert (["/prompt"], []) == (asked, asked_proxy)
