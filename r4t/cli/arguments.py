"""A verb's words in ``help/`` → its parser and its help; the words after the verb → options."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from string import Template

import yaml
from jsonargparse import ArgumentParser, Namespace

from r4t.cli.mistakes import explain, refuse_empty

HELP = Path(__file__).parent / "help"
HELP_ALL = "--help-all"
SYNTHESIS = "configs/toy/2_synthesize.yaml"
SUMMARIES = {
    "fit": "Train one step of a run, by config: 0 warm start, 1 tune, 3 distill or 4 accelerate.",
    "validate": "Measure a step on the validation queries, without training it.",
    "test": "Run the test loop of a custom model; for the shipped models use r4t evaluate.",
    "predict": "Run the prediction loop of a model; r4t synthesize does so to write target sets.",
    "synthesize": "Write target sets (step 2). After a stop, repeat the command to resume.",
}
CONFIGS = {"test": "my_model.yaml", "predict": SYNTHESIS, "synthesize": SYNTHESIS}


def verb_parser(verb: str) -> ArgumentParser:
    """Return the parser that ``help/VERB.yaml`` describes, without importing anything heavy.

    Its options are grouped by title (none if empty) and have the keyword arguments of
    ``add_argument``; the type is str by default.
    """
    words = yaml.safe_load((HELP / f"{verb}.yaml").read_text(encoding="utf-8"))
    parser = ArgumentParser(
        prog=f"r4t {verb}",
        description=words["description"],
        epilog="\n  ".join(["Examples:", *words["examples"]]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    for title, options in words["options"].items():
        section = parser.add_argument_group(title) if title else parser
        for names, settings in options.items():
            if not {"action", "choices"} & settings.keys():
                settings["type"] = {"int": int}.get(settings.get("type"), str)
            section.add_argument(*names.split(), **settings)
    return parser


def brief_help(verb: str) -> str:
    """Return a help of one screen for a verb whose parser is slow to build.

    ``--help-all`` prints the help of the parser itself.
    """
    text = (HELP / ("evaluate.txt" if verb == "evaluate" else "step.txt")).read_text("utf-8")
    if verb == "synthesize":
        text = "".join(line for line in text.splitlines(True) if "--ckpt_path" not in line)
    config = CONFIGS.get(verb, "configs/toy/1_tune.yaml")
    words = {"verb": verb, "summary": SUMMARIES.get(verb, ""), "config": config}
    return Template(text).substitute(words).rstrip()


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Return the options of a verb.

    Raises:
        InputError: If an option is unknown, a value is of another type, or a config is wrong.
        ArgumentError: If the parser refuses anything else.
    """
    try:
        options = parser.parse_args(list(arguments))
    except (argparse.ArgumentError, UnicodeDecodeError):
        explain(parser, arguments)
        raise
    refuse_empty(parser, arguments)
    return options
