"""A parser's report on arguments or configs → one sentence that names the nearest right word.

The reports are those of jsonargparse: nested lines, where the innermost tells what is wrong and the
lines around it where. What is in no table here is handed on in the parser's own words.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from jsonargparse import ArgumentParser

from r4t.cli.classes import nearest_class, parameters
from r4t.cli.problems import Problem, problems
from r4t.errors import nearest
from r4t.support.files import utf8

SHOWN = 12  # settings that a sentence lists; of more it names the nearest alone
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list, such as [1, 2]",
    "dict": "a mapping, such as {name: 1.0}",
}
OF_TRAINING = ("model", "data", "trainer", "ckpt_path")
OF_EVALUATION = ("weights", "split", "methods", "set_size", "pool_size", "across_runs", "best_of")


def sentence(report: str, parser: ArgumentParser, arguments: Sequence[str]) -> str:
    """Return what was expected, what was found and what to do.

    Args:
        report: Of jsonargparse.
        parser: Of the verb.
        arguments: Of the verb.
    """
    told = [
        (problem, said)
        for problem in problems(report)
        if (said := _told(problem, parser, arguments)) is not None
    ]
    if told:
        return max(told, key=lambda pair: pair[0].depth)[1]
    words = " ".join(line.strip() for line in report.splitlines()).rstrip(".")
    return (
        f"Every setting must fit '{parser_name(parser)}' — {words}; correct the config or option."
    )


def parser_name(parser: ArgumentParser) -> str:
    """Return the verb as it is called, such as ``r4t fit``."""
    words = [word for word in parser.prog.split() if not word.startswith("[")]
    return " ".join(["r4t", *words[-1:]])


def _told(problem: Problem, parser: ArgumentParser, arguments: Sequence[str]) -> str | None:
    for pattern, tell in TELLERS:
        match = re.match(pattern, problem.said, re.DOTALL)
        if match is not None:
            return tell(problem, match, parser, arguments)
    return None


Match = re.Match[str]


def _unknown_setting(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    """A key of a config, or of a class in one, that there is not."""
    name = match["name"]
    if problem.owner:
        name, known = name.split(".")[0], parameters(problem.owner)
        prefix = ".".join(filter(None, [problem.place, "init_args"]))
        where = f"{prefix}.{name}{_in_file(name, arguments)}"
        return (
            f"{problem.owner} takes the settings {', '.join(known) or 'none'} — found {where} — "
            f"correct the name.{nearest(name, known)}"
        )
    top = name.split(".")[0]
    other = _other_verb(top, parser)
    if other is not None:
        return (
            f"A config belongs to its verb — found {top}{_in_file(top, arguments)}, which "
            f"'{parser_name(parser)}' does not know — run it with '{other}'."
        )
    known = sorted({key for key in _keys(parser) if "." not in key or not _is_class(key)})
    listed = f", {', '.join(known)}," if len(known) <= SHOWN else ""
    return (
        f"Every setting must be one that '{parser_name(parser)}' knows{listed} — found "
        f"{name}{_in_file(name.split('.')[-1], arguments)} — correct it ('{parser_name(parser)} "
        f"{_help_option(parser)}' lists all).{nearest(name, known) or nearest(top, known)}"
    )


def _unknown_option(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    """An option that there is not, or words that belong to none."""
    words = match["words"].split()
    named = [word.split("=")[0] for word in words if word.startswith("--")]
    if not named:
        shown = " ".join(words)
        return (
            f"'{parser_name(parser)}' takes {_positionals(parser)} — found '{shown}' besides — put "
            f"words with spaces between them in quotes, or leave it out (example: "
            f"{example(parser)})."
        )
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    known = [name for name in known if not name.endswith(("+", "print_shtab", ".help"))]
    listed = f" {', '.join(sorted(known))}" if len(known) <= SHOWN else ""
    return (
        f"Options of '{parser_name(parser)}' are{listed or ' those of its help'} — found {named[0]} — "
        f"correct it ('{parser_name(parser)} {_help_option(parser)}').{nearest(named[0], known)}"
    )


def _missing(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    """Arguments that there must be."""
    names = [name.strip().split(".")[-1] for name in match["names"].split(",")]
    if {"model", "data"} & set(names):
        return (
            f"'{parser_name(parser)}' needs a config that says what to run — found no "
            f"{' and no '.join(sorted(names, reverse=True))} — add --config (example: "
            f"{example(parser)})."
        )
    shown = [_shown(parser, name) for name in names]
    return (
        f"'{parser_name(parser)}' needs {' and '.join(shown)} — found none — add "
        f"{'it' if len(shown) == 1 else 'them'} (example: {example(parser)})."
    )


def _no_value(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    names = [name for name in match["option"].split("/") if not name.endswith("+")]
    number = match["number"]
    takes, found = ("a value", "none") if number == "one" else (f"{number} values", "fewer")
    return (
        f"{names[-1]} takes {takes} — found {found} behind it — write "
        f"{'it' if number == 'one' else 'them'} (example: {example(parser)})."
    )


def _a_value(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    return f"{match['option']} takes no value — found {match['value']!r} — write it alone."


def _type(problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]) -> str:
    """A value of another type than its setting's."""
    kinds = []
    found = ""
    for said in problem.others:
        other = re.match(EXPECTED, said, re.DOTALL)
        if other is None:
            continue
        kind = _type_name(other["type"])
        if kind is not None and kind not in kinds:
            kinds.append(kind)
        found = other["value"] if other["value"] is not None else found
    found = found if found else problem.given
    options = re.findall(r"Literal\[(.+?)\]", match["type"])
    close = nearest(found, re.findall(r"'(.+?)'", options[0])) if options else ""
    name = problem.place if "." in problem.place else f"--{problem.place}"
    return (
        f"{name} must be {' or '.join(kinds) if kinds else 'of another type'} — found "
        f"'{found}'{_in_file(found, arguments)} — correct it.{close}"
    )


def _type_name(told: str) -> str | None:
    """A type in words; None for none at all."""
    name = re.sub(r"^<class '(.+)'>$", r"\1", told)
    if name == "NoneType":
        return None
    literal = re.search(r"Literal\[(.+?)\]", name)
    return f"one of {literal[1]}" if literal else TYPES.get(name, name)


def _no_class(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str | None:
    """A class path that leads to no class."""
    found = match.groupdict().get("path") or problem.owner
    if not found:
        return None
    right = nearest_class(found)
    place = ".".join(filter(None, [problem.place, "class_path"]))
    close = f" Did you mean '{right}'?" if right else ""
    return (
        f"{place} must name a class that can be imported — found '{found}'"
        f"{_in_file(found.split('.')[-1], arguments)} — correct it or install its package.{close}"
    )


def _no_file(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    path = Path(match["path"])
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    there = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    do = "correct the path, or copy the shipped configs with 'r4t init FOLDER'"
    return f"--config names a YAML file — found none at {path} — {do}.{nearest(str(path), there)}"


def _no_yaml(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    import yaml

    for path in config_files(arguments):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = "" if mark is None else f" at line {mark.line + 1}"
            return f"A config must be YAML — found {error.problem}{line} of {path} — correct it."
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict):
            return f"A config must be keys with values — found other YAML in {path} — correct it."
    return f"A config must be YAML — found {match[0].splitlines()[0]} — correct it."


def _no_flag(
    problem: Problem, match: Match, parser: ArgumentParser, arguments: Sequence[str]
) -> str:
    flags = ("all", "comments", "skip_default", "skip_unset")
    return (
        f"--print_config takes nothing or the flags {', '.join(flags)} — found '{match['flag']}' — "
        f"correct it.{nearest(match['flag'], flags)}"
    )


EXPECTED = r"Expected an? (?P<type>.+?)(?:\. Got value: (?P<value>.*))?$"
Teller = Callable[[Problem, Match, ArgumentParser, Sequence[str]], str | None]
TELLERS: list[tuple[str, Teller]] = [
    (r"(?:Subcommand '\w+' does not accept option|Option) '(?P<name>.+?)'", _unknown_setting),
    (r"Group '.*' does not accept option '(?P<name>.+)'", _unknown_setting),
    (r"unrecognized arguments: (?P<words>.+)$", _unknown_option),
    (r"the following arguments are required: (?P<names>.+)$", _missing),
    (r"argument (?P<option>\S+): expected (at least )?(?P<number>\w+) argument", _no_value),
    (r"argument (?P<option>\S+): ignored explicit argument '(?P<value>.*)'", _a_value),
    (r"Expected a dot import path string: (?P<path>.+)$", _no_class),
    (r"(module|type object) '.+' has no attribute '.+'", _no_class),
    (r"No module named '.+'", _no_class),
    (r"File does not exist: '(?P<path>.+)'", _no_file),
    (r"(Problems parsing config|Unexpected config)", _no_yaml),
    (r'Invalid option "(?P<flag>.*)" for --print_config', _no_flag),
    (EXPECTED, _type),
]


def config_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files that ``--config`` names."""
    words = list(arguments)
    paths = [after for word, after in pairwise(words) if word in ("--config", "-c")]
    paths += [word.split("=", 1)[1] for word in words if word.startswith("--config=")]
    return [Path(path) for path in paths if Path(path).is_file()]


def check_configs(arguments: Sequence[str]) -> None:
    """Look whether configs are text before a parser reads them.

    Raises:
        InputError: One is not UTF-8.
    """
    for path in config_files(arguments):
        with utf8(path):
            path.read_text(encoding="utf-8")


def _in_file(word: str, arguments: Sequence[str]) -> str:
    """``" in FILE"`` for the last config that has the word, where no option has it."""
    if not word or any(word in text for text in arguments):
        return ""
    for path in reversed(config_files(arguments)):
        if word in path.read_text(encoding="utf-8", errors="replace"):
            return f" in {path}"
    return ""


def _keys(parser: ArgumentParser) -> list[str]:
    names = [action.dest for action in parser._actions]
    return [name for name in names if not name.endswith((".help", "help", "print_config"))]


def _is_class(key: str) -> bool:
    return key.split(".")[0] in ("model", "data")


def _other_verb(top: str, parser: ArgumentParser) -> str | None:
    """The verb whose config has such a key, where it is not this one."""
    known = {key.split(".")[0] for key in _keys(parser)}
    if top in known:
        return None
    if top in OF_EVALUATION and "trainer" in known:
        return "r4t evaluate --config FILE"
    if top in OF_TRAINING and "weights" in known:
        return "r4t fit --config FILE' or 'r4t synthesize --config FILE"
    return None


def _positionals(parser: ArgumentParser) -> str:
    names = [_shown(parser, action.dest) for action in parser._actions if not action.option_strings]
    return " and ".join(names) if names else "options only"


def _shown(parser: ArgumentParser, name: str) -> str:
    """An argument as its user writes it: --out, or its place in capitals."""
    for action in parser._actions:
        if action.dest == name:
            if action.option_strings:
                return action.option_strings[0]
            return action.metavar if isinstance(action.metavar, str) else name.upper()
    return name


def _help_option(parser: ArgumentParser) -> str:
    whole = {"trainer", "weights"} & {key.split(".")[0] for key in _keys(parser)}
    return "--help-all" if whole else "--help"


def example(parser: ArgumentParser) -> str:
    """Return the first example of a verb's help."""
    lines = (parser.epilog or "").splitlines()
    if len(lines) < 2:
        return f"{parser_name(parser)} --help"
    return re.split(r"\s{3,}", lines[1].strip())[0]  # without what it is for
