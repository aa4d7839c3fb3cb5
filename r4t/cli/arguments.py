"""A verb's table of options → its parser; the words after the verb → options."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from r4t.cli.mistakes import explain

Options = Mapping[str, Mapping[str, Any]]
"""Option or positional → what ``add_argument`` takes; the type is str by default."""


def verb_parser(
    verb: str,
    description: str,
    examples: Sequence[str],
    options: Options | None = None,
    groups: Mapping[str, Options] | None = None,
) -> ArgumentParser:
    """Return the parser of a verb, built without importing anything heavy.

    Args:
        verb: Its name.
        description: What it does.
        examples: Commands to show below its options.
        options: The options outside of any group.
        groups: Title of a group of options → its options.
    """
    parser = ArgumentParser(
        prog=f"r4t {verb}",
        description=description,
        epilog="\n  ".join(["Examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    sections = [(parser, options if options is not None else {})]
    for title, table in (groups if groups is not None else {}).items():
        sections.append((parser.add_argument_group(title), table))
    for section, table in sections:
        for name, settings in table.items():
            typed = {} if {"action", "choices"} & settings.keys() else {"type": str}
            section.add_argument(name, **typed | settings)
    return parser


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Return the options of a verb.

    Raises:
        InputError: An option is unknown, a value is of another type, or a config is wrong.
        ArgumentError: Anything else that the parser refuses.
    """
    try:
        return parser.parse_args(list(arguments))
    except (argparse.ArgumentError, UnicodeDecodeError):
        explain(parser, arguments)
        raise
