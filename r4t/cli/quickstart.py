"""``r4t quickstart``: the whole method, from nothing to a table and three sets."""

import json
import time
from pathlib import Path

from jsonargparse import ArgumentParser

from r4t.configs import configs_folder
from r4t.errors import InputError

TASKS = ("oar", "wscr")
NEXT = """
What to try next
  r4t retrieve {run} "{query}"
  r4t retrieve {run} "{query}" --with folm
  r4t evaluate {run} --config {configs}/toy/5_evaluate.yaml
  r4t objectives                       # write your own: a class and an entry point
  r4t init my-project                  # the configs, to be edited
  r4t catalog ITEMS.jsonl --out my-project/catalog
The run folder: {run}/README.md says what is what.
"""


def run(arguments: list[str]) -> None:
    """Run every step with the shipped configs."""
    parser = ArgumentParser(
        prog="r4t quickstart",
        description="The whole method on the embedded data, or on any source of items and sets.",
        epilog="example: r4t quickstart --run runs/quickstart",
    )
    parser.add_argument("--run", type=str, default=None, help="Run folder (runs/quickstart).")
    parser.add_argument("--task", type=str, default="oar", help="oar, or wscr (reference sets).")
    parser.add_argument(
        "--source", type=str | None, default=None, help="Items and sets; the wardrobe by default."
    )
    parser.add_argument(
        "--overlay", type=str | None, default=None, help="Config laid over every training step's."
    )
    parser.add_argument("--seed", type=int, default=0, help="Of data, split and training.")
    parser.add_argument(
        "--smoke", action="store_true", help="A few seconds a step: does it run at all?"
    )
    options = parser.parse_args(arguments)
    if options.task not in TASKS:
        raise InputError(f"--task must be oar or wscr, found '{options.task}'; choose one.")
    default = "runs/quickstart" if options.task == "oar" else "runs/quickstart-wscr"
    folder = options.run if options.run is not None else default
    steps = commands(
        folder, options.task, options.source, options.seed, options.smoke, options.overlay
    )
    if is_begun(folder, options.source, options.seed):
        print(f"{folder} is a run already: its catalog stays, the steps are made again")
        del steps[0]
    started = time.monotonic()
    for command in steps:
        _call(command)
    minutes = (time.monotonic() - started) / 60
    print(f"\nThe whole method took {minutes:.1f} minutes.")
    from r4t.run import Run

    query = Run.open(folder).read_queries("test")[0].text
    print(NEXT.format(run=folder, query=query, configs=configs_folder()))


def is_begun(run: str, source: str | None, seed: int) -> bool:
    """Whether ``run`` has been begun, on this very data.

    Raises:
        InputError: It has been begun on other data: its catalog must not be replaced.
    """
    if not (Path(run) / "run.json").is_file():
        return False
    path = Path(run) / "catalog" / "catalog.json"
    origin = json.loads(path.read_text(encoding="utf-8")).get("origin") if path.is_file() else None
    found = origin if isinstance(origin, dict) else {}
    same = (
        (found.get("name"), found.get("seed")) == ("wardrobe", seed)
        if source is None
        else found.get("name") != "wardrobe"
    )
    if not same:
        wanted = f"the wardrobe of seed {seed}" if source is None else source
        raise InputError(
            f"A run keeps its catalog — {run} was begun on {found or 'other data'}, found a wish for "
            f"{wanted}; name another folder with --run."
        )
    return True


def commands(
    run: str, task: str, source: str | None, seed: int, smoke: bool, overlay: str | None = None
) -> list[list[str]]:
    """Return the verbs of the whole method, each as its arguments."""
    catalog, queries = f"{run}/catalog", f"{run}/queries"
    origin = "wardrobe" if source is None else source
    made = ["catalog", origin, "--out", catalog, "--overwrite"]
    asked = ["queries", catalog, "--out", queries, "--seed", str(seed), "--overwrite"]
    if source is None:
        made += ["--seed", str(seed)]
        asked = ["queries", catalog, "--out", queries, "--wardrobe", task, "--overwrite"]
    elif task == "wscr":
        asked += ["--sets", source]
    steps = [
        _step(verb, name, run, task, seed, smoke, overlay)
        for verb, name in (
            ("fit", "0_warm_start"),
            ("fit", "1_tune"),
            ("synthesize", "2_synthesize"),
            ("fit", "3_distill"),
            ("fit", "4_accelerate"),
        )
    ]
    evaluate = ["evaluate", run, "--config", str(configs_folder() / "toy" / "5_evaluate.yaml")]
    if smoke:
        evaluate += ["--queries", "16", "--across_runs", "2"]
        evaluate += ["--latency_calls", "1", "--latency_batches", "[1, 8]"]
    return [made, asked, *steps, evaluate]


def _step(
    verb: str, name: str, run: str, task: str, seed: int, smoke: bool, overlay: str | None
) -> list[str]:
    folder = configs_folder()
    layers = [folder / "toy" / f"{name}.yaml"]
    if task == "wscr":
        layers.append(folder / "wscr" / f"{name}.yaml")
    if overlay is not None:
        layers.append(Path(overlay))
    if smoke:
        layers.append(folder / "toy" / "smoke.yaml")
    configs = [word for layer in layers for word in ("--config", _shown(layer))]
    # Models of a few steps learn nothing that a gate could ask for.
    free = ["--model.init_args.gate", "0.0"] if smoke and name == "4_accelerate" else []
    return [verb, *configs, "--run", run, "--seed_everything", str(seed), *free]


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _call(command: list[str]) -> None:
    from r4t.__main__ import run as run_verb

    print(f"\n$ r4t {' '.join(command)}", flush=True)
    started = time.monotonic()
    run_verb(command)
    print(f"({time.monotonic() - started:.0f} s)", flush=True)
