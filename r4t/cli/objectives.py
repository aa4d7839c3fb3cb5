"""``r4t objectives``: the installed objectives, with range and origin; one of them in full."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, PluginError

if TYPE_CHECKING:
    from rich.console import Console

    from r4t.objective import Objective

EXAMPLES = (
    "r4t objectives",
    "r4t objectives diversity     what it measures, its arguments, how to name it in YAML",
    "r4t objectives --json",
)
EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


@dataclass
class Entry:
    """What the program tells of one installed objective.

    Attributes:
        name: By which YAML files call it.
        origin: Package and version.
        class_path: Where its class is.
        what: First line of its docstring.
        range: Lowest and highest score; None where arguments decide, or where it is broken.
        needs: Optional ``SetBatch`` fields that it reads; None as for the range.
        differentiable: Whether gradients flow through it; None as for the range.
        broken: Why it cannot be used; empty if it can.
    """

    name: str
    origin: str
    class_path: str
    what: str = ""
    range: list[float] | None = None
    needs: list[str] | None = None
    differentiable: bool | None = None
    broken: str = ""


def parser() -> ArgumentParser:
    """Return the parser; nothing heavy is imported for ``--help``."""
    made = verb_parser(
        "objectives", "List the installed objectives, or show one in full.", EXAMPLES
    )
    made.add_argument("name", metavar="NAME", type=str, nargs="?", help="Show this one in full.")
    made.add_argument("--json", action="store_true", help="Print JSON instead.")
    return made


def run(arguments: list[str]) -> None:
    """Print the list, or one objective.

    Raises:
        InputError: There is no objective of that name, it is broken, or a name is taken twice.
    """
    options = parse(parser(), arguments)
    from rich.console import Console

    from r4t.objective import objective_class
    from r4t.plugins import OBJECTIVES, installed

    console = Console(width=None if Console().is_terminal else 120)
    if options.name is not None:
        found = objective_class(options.name)
        entry = entry_of(options.name, installed(OBJECTIVES)[options.name])
        with blamed(entry):
            fill(entry, found)
            told = in_full(entry, found)
        if options.json:
            print(json.dumps(asdict(entry) | told, indent=2, ensure_ascii=False))
        else:
            print_one(console, entry, told)
        return
    entries = [describe(name, point) for name, point in installed(OBJECTIVES).items()]
    if options.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
    else:
        print_list(console, entries)


def entry_of(name: str, point: EntryPoint) -> Entry:
    """What is known of an objective before its package is imported."""
    dist = point.dist
    origin = "" if dist is None else f"{dist.name} {dist.version}"
    return Entry(name, origin, point.value.replace(":", "."))


def describe(name: str, point: EntryPoint) -> Entry:
    """Look at one installed objective; whatever is wrong with it is told, not raised."""
    from r4t.objective import objective_class

    entry = entry_of(name, point)
    try:
        fill(entry, objective_class(name))
    except Exception as error:  # whatever a stranger's class does, the others are listed
        entry.broken = reason(error)
    return entry


def reason(error: Exception) -> str:
    """An error in words; of one that was not meant for users, its type too."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}; leave it out, or tell those who wrote it."


@contextmanager
def blamed(entry: Entry) -> Iterator[None]:
    """Say of whatever is raised whose it is.

    Raises:
        InputError: The same, or for an error that was not meant for users a PluginError.
    """
    try:
        yield
    except Exception as error:
        told = isinstance(error, InputError) and not isinstance(error, PluginError)
        raise (InputError if told else PluginError)(
            f"Objective '{entry.name}' of {entry.origin} is broken: {reason(error)}"
        ) from error


def fill(entry: Entry, found: "type[Objective]") -> None:
    """Write into the entry what a class declares, as built without arguments where that is possible.

    Raises:
        InputError: It lacks a method, or what it declares is refused (``Objective.check``).
        Exception: Whatever its constructor or its properties raise.
    """
    entry.what = (inspect.getdoc(found) or "").split("\n")[0]
    if inspect.isabstract(found):
        raise InputError(f"it must define {', '.join(sorted(found.__abstractmethods__))}; add it.")
    objective = built(found)
    (declared(found) if objective is None else objective).check()
    source = found if objective is None else objective
    told = (getattr(source, field) for field in ("bounds", "needs", "differentiable"))
    bounds, needs, smooth = (None if undecided(value) else value for value in told)
    entry.range = None if bounds is None else [float(end) for end in bounds]
    entry.needs = None if needs is None else sorted(needs)
    entry.differentiable = None if smooth is None else bool(smooth)


def undecided(value: Any) -> bool:
    """Whether a class attribute is a property, which arguments decide."""
    return hasattr(type(value), "__get__")


def built(found: "type[Objective]") -> "Objective | None":
    """An object without arguments; None where there must be some, which only its user knows.

    Raises:
        Exception: Its constructor asks for none and yet fails: that is no sentence on arguments.
    """
    if wanted(found):
        return None
    try:
        return found()
    except PluginError:
        raise
    except InputError:  # rules, the name of a model
        return None


def declared(found: "type[Objective]") -> "Objective":
    """An object that declares what the class does, as far as arguments do not decide."""
    from r4t.objective import Objective

    fixed = {field: getattr(found, field, None) for field in ("bounds", "needs")}
    fixed = {field: value for field, value in fixed.items() if not undecided(value)}
    parts = {"bounds": (0.0, 1.0), "score": lambda self, sets: sets.mask, **fixed}
    return type(found.__name__, (Objective,), parts)()


def print_list(console: "Console", entries: list[Entry]) -> None:
    """Print a table, and below it whose broken ones are and why."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "range", "needs", "gradient", "from", "what"):
        table.add_column(column, overflow="fold", ratio=1 if column == "what" else None)
    for entry in entries:
        needs = "by arguments" if entry.needs is None else ", ".join(entry.needs)
        cells = [_range(entry), needs if needs else "–", "yes" if entry.differentiable else "–"]
        if entry.broken:
            cells = ["broken", "", ""]
        table.add_row(*map(Text, (entry.name, *cells, entry.origin, entry.what)))
    console.print(table)
    for entry in entries:
        if entry.broken:
            whose = f"of {entry.origin} ({entry.class_path})"
            console.print(Text(f"broken: '{entry.name}' {whose}: {entry.broken}"))
    console.print("one in full, with its arguments and examples: r4t objectives NAME", style="dim")


def _range(entry: Entry) -> str:
    return "by arguments" if entry.range is None else "{:g} … {:g}".format(*entry.range)


def in_full(entry: Entry, found: "type[Objective]") -> dict[str, Any]:
    """Docstring, constructor arguments and example YAML."""
    taken = {name: str(parameter) for name, parameter in arguments(found).items()}
    text = inspect.getdoc(found) or ""
    return {"text": text, "arguments": taken, "examples": examples(entry, found)}


def print_one(console: "Console", entry: Entry, told: dict[str, Any]) -> None:
    """Print one objective: what it says of itself, its arguments, how it is named in YAML."""
    from rich.text import Text

    needs = "by arguments" if entry.needs is None else ", ".join(entry.needs)
    facts = [
        f"range     {_range(entry)}, higher is better",
        f"needs     {needs if needs else 'no optional field'}",
        f"gradient  {'flows through it' if entry.differentiable else 'none'}",
        f"from      {entry.origin}, {entry.class_path}",
    ]
    console.print(Text(entry.name, "bold"))
    console.print(Text("\n".join([*facts, "", told["text"]])))
    if told["arguments"]:
        console.print(Text("\nArguments", "bold"))
        console.print(Text("\n".join(f"  {text}" for text in told["arguments"].values())))
    for use, text in told["examples"].items():
        console.print(Text(f"\n{use}", "bold"))
        console.print(Text(text.rstrip()))


def arguments(found: "type[Objective]") -> dict[str, inspect.Parameter]:
    """Constructor arguments by name."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(found).parameters
    return {name: p for name, p in parameters.items() if p.kind not in kinds}


def wanted(found: "type[Objective]") -> list[str]:
    """Names of the constructor arguments without a default."""
    return [n for n, p in arguments(found).items() if p.default is inspect.Parameter.empty]


def examples(entry: Entry, found: "type[Objective]") -> dict[str, str]:
    """Return YAML for the three uses of an objective.

    A class may have an ``example``, a dict of constructor arguments as YAML has them: they are shown.
    Of another, arguments without a default stand as their own names in capitals, or else the first
    argument shows the place.
    """
    import yaml

    taken = arguments(found)
    shown_arguments = getattr(found, "example", None)
    if not isinstance(shown_arguments, dict):
        shown_arguments = {name: name.upper() for name in wanted(found)} or {
            name: parameter.default for name, parameter in list(taken.items())[:1]
        }
    item = {"class_path": entry.class_path, "init_args": _plain(shown_arguments)}
    objects = {"objectives": {entry.name: item}} if taken else {}
    reward = {
        "class_path": "r4t.reward.Reward",
        "init_args": {"weights": {entry.name: 1.0}, **objects},
    }
    keep = {"class_path": "r4t.filters.Filter", "init_args": {"share": 0.25}}
    uses: dict[str, dict[str, Any]] = {
        "As a reward, in 1_tune.yaml": {"model": {"init_args": {"reward": reward}}},
        "As a filter, in 2_synthesize.yaml (the best quarter of each query's sets)": {
            "model": {"init_args": {"reward": reward, "keep": keep}}
        },
    }
    if "references" not in (entry.needs or ()):
        weights = EQUATION_1 | {entry.name: EQUATION_1.get(entry.name, 0.0)}
        uses["As a metric, in 5_evaluate.yaml (weight 0: measured, not chosen by)"] = {
            "weights": weights,
            **objects,
        }
    shown = {use: yaml.safe_dump(held, sort_keys=False) for use, held in uses.items()}
    if "references" in (entry.needs or ()):
        shown["As a metric"] = "nothing to write: it is measured wherever queries have references\n"
    return shown


def _plain(value: Any) -> Any:
    """A default as YAML has it."""
    if isinstance(value, dict):
        return {str(name): _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, Enum):
        return value.name
    plain = value is None or type(value) in (str, int, float, bool)
    return value if plain else repr(value)
