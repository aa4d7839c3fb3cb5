"""Words that a parser refused → the wrong option, key or class among them, and the nearest right one.

The right names come from the parser: its options and, for the classes that configs choose, the
subclasses of the expected type and their constructor arguments. Whatever else is wrong (a value of
another type, a missing argument), jsonargparse reports itself.
"""

import inspect
import pydoc
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import yaml
from jsonargparse import ArgumentParser

from r4t.errors import InputError, nearest
from r4t.support.files import utf8

LISTED = 12  # names that a message lists; of more it gives the nearest only
Config = dict[str, Any]


def check_configs(arguments: Sequence[str]) -> None:
    """Check that the files after ``--config`` can be read.

    Raises:
        InputError: One is missing, is not UTF-8 or does not hold YAML keys and values.
    """
    for _ in _layers(arguments):
        pass


def explain(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Look for a wrong name among words that ``parser`` refused.

    Raises:
        InputError: Names the first option, key or class that does not exist.
    """
    config: Config = {}
    for origin, layer in _layers(arguments):
        config = _merge(config, layer)
        place = "" if origin else "--"
        for expected, found, remedy in _wrong_keys(parser, config, parser.prog, place):
            raise InputError(expected=expected, found=f"'{found}'{origin}", remedy=remedy)


def _layers(arguments: Sequence[str]) -> Iterator[tuple[str, Config]]:
    """Yield each config and option: where it comes from (nothing for an option), its content."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        name, equals, value = word.partition("=")
        value = value if equals else after
        if name in ("-c", "--config") and value:
            yield f" in {value}", _read(Path(value))
        elif name.startswith("--"):
            content: Any = value
            with suppress(yaml.YAMLError):
                content = yaml.safe_load(value)
            for part in reversed(name[2:].rstrip("+").split(".")):
                content = {part: content}
            yield "", content


def _read(path: Path) -> Config:
    if not path.is_file():
        configs = [str(other) for other in path.parent.glob("*.yaml")]
        raise InputError(
            expected="a YAML file after --config",
            found=f"none at {path}",
            remedy="Correct the path, or copy the shipped configs with 'r4t init FOLDER'."
            + nearest(str(path), configs),
        )
    try:
        with utf8(path):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        found = f"{error.problem}{line} of {path}"
        raise InputError(expected="YAML", found=found, remedy="Correct the file.") from None
    if not isinstance(content, dict):
        found = f"{type(content).__name__} in {path}"
        raise InputError(expected="YAML keys and values", found=found, remedy="Correct the file.")
    return content


def _merge(old: Any, new: Any) -> Any:
    """Lay one config over another as jsonargparse does; another class brings its own arguments."""
    if isinstance(old, dict) and "class_path" in old and isinstance(new, str):
        return {"class_path": new}
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if "class_path" in old and new.get("class_path", old["class_path"]) != old["class_path"]:
        return new
    return {**old, **{key: _merge(old.get(key), value) for key, value in new.items()}}


Wrong = tuple[str, str, str]  # what was expected, what was found, what to do


def _wrong_keys(
    parser: ArgumentParser, config: Config, owner: str, place: str, within: str = ""
) -> Iterator[Wrong]:
    """Yield the keys that a parser does not know; ``within`` is the group of options they are in."""
    actions = {
        option[2:]: action
        for option, action in parser._option_string_actions.items()
        if option.startswith(f"--{within}") and not option.endswith(("+", ".help", "print_shtab"))
    }
    for key, value in config.items():
        name = f"{within}{key}"
        if isinstance(value, dict) and any(option.startswith(f"{name}.") for option in actions):
            yield from _wrong_keys(parser, value, owner, f"{place}{key}.", f"{name}.")
        elif name in actions:
            hint = getattr(actions[name], "_typehint", None)
            yield from _wrong_classes(hint, value, f"{place}{key}")
        else:
            dashes = "--" if place == "--" else ""
            names = {dashes + option[len(within) :].split(".")[0] for option in actions}
            yield f"a setting of {owner}", f"{place}{key}", _remedy(f"{dashes}{key}", names)


def _wrong_classes(hint: Any, value: Any, place: str) -> Iterator[Wrong]:
    """Yield the wrong class names in a value of this type, and the wrong keys of its classes."""
    classes = {kind.__name__: kind for base in _bases(hint) for kind in _subclasses(base)}
    paths = [f"{kind.__module__}.{name}" for name, kind in classes.items()]
    if isinstance(value, list):
        for item in value:
            yield from _wrong_classes(hint, item, place)
    elif isinstance(value, str) and nearest(value, [*classes, *paths]):
        yield from _wrong_classes(hint, {"class_path": value}, place)
    elif isinstance(value, dict) and "class_path" in value:
        name = str(value["class_path"])
        try:
            chosen = classes.get(name) or pydoc.locate(name)
        except pydoc.ErrorDuringImport:
            return
        if chosen is None:
            close = nearest(name, [*classes, *paths])
            yield f"a class in {place.lstrip('-')}", name, f"Correct it, or install it.{close}"
        elif inspect.isclass(chosen):
            arguments = {k: v for k, v in value.items() if k not in ("class_path", "dict_kwargs")}
            arguments = _merge(arguments.pop("init_args", None) or {}, arguments)
            yield from _wrong_keys(
                _parser(chosen), arguments, chosen.__name__, f"{place}.init_args."
            )
    elif isinstance(value, dict):
        for key, item in value.items():  # names → objects
            yield from _wrong_classes(hint, item, f"{place}.{key}")


def _remedy(word: str, names: Collection[str]) -> str:
    known = f"Known: {', '.join(sorted(names))}." if len(names) <= LISTED else "Correct the name."
    return known + nearest(word, names)


def _parser(chosen: type) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(chosen, fail_untyped=False)
    return parser


def _bases(hint: Any) -> list[type]:
    """Return the classes, other than built-in ones, that a type names at any depth."""
    if inspect.isclass(hint) and not get_args(hint):
        return [hint] if hint.__module__ != "builtins" else []
    return [base for part in get_args(hint) for base in _bases(part)]


def _subclasses(base: type) -> Iterator[type]:
    yield base
    for kind in base.__subclasses__():
        yield from _subclasses(kind)
