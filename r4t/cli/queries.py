"""`r4t queries`: a catalog → broad queries in train.jsonl, val.jsonl and test.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, nearest

if TYPE_CHECKING:
    from r4t.catalog import Catalog
    from r4t.data.queries import Query

    Splits = dict[str, list[Query]]

LEAST = 10  # queries, for a split 8:1:1
EXAMPLES = (
    "r4t queries runs/catalog --out runs/queries",
    "r4t queries runs/catalog --out runs/queries --wardrobe oar",
    "r4t queries runs/clothing --out runs/queries --sets data/bundles/clothing",
    "r4t queries runs/clothing --out runs/folds --sets data/bundles/clothing --folds 5",
    "r4t queries runs/clothing --out runs/queries --sets data/bundles/clothing --recompose 1.0 \\\n"
    "      --slot category",
    "r4t queries runs/mine --out runs/queries --endpoint http://localhost:8000/v1 --model qwen3-4b",
)


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    verb = verb_parser(
        "queries",
        "Write broad queries for a catalog, split 8:1:1: from its own phrases (default), by a\n"
        "language model, from reference sets, or those of the generated wardrobe.",
        EXAMPLES,
    )
    source = verb.add_argument_group("What comes in")
    source.add_argument("catalog", metavar="CATALOG", type=str, help="catalog folder")
    written = verb.add_argument_group("What is written")
    written.add_argument(
        "--out", metavar="FOLDER", type=str, required=True, help="train, val and test.jsonl"
    )
    written.add_argument("--overwrite", action="store_true", help="replace queries that are there")
    written.add_argument(
        "--count",
        metavar="N",
        type=int,
        default=2000,
        help="how many (2000; phrases and endpoint)",
    )
    written.add_argument(
        "--folds",
        metavar="N",
        type=int,
        help="write fold_0, fold_1, … instead of one split (--sets; 5 is usual)",
    )
    written.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of phrases and splits (0)"
    )
    origin = verb.add_argument_group("Where queries come from, if not from the catalog's phrases")
    origin.add_argument(
        "--sets",
        metavar="SOURCE",
        type=str,
        help="source with reference sets of the catalog's items",
    )
    origin.add_argument(
        "--wardrobe", metavar="TASK", type=str, help="oar or wscr, for a catalog of the wardrobe"
    )
    origin.add_argument(
        "--endpoint",
        metavar="URL",
        type=str,
        help="OpenAI-compatible address (key: OPENAI_API_KEY)",
    )
    origin.add_argument("--model", metavar="NAME", type=str, help="name of the endpoint's model")
    recomposed = verb.add_argument_group("Recomposed sets")
    recomposed.add_argument(
        "--recompose",
        metavar="N",
        type=str,
        help="add training queries with recomposed sets: a share of the training queries (0.5) or "
        "a count (200)",
    )
    recomposed.add_argument(
        "--slot",
        metavar="NAME",
        type=str,
        help="metadata column whose value a swapped item keeps (--recompose)",
    )
    return verb


def run(argv: list[str]) -> None:
    """Run the verb with its arguments and print what was written.

    Raises:
        InputError: Two origins are asked for, the catalog or the origin is at fault, or the folder
            holds queries already.
    """
    args = parse(parser(), argv)
    from r4t.catalog import Catalog
    from r4t.data.queries import write_queries

    there = _check(args)
    catalog = Catalog.load(args.catalog)
    made, origin, note = _make(catalog, args)
    added = [] if args.recompose is None else _recompose(catalog, made, args)
    for path in there:
        path.unlink()
    for name, splits in made.items():
        write_queries(Path(args.out) / name, splits)
    print(f"queries   {args.out} ({origin})")
    for name, splits in made.items():
        sizes = ", ".join(f"{split} {len(queries):,}" for split, queries in splits.items())
        print(f"{name or 'splits':<9} {sizes}")
    # Every fold holds the same queries: those of the first tell the kinds of all.
    kinds = Counter(q.kind for queries in next(iter(made.values())).values() for q in queries)
    print("kinds     " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items())))
    for line in added:
        print(f"recompose {line}")
    if note:
        print(f"left out  {note}")
    told = unknown_words(catalog, [q for s in next(iter(made.values())).values() for q in s])
    if told is not None:
        print(f"unknown   {told}")


def unknown_words(catalog: Catalog, queries: Sequence[Query]) -> str | None:
    """Say how many queries have words that the catalog's own encoder cannot know; None for none."""
    if not (catalog.info["encoder"] or "").startswith("LSA"):  # others know parts of any word
        return None
    from r4t.encoder import load_encoder

    encoder: Any = load_encoder(catalog.folder / "encoder")
    found = [encoder.unknown(query.text) for query in queries]
    count = sum(bool(words) for words in found)
    if count == 0:
        return None
    common = Counter(word for words in found for word in words).most_common(5)
    shown = ", ".join(f"{word} ({times:,})" for word, times in common)
    return (
        f"{count:,} of {len(queries):,} queries have words that no text of the catalog has, and that "
        f"LSA cannot search: {shown}; put them into the texts, or take a pretrained --encoder"
    )


def _check(args: Any) -> list[Path]:
    """Refuse what does not go together; return the files that will be replaced."""
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
    if args.count < LEAST:
        raise InputError(
            f"--count must be at least {LEAST}, for a split 8:1:1 — found {args.count} — ask for more."
        )
    if args.folds is not None and args.sets is None:
        raise InputError(
            "Folds are made of reference sets — found --folds without --sets — name their source "
            "with --sets."
        )
    if args.slot is not None and args.recompose is None:
        raise InputError(
            "--slot says what recomposing keeps — found it without --recompose — add --recompose "
            "or leave it out."
        )
    out = Path(args.out)
    there = sorted([*out.glob("*.jsonl"), *out.glob("fold_*/*.jsonl")])
    if there and not args.overwrite:
        names = ", ".join(str(path.relative_to(out)) for path in there[:4])
        raise InputError(
            f"Queries are not overwritten unasked — found {names} in {args.out} "
            "— name a new folder or add --overwrite."
        )
    return there


def _make(catalog: Catalog, args: Any) -> tuple[dict[str, Splits], str, str]:
    """Folder below the one to write → splits; where they come from; what was left out."""
    from r4t.data.phrases import find_phrases, make_queries, split_queries

    if args.sets is not None:
        return _from_sets(catalog, args)
    if args.wardrobe is not None:
        splits, origin = _from_wardrobe(catalog, args.wardrobe)
        return {"": splits}, origin, ""
    if args.endpoint is not None:
        from r4t.data.endpoint import ask_queries

        queries, note = ask_queries(catalog.texts, args.endpoint, args.model, args.count, args.seed)
        return {"": split_queries(queries, args.seed)}, f"written by {args.model}", note
    phrases = find_phrases(catalog.texts, {name: catalog.column(name) for name in catalog.columns})
    queries, note = make_queries(phrases, args.count, args.seed)
    if len(queries) < LEAST:
        raise InputError(
            f"A catalog's own queries are phrases that several of its texts share, at least {LEAST} — "
            f"found {len(queries)} in {len(catalog)} items — bring more items, or bring queries with "
            "--sets or --endpoint."
        )
    return {"": split_queries(queries, args.seed)}, "from the catalog's phrases", note


def _from_sets(catalog: Catalog, args: Any) -> tuple[dict[str, Splits], str, str]:
    from r4t.data.queries import fold_sets, split_sets
    from r4t.data.readers import read_source
    from r4t.data.source import collect_sets, join_notes

    _refuse_collections(catalog, "--sets")
    source = read_source(args.sets)
    sets, note = collect_sets(source.sets, set(catalog.ids))
    if not sets:
        raise InputError(
            f"Queries are made of reference sets of the catalog's items — found none in {args.sets} "
            "— name the source that the catalog was made of."
        )
    origin, note = f"reference sets of {source.name}", join_notes(source.note, note)
    if args.folds is None:
        return {"": split_sets(sets, args.seed)}, origin, note
    folds = fold_sets(sets, args.folds, args.seed)
    return {f"fold_{n}": splits for n, splits in enumerate(folds)}, origin, note


def _refuse_collections(catalog: Catalog, asked: str) -> None:
    if (catalog.info["origin"] or {}).get("collections") is not None:
        raise InputError(
            f"Reference sets are sets of items — found {asked} for {catalog.folder}, whose entries "
            "are collections — leave it out, or write a catalog of items."
        )


def _from_wardrobe(catalog: Catalog, task: str) -> tuple[Splits, str]:
    origin = catalog.info["origin"] or {}
    if origin.get("name") != "wardrobe" or "seed" not in origin:
        raise InputError(
            f"--wardrobe needs a catalog of the wardrobe — found one of {origin.get('name')!r} in "
            f"{catalog.folder} — write one with `r4t catalog wardrobe --out FOLDER`."
        )
    if task not in ("oar", "wscr"):
        raise InputError(
            f"--wardrobe must be oar or wscr — found {task!r} — name one of the two."
            f"{nearest(task, ('oar', 'wscr'))}"
        )
    if task == "wscr":
        _refuse_collections(catalog, "--wardrobe wscr")
    from r4t.data.wardrobe import generate

    wardrobe = generate(origin["seed"], origin["size"])
    splits: Splits = getattr(wardrobe, task)
    for queries in splits.values():
        catalog.rows(item for query in queries for item in query.references)
    return splits, f"{task} of the wardrobe, seed {origin['seed']}"


def _recompose(catalog: Catalog, made: dict[str, Splits], args: Any) -> list[str]:
    """Add recomposed queries to the training splits; return a line about each."""
    from r4t.catalog import text_encoder
    from r4t.data.queries import SPLITS
    from r4t.data.recompose import Recomposer, recompose

    encoder = text_encoder(catalog)
    slots = None if args.slot is None else catalog.column(args.slot)
    rows = {item: row for row, item in enumerate(catalog.ids)}
    lines = []
    for name, splits in made.items():
        train = [query for query in splits[SPLITS[0]] if query.references]
        if not train:
            raise InputError(
                "Recomposing needs training queries with reference sets — found none — add --sets "
                "or --wardrobe wscr, or leave out --recompose."
            )
        wanted = how_many(args.recompose, len(train))
        vectors = encoder.encode([query.text for query in train])
        recomposer = Recomposer(train, vectors, rows, catalog.embeddings, slots)
        others = [query for split in SPLITS[1:] for query in splits[split]]
        further = recompose(recomposer, wanted, args.seed, others)
        made[name] = {**splits, SPLITS[0]: [*splits[SPLITS[0]], *further]}
        bare = len(train) - len(recomposer.bases())
        lines.append(
            f"{name + ': ' if name else ''}{len(further):,} of {wanted:,} asked for"
            + (
                f"; {bare:,} training queries of one item or without a known word cannot be"
                if bare
                else ""
            )
        )
    return lines


def how_many(asked: str, queries: int) -> int:
    """Number of recomposed queries: a share of the training queries, or a count.

    Raises:
        InputError: It is neither.

    Examples:
        >>> how_many("0.5", 300), how_many("200", 300)
        (150, 200)
    """
    try:
        count = round(float(asked) * queries) if "." in asked else int(asked)
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise InputError(
            f"--recompose must be a share with a point (0.5) or a count (200) — found {asked!r} for "
            f"{queries} training queries — ask for at least one."
        )
    return count
