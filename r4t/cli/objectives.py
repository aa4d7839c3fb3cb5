"""``r4t objectives``: a table of the installed objectives, or one of them in full."""

import inspect
import json
from dataclasses import asdict, dataclass
from enum import Enum
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, PluginError
from r4t.plugins import OBJECTIVES, installed, plugin_errors

if TYPE_CHECKING:
    from rich.console import Console

    from r4t.objective import Objective

EQUATION_1 = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}


@dataclass
class Entry:
    """One installed objective; a fact is None if arguments decide it or the objective is broken.

    Attributes:
        name: Name in YAML files.
        origin: Package and version.
        class_path: Module and class.
        what: First line of its docstring.
        range: Lowest and highest score.
        needs: Optional ``SetBatch`` fields that it reads.
        differentiable: Whether gradients flow through it.
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


def run(arguments: list[str]) -> None:
    """Print the list, or one objective.

    Raises:
        InputError: If the named objective is not installed or is broken, or two packages register
            the same name.
    """
    options = parse(verb_parser("objectives"), arguments)
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 120)
    points = installed(OBJECTIVES)
    if options.name is None:
        entries = [describe(name, point) for name, point in points.items()]
        if options.json:
            print(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        else:
            print_list(console, entries)
        return
    from r4t.objective import objective_class

    plugin = objective_class(options.name)
    entry = read(plugin, options.name, points[options.name])
    details: dict[str, Any] = {
        "text": inspect.getdoc(plugin) or "",
        "arguments": {name: str(argument) for name, argument in _parameters(plugin).items()},
        "examples": examples(entry, plugin),
    }
    if options.json:
        print(json.dumps(asdict(entry) | details, indent=2, ensure_ascii=False))
    else:
        print_one(console, entry, details)


def describe(name: str, point: EntryPoint) -> Entry:
    """Return the entry of an installed objective, with ``broken`` set if it cannot be used."""
    from r4t.objective import objective_class

    try:
        return read(objective_class(name), name, point)
    except InputError as error:
        return Entry(name, _origin(point), _class_path(point), broken=str(error))


def read(plugin: "type[Objective]", name: str, point: EntryPoint) -> Entry:
    """Return the entry of a class, built without arguments if that is possible.

    Raises:
        InputError: If it lacks a method, or its declarations are invalid.
        PluginError: If its constructor or one of its properties raises anything else.
    """
    from r4t.objective import check_declarations

    if inspect.isabstract(plugin):
        raise InputError(
            expected=f"objective '{name}' to define {', '.join(sorted(plugin.__abstractmethods__))}",
            found=f"no definition in {_class_path(point)}",
            remedy="Add it.",
        )
    fields = ("bounds", "needs", "differentiable")
    with plugin_errors(f"objective '{name}' of {_origin(point)} to declare its bounds and needs"):
        source = _built(plugin) or plugin
        declared: list[Any] = [getattr(source, field, None) for field in fields]
    decided = [not hasattr(type(value), "__get__") for value in declared]  # a class has properties
    bounds, needs, differentiable = declared
    check_declarations(name, bounds if decided[0] else (0, 1), needs if decided[1] else set())
    return Entry(
        name,
        _origin(point),
        _class_path(point),
        what=(inspect.getdoc(plugin) or "").split("\n")[0],
        range=[float(end) for end in bounds] if decided[0] else None,
        needs=sorted(needs) if decided[1] else None,
        differentiable=bool(differentiable) if decided[2] else None,
    )


def _built(plugin: "type[Objective]") -> "Objective | None":
    """Return an objective built without arguments, or None."""
    if any(parameter.default is parameter.empty for parameter in _parameters(plugin).values()):
        return None  # it needs arguments, such as rules or a model
    try:
        return plugin()
    except PluginError:
        raise
    except InputError:
        return None


def _parameters(plugin: "type[Objective]") -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(plugin).parameters
    return {name: p for name, p in parameters.items() if p.kind not in kinds}


def _origin(point: EntryPoint) -> str:
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _class_path(point: EntryPoint) -> str:
    return point.value.replace(":", ".")


def print_list(console: "Console", entries: list[Entry]) -> None:
    """Print a table, then why each broken objective is broken."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "range", "needs", "gradient", "from", "what"):
        table.add_column(column, overflow="fold", ratio=1 if column == "what" else None)
    for entry in entries:
        cells = [_range(entry), _needs(entry) or "–", "yes" if entry.differentiable else "–"]
        cells = ["broken", "", ""] if entry.broken else cells
        table.add_row(*map(Text, (entry.name, *cells, entry.origin, entry.what)))
    console.print(table)
    for entry in entries:
        if entry.broken:
            origin = f"{entry.origin} ({entry.class_path})"
            console.print(Text(f"broken: '{entry.name}' of {origin}: {entry.broken}"))
    console.print("arguments and examples of one: r4t objectives NAME", style="dim")


def _range(entry: Entry) -> str:
    return "by arguments" if entry.range is None else "{:g} … {:g}".format(*entry.range)


def _needs(entry: Entry) -> str:
    return "by arguments" if entry.needs is None else ", ".join(entry.needs)


def print_one(console: "Console", entry: Entry, details: dict[str, Any]) -> None:
    """Print what an objective declares, its docstring, its arguments and its YAML examples."""
    from rich.text import Text

    facts = [
        f"range     {_range(entry)}, higher is better",
        f"needs     {_needs(entry) or 'no optional field'}",
        f"gradient  {'flows through it' if entry.differentiable else 'none'}",
        f"from      {entry.origin}, {entry.class_path}",
    ]
    sections = {entry.name: "\n".join([*facts, "", details["text"]])}
    if details["arguments"]:
        sections["\nArguments"] = "\n".join(f"  {text}" for text in details["arguments"].values())
    sections |= {f"\n{use}": text.rstrip() for use, text in details["examples"].items()}
    for title, text in sections.items():
        console.print(Text(title, "bold"))
        console.print(Text(text))


def examples(entry: Entry, plugin: "type[Objective]") -> dict[str, str]:
    """Return YAML for the three uses of an objective.

    The arguments are those of the class attribute ``example``, a dict as in YAML, if there is one.
    Otherwise required arguments have their names in capitals as values; without any, the first
    argument has its default.
    """
    import yaml

    parameters = _parameters(plugin)
    values = getattr(plugin, "example", None)
    if not isinstance(values, dict):
        required = {name: name.upper() for name, p in parameters.items() if p.default is p.empty}
        values = required or {name: p.default for name, p in list(parameters.items())[:1]}
    plain = json.dumps(values, default=lambda v: v.name if isinstance(v, Enum) else repr(v))
    built = {entry.name: {"class_path": entry.class_path, "init_args": json.loads(plain)}}
    objectives = {"objectives": built} if parameters else {}
    weights = {"weights": {entry.name: 1.0}, **objectives}
    reward = {"reward": {"class_path": "Reward", "init_args": weights}}
    keep = {"keep": {"class_path": "Filter", "init_args": {"share": 0.25}}}
    uses: dict[str, Any] = {
        "As a reward, in 1_tune.yaml": {"model": {"init_args": reward}},
        "As a filter, in 2_synthesize.yaml (keeps the best quarter of each query's sets)": {
            "model": {"init_args": reward | keep}
        },
        "As a metric, in 6_evaluate.yaml (weight 0: measured, but not part of the composite)": {
            "weights": EQUATION_1 | {entry.name: EQUATION_1.get(entry.name, 0.0)},
            **objectives,
        },
    }
    texts = {use: yaml.safe_dump(config, sort_keys=False) for use, config in uses.items()}
    if "references" in (entry.needs or ()):
        texts.popitem()
        known = "gold facets" if "facets" in (entry.needs or ()) else "references"
        texts["As a metric"] = f"needs no config: it is measured wherever queries have {known}\n"
    return texts
