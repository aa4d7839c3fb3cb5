"""Every code block of the pages runs, in order, in a folder with configs and a short run.

To be fast, training stops after a few steps, and evaluations take a few queries unless they are quick.
Commands that need a GPU or a model from a hub are parsed and built with a small model instead. Files that
are only shown are compiled, commands that are only shown are parsed, and shown output is compared with the
printed output. Benchmarks have their own tests; here only their options are checked.
"""

import ast
import contextlib
import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from r4t.__main__ import LIGHTNING_VERBS, VERBS
from r4t.__main__ import run as run_verb
from r4t.reward import Reward
from tests.chat_server import replies, serving
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, commands_of
from tests.docs.shown import untrue
from tests.docs.unrun import HUB, NOT_RUN, build, check_command, check_file

pytestmark = pytest.mark.docs

NOT_CODE = {"text", ""}  # drawings, formulas
PLAIN = {"mkdir", "cp", "cat", "head", "ls", "wc"}
SMOKE = ROOT / "configs" / "toy" / "smoke.yaml"
QUICK = {"--latency_batches": "[]", "--plots": "false"}
FEW = {"--queries": "8", "--across_runs": "2"}  # for runs whose numbers no page shows
VERDICT = '{"reason": "All of it fits.", "score": 4}'  # of the judge that any page may call
# Names of the runs on the pages.
RUNS = ["quickstart", "oar11", "paper", "paper-wscr", "seed0", "seed1", "seed2"]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """A folder with the output of a short `r4t quickstart`."""
    folder = tmp_path_factory.mktemp("short_run")
    with contextlib.chdir(folder):
        run_verb(["quickstart", "--smoke", "--run", "runs/quickstart"])
    return folder


@pytest.fixture
def place(short_run, tmp_path, monkeypatch):
    """A folder for one page: configs, the run, and the real data sets if available."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in RUNS:
        shutil.copytree(short_run / "runs" / "quickstart", folder / "runs" / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "benchmarks").mkdir()
    shutil.copytree(ROOT / "benchmarks" / "diffusion", folder / "benchmarks" / "diffusion")
    shared = Path(os.environ.get("R4T_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if shared.is_dir():
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / "data").symlink_to(shared.resolve())
    monkeypatch.setenv("HOME", str(tmp_path))  # for the cache of answers
    monkeypatch.setenv("R4T_JUDGE_MODEL", "tiny")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    modules = set(sys.modules)
    with serving(replies(VERDICT)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield folder
    for name in set(sys.modules) - modules:  # the page's own; pickle needs the dict itself
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_page(page, place, monkeypatch, capsys):
    name = str(page.relative_to(ROOT))
    names: dict[str, object] = {"__name__": "page"}
    printed: list[str] = []
    blocks = blocks_of(page)
    capsys.readouterr()
    for block in blocks:
        with in_block(name, block):
            take(block, place, names, monkeypatch)
        printed += capsys.readouterr().out.splitlines()
    for block in blocks:
        lines = [line for line in block.text.splitlines() if not line.startswith("$ ")]
        if block.language == "console" and lines:
            with in_block(name, block):
                missing = untrue(name, lines, printed, place)
                assert missing == [], "the page's commands do not print these lines"


@contextlib.contextmanager
def in_block(page: str, block: Block):
    """Add the place of the block to an error."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the block at {page}:{block.line}")
        raise


def take(block: Block, place: Path, names: dict[str, object], monkeypatch) -> None:
    """Write, parse or run one block, by its language."""
    if block.title:
        path = place / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        check_file(path, place)
    elif block.language == "console":
        for line in block.text.splitlines():
            if line.startswith("$ "):
                check_command(shlex.split(line[2:]), place, monkeypatch)
    elif block.language == "python":
        exec(compile(block.text, "block", "exec"), names)
    elif block.language == "bash":
        for words in commands_of(block):
            run(words, place, monkeypatch)
    elif block.language == "sh":
        for words in commands_of(block):
            program = next(word for word in words if "=" not in word.split("/")[0])
            readers = program.startswith(".venv/")  # the reader's environment, not this one
            runnable = not readers and Path(program).name not in NOT_RUN
            assert not runnable, f"can be tested as bash: {' '.join(words)}"
    elif block.language == "yaml":
        parse(yaml.safe_load(block.text))
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    elif block.language == "bibtex":
        assert re.match(r"@\w+\{[\w-]+,", block.text)
    else:
        assert block.language in NOT_CODE, f"no check for the language {block.language!r}"


def parse(config: dict) -> None:
    """Build the reward of a config fragment, if it has one."""
    assert config
    if "reward" in config:
        parser = ArgumentParser()
        parser.add_subclass_arguments(Reward, "reward")
        built = parser.instantiate_classes(parser.parse_object(config)).reward
        assert set(built.weights) == set(config["reward"]["init_args"]["weights"])


def run(words: list[str], place: Path, monkeypatch) -> None:
    """Run one command as a reader would."""
    while re.match(r"^[A-Z_0-9]+=", words[0]):  # set for this command only
        words = words[1:]
    if words[0] == "r4t":
        run_r4t(words[1:], monkeypatch)
    elif words[:3] == ["pip", "install", "-e"]:
        install(place / words[3], monkeypatch)
    elif words[:2] == ["python", "-m"] and words[2] == "pytest":
        done = subprocess.run(
            [sys.executable, *words[1:]],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
    elif words[0] == "python" and "benchmarks" in " ".join(words[1:3]):
        name = words[2] if words[1] == "-m" else words[1].removesuffix(".py").replace("/", ".")
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        assert options <= options_of(name), f"{name} has the options {sorted(options_of(name))}"
    elif words[0] == "python":
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_path(str(place / words[1]), run_name="__main__")
    else:
        assert words[0] in PLAIN, f"not a command of a bash block: {words[0]}"
        line = " ".join(words)
        done = subprocess.run(
            line, shell=True, check=True, capture_output=True, text=True, cwd=place
        )
        print(done.stdout)


@cache
def options_of(module: str, importers: frozenset[str] = frozenset()) -> set[str]:
    """Options of a benchmark, from its syntax tree and those of the benchmarks it imports.

    ``importers`` are passed over: a module may import its own package.
    """
    importers |= {module}
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        path = path.with_suffix("") / "__main__.py"
    assert path.is_file(), f"no module {module}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    options = {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    for node in ast.walk(tree):
        imported = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if imported.startswith("benchmarks.") and imported not in importers:
            options |= options_of(imported, importers)
    return options


def run_r4t(words: list[str], monkeypatch) -> None:
    """Run the program with few steps; only build what needs a GPU or a hub."""
    verb, rest = words[0], words[1:]
    prints_help = {"--help", "-h", "--print_config"} & {word.split("=")[0] for word in rest}
    assert verb in VERBS or verb.startswith("-"), f"no such verb: {verb}"
    if prints_help:
        with contextlib.suppress(SystemExit):
            run_verb(words)
    elif verb in LIGHTNING_VERBS:
        large = any(word.startswith(("configs/hardware", "configs/paper")) for word in rest)
        if large or any(HUB.match(word) or "VllmServer" in word for word in rest) or "gpu" in rest:
            build(verb, rest, monkeypatch)
        else:
            # A model that was trained for a few steps cannot pass a gate.
            gated = any(step in word for word in rest for step in ("4_accelerate", "5_refine"))
            lax = ["--model.init_args.max_loss", "20"] if gated else []
            run_verb([verb, *rest, "--config", str(SMOKE), *lax])
    elif verb == "quickstart":
        if "--seed" in rest:  # a run other than the short one
            shutil.rmtree(rest[rest.index("--run") + 1], ignore_errors=True)
        run_verb([*words, "--smoke"])
    elif verb == "evaluate" and "--headroom" not in rest:
        less = QUICK if is_quick(rest) else QUICK | FEW
        more = [word for option in less.items() if option[0] not in rest for word in option]
        run_verb([*words, *more])
    else:
        run_verb(words)


def is_quick(rest: list[str]) -> bool:
    """Whether an evaluation has few items and no model, as those whose tables pages show."""
    run = Path(rest[rest.index("--run") + 1] if "--run" in rest else rest[0])
    facts = json.loads((run / "catalog" / "catalog.json").read_text(encoding="utf-8"))
    return facts["items"] <= 2000 and not any(run.glob("*/model"))


def install(folder: Path, monkeypatch) -> None:
    """Imitate `pip install -e`: put the package's folder on the path, and write its entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = folder.parent / f".site-{project['name']}"
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    name, version = project["name"], project["version"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    source = folder / "src" if (folder / "src").is_dir() else folder
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
