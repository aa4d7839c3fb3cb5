"""What a verb takes → its parser; the arguments given → options, or one sentence on what is wrong."""

import argparse
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from r4t.cli.mistakes import sentence
from r4t.errors import InputError


def verb_parser(verb: str, description: str, examples: Sequence[str]) -> ArgumentParser:
    """Return a parser without arguments yet; nothing heavy is imported for its help.

    Args:
        verb: Its name.
        description: What it does.
        examples: Commands, the plainest first: it is named where an argument is missing.
    """
    return ArgumentParser(
        prog=f"r4t {verb}",
        description=description,
        epilog="\n  ".join(["Examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Return the options of a verb.

    Raises:
        InputError: An argument is missing, unknown or of another type.
    """
    try:
        return parser.parse_args(list(arguments))
    except argparse.ArgumentError as error:
        raise InputError(sentence(str(error), parser, arguments)) from None
