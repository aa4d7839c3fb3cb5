"""``r4t objectives``: the installed objectives, with what each needs."""

from jsonargparse import ArgumentParser

from r4t.errors import InputError


def run(arguments: list[str]) -> None:
    """Print a table of every objective registered under ``r4t.objectives``."""
    parser = ArgumentParser(
        prog="r4t objectives",
        description="List the installed objectives: name, bounds, needs, package, first line.",
        epilog="example: r4t objectives",
    )
    parser.parse_args(arguments)
    from rich.console import Console
    from rich.table import Table

    from r4t.plugins import installed, objective_class

    table = Table()
    for column in ("name", "needs", "bounds", "from", "what"):
        table.add_column(column, overflow="fold")
    for name, point in installed().items():
        package = point.dist.name if point.dist is not None else ""
        try:
            found = objective_class(name)
        except InputError as error:
            table.add_row(name, "", "", package, f"broken: {error}")
            continue
        needs = ", ".join(sorted(found.needs)) if isinstance(found.needs, frozenset) else "varies"
        bounds = str(found.bounds) if isinstance(found.bounds, tuple) else "varies"
        table.add_row(name, needs or "-", bounds, package, (found.__doc__ or "").split("\n")[0])
    Console(width=None if Console().is_terminal else 120).print(table)
