"""A verb's table of options → its parser; the words after the verb → options."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from r4t.cli.mistakes import explain

Options = Mapping[str, Mapping[str, Any]]  # option or positional → what ``add_argument`` takes


def verb_parser(
    verb: str,
    description: str,
    examples: Sequence[str],
    groups: Mapping[str, Options] | None = None,
) -> ArgumentParser:
    """Return the parser of a verb, built without importing anything heavy.

    Args:
        verb: Its name.
        description: What it does.
        examples: Commands to show below its options.
        groups: Title of a group, empty for none → option or positional → the keyword arguments of
            ``add_argument``; the type is str by default.
    """
    parser = ArgumentParser(
        prog=f"r4t {verb}",
        description=description,
        epilog="\n  ".join(["Examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    for title, options in (groups or {}).items():
        section = parser.add_argument_group(title) if title else parser
        for name, settings in options.items():
            typed = {} if {"action", "choices"} & settings.keys() else {"type": str}
            section.add_argument(name, **{**typed, **settings})
    return parser


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Return the options of a verb.

    Raises:
        InputError: If an option is unknown, a value is of another type, or a config is wrong.
        ArgumentError: If the parser refuses anything else.
    """
    try:
        return parser.parse_args(list(arguments))
    except (argparse.ArgumentError, UnicodeDecodeError):
        explain(parser, arguments)
        raise
