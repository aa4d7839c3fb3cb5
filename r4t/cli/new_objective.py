"""``r4t new-objective``: a name → an installable package with a working objective."""

import keyword
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError
from r4t.plugins import OBJECTIVES, installed

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "objective"
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def run(arguments: list[str]) -> None:
    """Write the package; nothing is overwritten.

    Raises:
        InputError: If the name is not usable, or its folder exists.
    """
    options = parse(verb_parser("new-objective"), arguments)
    name = module_name(options.name)
    folder = Path(options.out) / options.name
    if folder.exists():
        raise InputError(
            expected="a new folder for the package",
            found=f"{folder}, which exists",
            remedy="Choose another name, or another parent folder with --out.",
        )
    path = folder.as_posix()
    words = {
        "folder": options.name,
        "name": name,
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "path": shlex.quote(path),
        "place": shlex.quote(path if folder.is_absolute() else f"./{path}"),  # a path to pip
    }
    templates = sorted(TEMPLATES.rglob("*.txt"))
    for template in templates:
        place = template.relative_to(TEMPLATES).with_suffix("").as_posix()
        file = folder / place.replace("NAME", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = Template(template.read_text(encoding="utf-8")).substitute(words)
        file.write_text(text, encoding="utf-8")
    print(
        f"{len(templates)} files written to {folder}; the comments in {name}.py say what to replace.\n"
        f"next: pip install -e {words['place']}\n"
        f"      python -m pytest {words['path']}\n"
        f"      r4t objectives {name}\n"
        f"how to use it as reward, filter and metric: {folder / 'README.md'}"
    )


def module_name(name: str) -> str:
    """Return the name of the objective and its module, with _ for -.

    Raises:
        InputError: If it cannot name a package and a module, or is taken.

    Examples:
        >>> module_name("price-spread")
        'price_spread'
    """
    module = name.replace("-", "_")
    taken = installed(OBJECTIVES)
    fault = ""
    if not NAME.fullmatch(name):
        fault = "which is not lower-case letters and digits, a letter first, joined by - or _"
    elif keyword.iskeyword(module) or keyword.issoftkeyword(module):
        fault = "a Python keyword"
    elif module in taken or name in taken:
        fault = f"which is installed as {taken[module if module in taken else name].value}"
    elif module in sys.stdlib_module_names or find_spec(module) is not None:
        fault = "which Python can already import"
    if fault:
        raise InputError(
            expected="a new name for the objective and its Python module",
            found=f"'{name}', {fault}",
            remedy="Choose another name, such as price-spread.",
        )
    from r4t.reward import check_names

    check_names([module])
    return module
