"""Who may import whom, read from the syntax trees, and how lightly the program starts."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Down the corridor: a room imports itself and rooms before it.
ROOMS = """
errors support chat geometry encoder data catalog index sets search run plugins objective reward credit
choice filters metrics training testing targets fanout grpo diffusion methods synthesis retriever evaluation
report cli __main__
""".split()  # noqa: SIM905
PURE = ["geometry", "training.soft_grpo"]
PURE += ["diffusion.schedule", "diffusion.precondition", "diffusion.sampler"]
PURE += ["diffusion.trajectory", "diffusion.mixture"]
PURE += ["fanout.weights", "grpo.policy"]
WITH_LIGHTNING = ["training", "synthesis", "cli.lightning"]
WITH_LIGHTNING += [
    f"{room}.{file}" for room in ("grpo", "diffusion") for file in ("module", "data")
]
WITH_LIGHTNING += ["grpo.training", "grpo.warm_start"]
WITH_LIGHTNING += [f"diffusion.{file}" for file in ("training", "student", "refiner", "likelihood")]
WITH_LIGHTNING += ["grpo.monitor", "grpo.snapshot"]
WITH_TRANSFORMERS = ["encoder", "fanout", "cli.quiet"]
# What a stranger's objective may use: the contract, sets, the math, words, a chat model.
STRANGERS = [
    "r4t.objective",
    "r4t.sets",
    "r4t.geometry",
    "r4t.errors",
    "r4t.support.text",
    "r4t.chat",
]
STRANGERS += ["r4t.testing"]  # in their tests
# The simulated judge knows the truth of the embedded wardrobe; it is no example to follow.
SHIPPED = ["r4t.catalog", "r4t.data.facet_truth", "r4t.support.cache", "r4t.support.seeds"]
HEAVY = ["torch", "lightning", "transformers", "sklearn", "pyarrow", "faiss", "matplotlib"]
# Plain verbs, and below those with a help of their own: the parser's whole one needs torch.
VERBS = ["catalog", "queries", "report", "retrieve", "compare", "objectives", "init", "quickstart"]
VERBS += ["new-objective", "completion"]
VERBS += ["evaluate", "fit", "validate", "test", "predict", "synthesize"]  # their help is brief


def imports():
    """Module below r4t → dotted names of all that it imports, within functions too."""
    found = {}
    for path in sorted((ROOT / "r4t").rglob("*.py")):
        parts = path.relative_to(ROOT / "r4t").with_suffix("").parts
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                names.add(node.module)
        found[".".join(part for part in parts if part != "__init__")] = names
    return found


IMPORTS = imports()


def within(module, rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def importers(package):
    """Modules that import ``package`` or a part of it."""
    return {name for name, names in IMPORTS.items() if any(within(n, [package]) for n in names)}


def test_every_module_belongs_to_a_room():
    assert {name.split(".")[0] for name in IMPORTS if name} == set(ROOMS)


def test_no_circles():
    """Not even for type checkers: modules that need each other's names belong together."""
    waiting = {
        name: {target.removeprefix("r4t.") for target in targets} & IMPORTS.keys() - {name, ""}
        for name, targets in IMPORTS.items()
        if name  # r4t itself offers names of many rooms, and no room imports it
    }
    while leaves := [name for name, targets in waiting.items() if not targets & waiting.keys()]:
        for name in leaves:
            del waiting[name]
    assert sorted(waiting) == []


def test_no_function_is_longer_than_a_screen():
    long = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in ("r4t", "objectives")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60
    }
    assert long == set()


def test_few_files_at_the_top():
    assert len(list((ROOT / "r4t").glob("*.py"))) <= 18


def test_the_front_door_opens_lazily():
    code = """
import json, sys, r4t
heavy = [name for name in ("torch", "lightning", "transformers", "pyarrow") if name in sys.modules]
offered = {name: getattr(r4t, name).__module__ for name in r4t.__all__}
print(json.dumps([heavy, offered]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, offered = json.loads(done.stdout)
    assert heavy == []
    names = [
        "Retriever",
        "Objective",
        "SetBatch",
        "Catalog",
        "Query",
        "Run",
        "Reward",
        "Filter",
        "Method",
    ]
    assert set(offered) == set(names)
    assert all(module.startswith("r4t.") for module in offered.values())


def test_imports_go_downhill():
    uphill = [
        f"{name} imports {target}"
        for name, names in IMPORTS.items()
        for target in names
        if name
        and target.startswith("r4t.")
        and ROOMS.index(target.split(".")[1]) > ROOMS.index(name.split(".")[0])
    ]
    # The verb that calls the others does so through the program; another writes down what they are.
    assert sorted(uphill) == [
        f"cli.{verb} imports r4t.__main__" for verb in ("completion", "quickstart")
    ]


def test_imports_do_not_reach_the_shipped_objectives():
    assert importers("r4t_objectives") == set()
    for path in (ROOT / "objectives").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("r4t."):
                assert node.module in [*STRANGERS, *SHIPPED]


@pytest.mark.parametrize("one, other", [("grpo", "diffusion"), ("diffusion", "grpo")])
def test_the_two_workshops_never_meet(one, other):
    reached, frontier = set(), {name for name in IMPORTS if within(name, [one])}
    while frontier:
        reached |= frontier
        names = {target for name in frontier for target in IMPORTS[name]}
        frontier = {name.removeprefix("r4t.") for name in names} & IMPORTS.keys() - reached
    assert not any(within(name, [other]) for name in reached)


@pytest.mark.parametrize("name", PURE)
def test_the_maths_needs_torch_alone(name):
    outside = {target.split(".")[0] for target in IMPORTS[name]} - sys.stdlib_module_names
    assert outside <= {"torch", "r4t"}


def test_heavy_guests_come_by_invitation():
    assert [name for name in importers("lightning") if not within(name, WITH_LIGHTNING)] == []
    assert [name for name in importers("transformers") if not within(name, WITH_TRANSFORMERS)] == []


def test_names_say_what_a_file_is_for():
    vague = {"utils", "helpers", "common", "misc", "core", "base"}
    folders = [ROOT / name for name in ("r4t", "objectives", "tests", "benchmarks")]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    assert [path for path in paths if vague & {path.stem, path.parent.name}] == []


def test_plain_verbs_start_without_heavy_imports():
    code = f"""
import contextlib, io, json, sys
from r4t.__main__ import run
for verb in {VERBS!r}:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        run([verb, "--help"])
    assert f"r4t {{verb}}" in printed.getvalue(), verb
run(["--help"])
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
