"""Arguments that a parser refused → the wrong option, key, class or value, and the nearest right name.

The right names are the parser's options, the subclasses of an expected type and their constructor
arguments. Other mistakes, such as a missing argument, are reported by jsonargparse.
"""

import inspect
import pydoc
from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from jsonargparse import ArgumentParser

from r4t.errors import InputError, nearest
from r4t.support.files import utf8

LISTED = 12  # names that a message lists; if there are more, it suggests only the nearest
Config = dict[str, Any]


class Mistake(NamedTuple):
    """One wrong word in a config or option: the parts of its message, and the value of a wrong key."""

    expected: str
    word: str
    remedy: str
    value: Any = None


def explain(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Find the first mistake in arguments that ``parser`` refused.

    Raises:
        InputError: If a config cannot be read, an option, a key or a class does not exist, or a value
            is of another type.
    """
    for error, _ in _mistakes(parser, _layers(arguments)):
        raise error


def refuse_empty(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Refuse an unknown key whose value is an empty mapping; jsonargparse ignores it.

    Raises:
        InputError: If there is one.
    """
    layers = list(_layers(arguments))
    if "{}" in str(layers):
        for error, value in _mistakes(parser, layers):
            if _is_empty(value):
                raise error


def _is_empty(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_empty, value.values()))


def _mistakes(
    parser: ArgumentParser, layers: Iterable[tuple[str, Config]]
) -> Iterator[tuple[InputError, Any]]:
    """Yield the error for each mistake, and the value of a wrong key."""
    config: Config = {}
    for origin, layer in layers:
        config = _merge(config, layer)
        place = "" if origin else "--"
        for wrong in _wrong_keys(parser, config, f"'{parser.prog}'", place):
            found = f"'{wrong.word}'{origin}"
            error = InputError(expected=wrong.expected, found=found, remedy=wrong.remedy)
            yield error, wrong.value


def _layers(arguments: Sequence[str]) -> Iterator[tuple[str, Config]]:
    """Yield each config and option: where it comes from (empty for an option), its content."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        name, equals, value = word.partition("=")
        value = value if equals else after
        if name in ("-c", "--config") and value:
            yield f" in {value}", _read(value)
        elif name.startswith("--"):
            content: Any = value
            with suppress(yaml.YAMLError):
                content = yaml.safe_load(value)
            for part in reversed(name[2:].rstrip("+").split(".")):
                content = {part: content}
            yield "", content


def _read(value: str) -> Config:
    if value.lstrip().startswith("{"):  # jsonargparse takes the content of a config, too
        return yaml.safe_load(value)
    path = Path(value)
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
        found = f"a {type(content).__name__}"
    except yaml.MarkedYAMLError as error:
        content, line = None, error.problem_mark.line + 1 if error.problem_mark else 1
        found = f"an error in line {line} ({error.problem})"
    if not isinstance(content, dict):
        expected = f"YAML keys and values in {path}"
        raise InputError(expected=expected, found=found, remedy="Correct the file.")
    return content


def _merge(old: Any, new: Any) -> Any:
    """Override one config with another as jsonargparse does; a new class resets the arguments."""
    if isinstance(old, dict) and "class_path" in old and isinstance(new, str):
        return {"class_path": new}
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if "class_path" in old and new.get("class_path", old["class_path"]) != old["class_path"]:
        return new
    return {**old, **{key: _merge(old.get(key), value) for key, value in new.items()}}


def _wrong_keys(
    parser: ArgumentParser, config: Config, owner: str, place: str, within: str = ""
) -> Iterator[Mistake]:
    """Yield the keys that a parser does not know; ``within`` is their group of options."""
    actions = {
        option[2:]: action
        for option, action in parser._option_string_actions.items()
        if option.startswith(f"--{within}") and not option.endswith(("+", ".help", "print_shtab"))
    }
    for key, value in config.items():
        name = f"{within}{key}"
        if isinstance(value, dict) and any(option.startswith(f"{name}.") for option in actions):
            group = f"'{key}' in {owner}"
            yield from _wrong_keys(parser, value, group, f"{place}{key}.", f"{name}.")
        elif name in actions:
            hint = getattr(actions[name], "_typehint", None)
            yield from _wrong_classes(hint, value, f"{place}{key}")
            if not isinstance(value, dict | list) and not _fits(hint, value):
                kind, name = inspect.formatannotation(hint), f"{place}{key}".lstrip("-")
                expected = f"a value of type {kind} for {name}"
                yield Mistake(expected, str(value), "Correct the value.")
        else:
            dashes = "--" if place == "--" else ""
            options = [option[len(within) :] for option in actions]
            names = sorted({dashes + option.split(".")[0] for option in options})
            remedy = f"Known: {', '.join(names)}." if len(names) <= LISTED else "Correct the name."
            nested = [option for option in options if place and option.endswith(f".{key}")]
            close = nearest(f"{dashes}{key}", [dashes + nested[0]] if nested else names)
            if not close and not place:
                remedy = "Remove it, or use the file with the verb it was written for."
            yield Mistake(f"a setting of {owner}", f"{place}{key}", remedy + close, value)


def _wrong_classes(hint: Any, value: Any, place: str) -> Iterator[Mistake]:
    """Yield the wrong class names in a value of this type, and the wrong keys of the classes."""
    classes = {kind.__name__: kind for base in _bases(hint) for kind in _subclasses(base)}
    names = [*classes, *(f"{kind.__module__}.{name}" for name, kind in classes.items())]
    if isinstance(value, list):
        for item in value:
            yield from _wrong_classes(hint, item, place)
    elif isinstance(value, str) and nearest(value, names):
        yield from _wrong_classes(hint, {"class_path": value}, place)
    elif isinstance(value, dict) and "class_path" in value:
        name = str(value["class_path"])
        try:
            chosen = classes.get(name) or pydoc.locate(name)
        except pydoc.ErrorDuringImport:  # jsonargparse says what its module raised
            return
        if chosen is None:
            remedy = f"Correct it, or install its package.{nearest(name, names)}"
            yield Mistake(f"a class for {place.lstrip('-')}", name, remedy)
        elif inspect.isclass(chosen):
            arguments = {k: v for k, v in value.items() if k not in ("class_path", "dict_kwargs")}
            arguments = _merge(arguments.pop("init_args", None) or {}, arguments)
            parser = ArgumentParser(add_help=False, exit_on_error=False)
            parser.add_class_arguments(chosen, fail_untyped=False)
            yield from _wrong_keys(parser, arguments, chosen.__name__, f"{place}.init_args.")
    elif isinstance(value, dict):
        for key, item in value.items():  # names → objects
            yield from _wrong_classes(hint, item, f"{place}.{key}")


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value has a type; classes are not checked."""
    if hint is None or _bases(hint):
        return True
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except ArgumentError:
        return False
    return True


def _bases(hint: Any) -> list[type]:
    """Return the classes, other than built-in ones, that a type names at any depth."""
    if inspect.isclass(hint) and not get_args(hint):
        return [hint] if hint.__module__ != "builtins" else []
    return [base for part in get_args(hint) for base in _bases(part)]


def _subclasses(base: type) -> Iterator[type]:
    yield base
    kind: type
    for kind in base.__subclasses__():
        yield from _subclasses(kind)
