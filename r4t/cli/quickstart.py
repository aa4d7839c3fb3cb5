"""``r4t quickstart``: the whole method, from nothing to a table and three sets."""

import hashlib
import json
import shlex
import time
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from tqdm import tqdm

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError
from r4t.support.configs import configs_folder
from r4t.support.files import write_text
from r4t.support.interruption import Interrupted

STEPS = (
    ("fit", "0_warm_start"),
    ("fit", "1_tune"),
    ("synthesize", "2_synthesize"),
    ("fit", "3_distill"),
    ("fit", "4_accelerate"),
    ("fit", "5_refine"),
)
JOURNAL = "quickstart.json"
SHOWN = ("romantic bold", "cozy winter evening", "bohemian festival style")
ABOUT_THE_JUDGE = """
What was learned came from a simulated judge, which knows what fits the training queries and errs in
one of ten grades. On your own data its place is taken by reference sets, a language model's grades
or clicks: docs/knowledge.md."""
NEXT = """
Next steps
  r4t retrieve {run} "{query}"
  r4t retrieve {run} "{query}" --with student    # or folm: the language model
  r4t compare {run} "{query}"    # several methods side by side, also as a page
  r4t evaluate {run} --config {configs}/toy/6_evaluate.yaml
  r4t new-objective thrift             # a package for your own objective
  r4t init my-project                  # copy the configs for editing
  r4t catalog ITEMS.jsonl --out my-project/catalog
{run}/README.md explains what the run folder holds.
"""


def run(arguments: list[str]) -> None:
    """Run every step with the shipped configs.

    Raises:
        InputError: If a setting does not fit, or the run was begun on other data.
        Interrupted: If the user stops it; the message has the command that resumes.
    """
    options = parse(verb_parser("quickstart"), arguments)
    if options.run is None:
        options.run = "runs/quickstart" if options.task == "oar" else "runs/quickstart-wscr"
    if options.overlay is not None and not Path(options.overlay).is_file():
        raise InputError(
            expected="a config as --overlay",
            found=f"no file at {options.overlay}",
            remedy="Correct the path.",
        )
    if options.split is not None and (options.source is None or options.task != "wscr"):
        raise InputError(
            expected="--source and --task wscr with --split, which is that of the reference sets",
            found=f"--split {options.split} without them",
            remedy="Add them, or leave out --split.",
        )
    steps = commands(options)
    begun = is_begun(options.run, options.source, options.seed)
    journal = Journal(Path(options.run) / JOURNAL, options.resume)
    if begun and journal.state(0, steps[0]) != "done":
        print(f"{options.run} is a run already: its catalog is kept, and the other steps run again")
        del steps[0]
    started = time.monotonic()
    again = [word for word in arguments if word != "--resume"]
    _run_steps(steps, journal, shlex.join(["r4t", "quickstart", *again, "--resume"]))
    what = "The remaining steps" if options.resume else "The whole method"
    print(f"\n{what} took {tqdm.format_interval(time.monotonic() - started)}.\n", flush=True)
    _show(options)


def _show(options: Namespace) -> None:
    """Print sets for three broad queries, what the numbers recommend, and what to do next."""
    from r4t.cli.evaluate import print_examples
    from r4t.evaluation.results import Results
    from r4t.report.headline import verdict
    from r4t.run import Run

    run = Run.open(options.run)
    queries: list[Any] = [*SHOWN]
    if options.source is not None:
        queries = run.read_queries("test")
        queries = queries[:: max(1, len(queries) // 3)][:3]
    print_examples(run, queries)
    for sentence in verdict(Results.load(run.folder / "results")):
        print(f"\n{sentence}.")
    if _reward(options) == "shopper":
        print(ABOUT_THE_JUDGE)
    query = run.as_queries(queries)[0].text
    print(NEXT.format(run=options.run, query=query, configs=configs_folder()))


class Journal:
    """Records in a file which steps of a quickstart are done, and which has begun.

    A step is identified by its arguments and the content of its configs.

    Args:
        path: The file.
        resumed: Whether to continue from the file; otherwise the journal starts empty.
    """

    def __init__(self, path: Path, resumed: bool) -> None:
        self.path = path
        read = resumed and path.is_file()
        self.entries: list[list[str]] = json.loads(path.read_text("utf-8")) if read else []

    def state(self, number: int, command: list[str]) -> str:
        """Return ``"done"``, ``"begun"`` or, if the step has changed or never ran, an empty string."""
        step, state = self.entries[number] if number < len(self.entries) else ("", "")
        return state if step == _digest(command) else ""

    def note(self, number: int, command: list[str], state: str) -> None:
        """Record that a step has begun or is done, and forget later steps, which build on it."""
        self.entries[number:] = [[_digest(command), state]]
        write_text(self.path, json.dumps(self.entries, indent=2))


def _run_steps(steps: list[list[str]], journal: Journal, resuming: str) -> None:
    from r4t.__main__ import run as run_verb

    started = time.monotonic()
    for number, command in enumerate(steps):
        state, began = journal.state(number, command), time.monotonic()
        resumed = state == "begun" and command[0] == "fit"
        words = [*command, "--ckpt_path", "last"] if resumed else command
        print(f"\n[{number + 1}/{len(steps)}] {shlex.join(['r4t', *words])}", flush=True)
        if state == "done":
            print("(already done)", flush=True)
            continue
        if command[0] == "fit":  # other verbs resume or start again by themselves
            journal.note(number, command, "begun")
        try:
            run_verb(words)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                f"stopped in step {number + 1} of {len(steps)} ({_name(command)}); earlier steps are "
                f"kept; resume with: {resuming}"
            ) from None
        journal.note(number, command, "done")
        now = time.monotonic()
        total = tqdm.format_interval(now - started)
        print(f"({now - began:.0f} s; {total} since the start)", flush=True)


def _digest(command: list[str]) -> str:
    """Return the name of a step, and a hash of its arguments and configs."""
    digest = hashlib.sha256("\0".join(command).encode())
    for word in command:
        if word.endswith(".yaml") and Path(word).is_file():
            digest.update(Path(word).read_bytes())
    return f"{_name(command)} {digest.hexdigest()[:12]}"


def _name(command: list[str]) -> str:
    configs = [Path(word).stem for word in command if word.endswith(".yaml")]
    return " ".join([command[0], *configs[:1]])


def is_begun(run: str, source: str | None, seed: int) -> bool:
    """Whether ``run`` has begun with this data.

    Raises:
        InputError: If it has begun with other data; its catalog is never replaced.
    """
    if not (Path(run) / "run.json").is_file():
        return False
    path = Path(run) / "catalog" / "catalog.json"
    origin = json.loads(path.read_text(encoding="utf-8")).get("origin") if path.is_file() else None
    origin = origin if isinstance(origin, dict) else {}
    if source is None:
        same = (origin.get("name"), origin.get("seed")) == ("wardrobe", seed)
    else:
        same = origin.get("name") != "wardrobe"
    if not same:
        raise InputError(
            expected=f"{run} to keep its catalog, made from {origin or 'other data'}",
            found=f"a request for {f'the wardrobe of seed {seed}' if source is None else source}",
            remedy="Name another folder with --run.",
        )
    return True


def commands(options: Namespace) -> list[list[str]]:
    """Return the commands of the whole method, as a verb and its arguments."""
    run, seed = options.run, ["--seed", str(options.seed)]
    catalog = ["catalog", options.source or "wardrobe", "--out", f"{run}/catalog", "--overwrite"]
    queries = ["queries", f"{run}/catalog", "--out", f"{run}/queries", "--overwrite"]
    if options.source is None:
        catalog += seed
        queries += ["--wardrobe", options.task]
    else:
        queries += seed + (["--sets", options.source] if options.task == "wscr" else [])
        queries += [] if options.split is None else ["--split", options.split]
    evaluate = ["evaluate", run, "--config", str(configs_folder() / "toy" / "6_evaluate.yaml")]
    if options.smoke:
        evaluate += ["--queries", "16", "--across_runs", "2"]
        evaluate += ["--latency_calls", "1", "--latency_batches", "[1, 8]"]
    return [catalog, queries, *(_step(verb, name, options) for verb, name in STEPS), evaluate]


def _reward(options: Namespace) -> str:
    """Return the folder of overlays that say what to learn from; none for a catalog without a judge."""
    if options.task == "wscr":
        return "wscr"
    return "shopper" if options.source is None else "none"


def _step(verb: str, name: str, options: Namespace) -> list[str]:
    layers = [configs_folder() / "toy" / f"{name}.yaml"]
    overlay = configs_folder() / _reward(options) / f"{name}.yaml"
    if overlay.is_file():
        layers.append(overlay)
    if options.overlay is not None:
        layers.append(Path(options.overlay))
    if options.smoke:
        layers.append(configs_folder() / "toy" / "smoke.yaml")
    here = Path.cwd()
    shown = [str(p.relative_to(here) if p.is_relative_to(here) else p) for p in layers]
    configs = [word for path in shown for word in ("--config", path)]
    # A model that was trained for a few steps cannot pass a gate.
    gated = options.smoke and name in ("4_accelerate", "5_refine")
    lax = ["--model.init_args.max_loss", "20"] if gated else []
    return [verb, *configs, "--run", options.run, "--seed_everything", str(options.seed), *lax]
