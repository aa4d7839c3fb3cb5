"""`r4t queries`: a catalog → broad queries in train.jsonl, val.jsonl and test.jsonl."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from r4t.errors import InputError

if TYPE_CHECKING:
    from r4t.catalog import Catalog
    from r4t.data.queries import Query

    Splits = dict[str, list[Query]]

EPILOG = """Examples:
  r4t queries runs/catalog --out runs/queries
  r4t queries runs/catalog --out runs/queries --wardrobe oar
  r4t queries runs/clothing --out runs/queries --sets data/bundles/clothing
  r4t queries runs/mine --out runs/queries --endpoint http://localhost:8000/v1 --model qwen3-4b"""


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    import argparse

    verb = ArgumentParser(
        prog="r4t queries",
        description="Write broad queries for a catalog, split 8:1:1: from its own phrases "
        "(default), by a language model, from reference sets, or those of the generated wardrobe.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("catalog", type=str, help="catalog folder")
    verb.add_argument("--out", type=str, required=True, help="folder to write")
    verb.add_argument("--count", type=int, default=2000, help="how many (phrases and endpoint)")
    verb.add_argument("--seed", type=int, default=0, help="of phrases and splits")
    verb.add_argument("--sets", type=str, help="source with reference sets of the catalog's items")
    verb.add_argument("--wardrobe", type=str, help="oar or wscr, for a catalog of the wardrobe")
    verb.add_argument(
        "--endpoint", type=str, help="OpenAI-compatible address (key: OPENAI_API_KEY)"
    )
    verb.add_argument("--model", type=str, help="name of the endpoint's model")
    verb.add_argument("--overwrite", action="store_true", help="replace queries that are there")
    return verb


def run(argv: list[str]) -> None:
    """Run the verb with its arguments and print what was written.

    Raises:
        InputError: Two origins are asked for, the catalog or the origin is at fault, or the folder
            holds queries already.
    """
    args = parser().parse_args(argv)
    from r4t.catalog import Catalog
    from r4t.data.queries import write_queries

    _check(args)
    splits, origin, note = _make(Catalog.load(args.catalog), args)
    write_queries(args.out, splits)
    kinds = Counter(query.kind for queries in splits.values() for query in queries)
    print(f"queries   {args.out} ({origin})")
    print("splits    " + ", ".join(f"{name} {len(queries):,}" for name, queries in splits.items()))
    print("kinds     " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items())))
    if note:
        print(f"left out  {note}")


def _check(args: Any) -> None:
    origins = ("sets", "wardrobe", "endpoint")
    named = [f"--{name}" for name in origins if getattr(args, name) is not None]
    if len(named) > 1:
        raise InputError(
            f"Queries come from one origin — found {' and '.join(named)} — leave out all but one."
        )
    if (args.endpoint is None) != (args.model is None):
        raise InputError(
            "An endpoint is asked with --endpoint and --model — found only one of them — give both."
        )
    if args.count < 10:
        raise InputError(
            f"--count must be at least 10, for a split 8:1:1 — found {args.count} — ask for more."
        )
    there = sorted(path.name for path in Path(args.out).glob("*.jsonl"))
    if there and not args.overwrite:
        raise InputError(
            f"Queries are not overwritten unasked — found {', '.join(there)} in {args.out} "
            "— name a new folder or add --overwrite."
        )


def _make(catalog: Catalog, args: Any) -> tuple[Splits, str, str]:
    """Queries by split, where they come from, and a note of what was left out."""
    from r4t.data.phrases import find_phrases, make_queries, split_queries

    if args.sets is not None:
        return _from_sets(catalog, args.sets, args.seed)
    if args.wardrobe is not None:
        return _from_wardrobe(catalog, args.wardrobe)
    if args.endpoint is not None:
        from r4t.data.endpoint import ask_queries

        queries, note = ask_queries(catalog.texts, args.endpoint, args.model, args.count, args.seed)
        return split_queries(queries, args.seed), f"written by {args.model}", note
    phrases = find_phrases(catalog.texts, {name: catalog.column(name) for name in catalog.columns})
    queries, note = make_queries(phrases, args.count, args.seed)
    return split_queries(queries, args.seed), "from the catalog's phrases", note


def _from_sets(catalog: Catalog, path: str, seed: int) -> tuple[Splits, str, str]:
    from r4t.data.queries import split_sets
    from r4t.data.source import collect_sets, join_notes, read_source

    source = read_source(path)
    rows = [(entry.id, entry.query, entry.items) for entry in source.sets]
    sets, note = collect_sets(rows, set(catalog.ids))
    if not sets:
        raise InputError(
            f"Queries are made of reference sets of the catalog's items — found none in {path} "
            "— name the source that the catalog was made of."
        )
    return split_sets(sets, seed), f"reference sets of {source.name}", join_notes(source.note, note)


def _from_wardrobe(catalog: Catalog, task: str) -> tuple[Splits, str, str]:
    origin = catalog.info["origin"] or {}
    if origin.get("name") != "wardrobe" or "seed" not in origin:
        raise InputError(
            f"--wardrobe needs a catalog of the wardrobe — found one of {origin.get('name')!r} in "
            f"{catalog.folder} — write one with `r4t catalog wardrobe --out FOLDER`."
        )
    if task not in ("oar", "wscr"):
        raise InputError(f"--wardrobe must be oar or wscr — found {task!r} — name one of the two.")
    from r4t.data.wardrobe import generate

    wardrobe = generate(origin["seed"], origin["size"])
    splits: Splits = getattr(wardrobe, task)
    for queries in splits.values():
        catalog.rows(item for query in queries for item in query.references)
    return splits, f"{task} of the wardrobe, seed {origin['seed']}", ""
