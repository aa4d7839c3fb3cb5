"""``r4t quickstart``: the whole method, from nothing to a table and three sets."""

import hashlib
import json
import shlex
import time
from pathlib import Path

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, nearest
from r4t.support.configs import configs_folder
from r4t.support.files import write_text
from r4t.support.interruption import Interrupted
from r4t.support.progress import duration

EXAMPLES = (
    "r4t quickstart --run runs/quickstart",
    "r4t quickstart --run runs/quickstart --smoke      every step in seconds, to see that it runs",
    "r4t quickstart --run runs/quickstart --resume     after a Ctrl-C",
)
TASKS = ("oar", "wscr")
JOURNAL = "quickstart.json"
NEXT = """
What to try next
  r4t retrieve {run} "{query}"
  r4t retrieve {run} "{query}" --with student    # or folm: the language model
  r4t compare {run} "{query}"    # several methods side by side, as a page too
  r4t evaluate {run} --config {configs}/toy/5_evaluate.yaml
  r4t new-objective thrift             # an objective of your own, as a package
  r4t init my-project                  # the configs, to be edited
  r4t catalog ITEMS.jsonl --out my-project/catalog
The run folder: {run}/README.md says what is what.
"""


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    made = verb_parser(
        "quickstart",
        "The whole method on the embedded data, or on any source of items and sets.",
        EXAMPLES,
    )
    made.add_argument("--run", type=str, default=None, help="Run folder (runs/quickstart).")
    made.add_argument(
        "--task", type=str, default="oar", help="oar (default), or wscr (reference sets)."
    )
    made.add_argument(
        "--source", type=str | None, default=None, help="Items and sets; the wardrobe by default."
    )
    made.add_argument(
        "--overlay", type=str | None, default=None, help="Config laid over every training step's."
    )
    made.add_argument("--seed", type=int, default=0, help="Of data, split and training (0).")
    made.add_argument(
        "--smoke", action="store_true", help="A few seconds a step: does it run at all?"
    )
    made.add_argument(
        "--resume",
        action="store_true",
        help="Go on where a quickstart of the same settings was stopped.",
    )
    return made


def run(arguments: list[str]) -> None:
    """Run every step with the shipped configs.

    Raises:
        InputError: A setting does not fit, or the run was begun on other data.
        Interrupted: The user stopped it; the sentence has the command that goes on.
    """
    options = parse(parser(), arguments)
    if options.task not in TASKS:
        raise InputError(
            f"--task must be oar or wscr, found '{options.task}'; choose one."
            f"{nearest(options.task, TASKS)}"
        )
    default = "runs/quickstart" if options.task == "oar" else "runs/quickstart-wscr"
    folder = options.run if options.run is not None else default
    steps = commands(
        folder, options.task, options.source, options.seed, options.smoke, options.overlay
    )
    if options.overlay is not None and not Path(options.overlay).is_file():
        raise InputError(
            f"--overlay names a config to lay over every training step's — found none at "
            f"{options.overlay} — correct the path."
        )
    begun = is_begun(folder, options.source, options.seed)
    journal = Journal(Path(folder) / JOURNAL, options.resume)
    if begun and journal.state(steps[0]) != "done":
        print(f"{folder} is a run already: its catalog stays, the steps are made again")
        del steps[0]
    started = time.monotonic()
    try:
        for number, command in enumerate(steps, 1):
            _call(command, journal, f"[{number}/{len(steps)}]", started)
    except (Interrupted, KeyboardInterrupt):
        again = [word for word in arguments if word != "--resume"]
        raise Interrupted(
            f"stopped in step {number} of {len(steps)} ({_named(command)}); the steps before "
            f"are kept; go on with: {shlex.join(['r4t', 'quickstart', *again, '--resume'])}"
        ) from None
    what = "What was left of it" if options.resume else "The whole method"
    print(f"\n{what} took {duration(time.monotonic() - started)}.")
    from r4t.run import Run

    query = Run.open(folder).read_queries("test")[0].text
    print(NEXT.format(run=folder, query=query, configs=configs_folder()))


class Journal:
    """Which steps of a quickstart are done, and which was begun, in a file of the run.

    A step is known by its arguments and the content of its configs: of others it knows nothing.

    Args:
        path: The file.
        resumed: Whether to go on from what it says; else it begins anew.
    """

    def __init__(self, path: Path, resumed: bool) -> None:
        self.path = path
        self._passed: list[str] = []
        there = resumed and path.is_file()
        self.entries: dict[str, str] = json.loads(path.read_text("utf-8")) if there else {}

    def state(self, command: list[str]) -> str:
        """Return ``"done"``, ``"begun"`` or, of a step that it does not know, nothing."""
        return self.entries.get(_digest(command), "")

    def keep(self, command: list[str]) -> None:
        """Leave a step as it is."""
        self._passed.append(_digest(command))

    def note(self, command: list[str], state: str) -> None:
        """Write down that a step is begun or done.

        All steps that come after it are made from it, and so are to be made again.
        """
        name = _digest(command)
        self.entries = {step: self.entries[step] for step in self._passed} | {name: state}
        if state == "done":
            self._passed.append(name)
        write_text(self.path, json.dumps(self.entries, indent=2))


def _digest(command: list[str]) -> str:
    """The step by name, and a hash of what it runs with."""
    found = hashlib.sha256("\0".join(command).encode())
    for word in command:
        if word.endswith(".yaml") and Path(word).is_file():
            found.update(Path(word).read_bytes())
    return f"{_named(command)} {found.hexdigest()[:12]}"


def _named(command: list[str]) -> str:
    configs = [Path(word).stem for word in command if word.endswith(".yaml")]
    return " ".join([command[0], *configs[:1]])


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


def _call(command: list[str], journal: Journal, place: str, started: float) -> None:
    from r4t.__main__ import run as run_verb

    shown = f"{place} {shlex.join(['r4t', *command])}"
    state = journal.state(command)
    if state == "done":
        print(f"\n{shown}\n(done before)", flush=True)
        journal.keep(command)
        return
    if state == "begun" and command[0] == "fit":
        shown, goes_on = f"{shown} --ckpt_path last", ["--ckpt_path", "last"]
    else:
        goes_on = []
    print(f"\n{shown}", flush=True)
    began = time.monotonic()
    if command[0] == "fit":  # the others go on, or begin anew, by themselves
        journal.note(command, "begun")
    run_verb([*command, *goes_on])
    journal.note(command, "done")
    now = time.monotonic()
    print(f"({now - began:.0f} s; {duration(now - started)} since the start)", flush=True)
