"""Files and commands that a page shows without running them → an error if they are wrong."""

import json
import re
import tomllib
from pathlib import Path

import yaml

from r4t.__main__ import LIGHTNING_VERBS, VERBS
from r4t.__main__ import run as run_verb
from r4t.cli import evaluate, lightning
from r4t.cli.arguments import parse, verb_parser
from r4t.cli.catalog import ENCODER_CLASS
from tests.docs.imports import unknown

NOT_RUN = {
    "git",
    "make",
    "python3",
    "source",
    "pip",
    "vllm",
    "export",
    "cd",
    "docker",
    "pre-commit",
    "run",  # .ci/run
}
HUB = re.compile(r"^[A-Z][\w.-]*/[\w.-]+$")  # Qwen/Qwen3-4B


def check_file(path: Path, place: Path) -> None:
    """Parse a file that a page shows, whether or not a command uses it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        compile(text, path.name, "exec")
        check_imports(text, place)
    elif path.suffix == ".yaml":
        assert yaml.safe_load(text)
    elif path.suffix == ".toml":
        assert tomllib.loads(text)
    elif path.suffix == ".jsonl":
        assert [json.loads(line) for line in text.splitlines()]
    else:
        assert path.suffix in (".csv", ".txt"), f"no check for files such as {path.name}"


def check_imports(source: str, place: Path) -> None:
    """Check that everything a source imports exists."""
    missing = unknown(source, place)
    assert not missing, f"cannot be imported: {', '.join(missing)}"


def check_command(words: list[str], place: Path, monkeypatch) -> None:
    """Parse a command that is shown but not run: its options, and the page's files that it names."""
    if words[0] == "python":
        assert (place / words[1]).is_file(), f"the page shows no {words[1]}"
    elif words[0] != "r4t":
        assert words[0] in NOT_RUN, f"no check for the command {words[0]}"
    elif words[1] in LIGHTNING_VERBS:
        build(words[1], words[2:], monkeypatch)
    else:
        assert words[1] in VERBS, f"no such verb: {words[1]}"
        evaluates = words[1] == "evaluate"
        parse(evaluate.parser() if evaluates else verb_parser(words[1]), words[2:])
        for word in words[2:]:
            if re.fullmatch(ENCODER_CLASS, word):
                module_name, class_name = word.split(":")
                check_imports(f"from {module_name} import {class_name}", place)


def build(verb: str, rest: list[str], monkeypatch) -> None:
    """Parse a command and build its objects, on the CPU and without a hub."""
    rest = ["warm_start/model" if HUB.match(word) else word for word in rest]
    if "configs/paper/1_tune.yaml" in rest:
        rest += ["--model.init_args.lm.init_args.path", "warm_start/model"]
        rest += ["--model.init_args.sampling.max_new_tokens", "64"]
    if any(word.startswith("configs/real/") for word in rest):  # their runs are the reader's
        rest += ["--run", "runs/quickstart"]
        rest += ["--model.init_args.teachers", "[folm]"] if verb == "synthesize" else []
    if "configs/real/0_warm_start.yaml" in rest:
        rest += ["--model.init_args.lm.init_args.path", "warm_start/model"]
    with monkeypatch.context() as patched:
        patched.setattr(lightning.StepCLI, "_run_subcommand", lambda self, name: None)
        run_verb([verb, *rest, "--trainer.accelerator", "cpu"])
