"""`r4t queries`: a catalog → broad queries in train.jsonl, val.jsonl and test.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, check_least

if TYPE_CHECKING:
    from r4t.catalog import Catalog
    from r4t.data.queries import Query

    Splits = dict[str, list[Query]]

LEAST = 10  # queries, for a split 8:1:1
NEEDED = {
    "label": "writer",
    "item_label": "writer",
    "endpoint": "model",
    "model": "endpoint",
    "folds": "sets",
    "slot": "recompose",
}
NEEDED |= {"split": "sets"}


def run(arguments: list[str]) -> None:
    """Write the queries and print how many there are of each split and kind.

    Raises:
        InputError: If options contradict each other, the catalog or the source is unusable, or the
            folder already has queries.
    """
    args = parse(verb_parser("queries"), arguments)
    from r4t.catalog import Catalog
    from r4t.data.queries import write_queries

    replaced = _check(args)
    catalog = Catalog.load(args.catalog)
    folders, origin, note = _make(catalog, args)
    added = [] if args.recompose is None else _recompose(catalog, folders, args)
    if args.log is not None:
        added += _logged(catalog, folders, args.log)
    if args.writer is not None:
        added += _written(catalog, folders, args)
    for path in replaced:
        path.unlink()
    for name, splits in folders.items():
        write_queries(Path(args.out) / name, splits)
    print(f"queries   {args.out} ({origin})")
    for name, splits in folders.items():
        sizes = ", ".join(f"{split} {len(queries):,}" for split, queries in splits.items())
        print(f"{name or 'splits':<9} {sizes}")
    # All folds hold the same queries.
    queries = [query for part in next(iter(folders.values())).values() for query in part]
    kinds = sorted(Counter(query.kind for query in queries).items())
    print("kinds     " + ", ".join(f"{kind} {count:,}" for kind, count in kinds))
    if grouped := [query for query in queries if query.facets]:
        several = sum(len(query.facets) > 1 for query in grouped)
        facets = sum(len(query.facets) for query in grouped)
        print(f"facets    {facets:,} of {len(grouped):,} queries, {several:,} with two or more")
    for line in added:
        print(line)
    if note:
        print(f"left out  {note}")
    unknown = unknown_words(catalog, queries)
    if unknown is not None:
        print(f"unknown   {unknown}")


def unknown_words(catalog: Catalog, queries: Sequence[Query]) -> str | None:
    """Return a sentence about the queries with words that an LSA encoder does not know, if any."""
    if not (catalog.info["encoder"] or "").startswith("LSA"):  # others split unknown words
        return None
    from r4t.encoder import load_encoder

    encoder: Any = load_encoder(catalog.folder / "encoder")
    unknown = [words for query in queries if (words := encoder.unknown(query.text))]
    if not unknown:
        return None
    common = Counter(word for words in unknown for word in words).most_common(5)
    examples = ", ".join(f"{word} ({times:,})" for word, times in common)
    return (
        f"{len(unknown):,} of {len(queries):,} queries have words that are in no text of the catalog, so "
        f"LSA ignores them: {examples}; add them to the texts, or use a pretrained --encoder"
    )


def _check(args: Any) -> list[Path]:
    """Refuse options that contradict each other; return the files that will be replaced."""
    origins = [f"--{name}" for name in ("sets", "wardrobe", "endpoint") if args[name] is not None]
    if len(origins) > 1:
        raise InputError(
            expected="one source of queries",
            found=" and ".join(origins),
            remedy="Leave out all but one.",
        )
    for option, other in NEEDED.items():
        if args[option] is not None and args[other] is None:
            raise InputError(
                expected=f"--{other} with --{option}",
                found=f"--{option} alone",
                remedy=f"Add --{other}, or leave out --{option}.",
            )
    for option, why in {"writer": "whose queries it imitates", "log": "which it adds to"}.items():
        if args[option] is not None and args.sets is None and args.wardrobe is None:
            raise InputError(
                expected=f"--sets or --wardrobe with --{option}, {why}",
                found=f"--{option} alone",
                remedy=f"Add one of them, or leave out --{option}.",
            )
    if args.split is not None and args.folds is not None:
        raise InputError(
            expected="one way to split",
            found=f"--split {args.split} and --folds {args.folds}",
            remedy="Leave out one of them.",
        )
    check_least({"--count": (args.count, LEAST if args.writer is None else 1)})
    out = Path(args.out)
    existing = sorted([*out.glob("*.jsonl"), *out.glob("fold_*/*.jsonl")])
    if existing and not args.overwrite:
        names = ", ".join(str(path.relative_to(out)) for path in existing[:4])
        raise InputError(
            expected="a folder without queries",
            found=f"{names} in {args.out}",
            remedy="Name a new folder, or add --overwrite.",
        )
    return existing


def _make(catalog: Catalog, args: Any) -> tuple[dict[str, Splits], str, str]:
    """Return the splits by subfolder, where they come from, and what was left out."""
    from r4t.data.phrases import find_phrases, make_queries, split_queries

    if args.sets is not None:
        return _from_sets(catalog, args)
    if args.wardrobe is not None:
        return _from_wardrobe(catalog, args.wardrobe)
    if args.endpoint is not None:
        from r4t.data.endpoint import ask_queries

        queries, note = ask_queries(catalog.texts, args.endpoint, args.model, args.count, args.seed)
        return {"": split_queries(queries, args.seed)}, f"written by {args.model}", note
    phrases = find_phrases(catalog.texts, {name: catalog.column(name) for name in catalog.columns})
    queries, note = make_queries(phrases, args.count, args.seed)
    if len(queries) < LEAST:
        raise InputError(
            expected=f"at least {LEAST} phrases that several texts of the catalog share",
            found=f"{len(queries)} in {len(catalog)} items",
            remedy="Add items, or get queries with --sets or --endpoint.",
        )
    return {"": split_queries(queries, args.seed)}, "from the catalog's phrases", note


def _from_sets(catalog: Catalog, args: Any) -> tuple[dict[str, Splits], str, str]:
    from r4t.data.queries import fold_sets, official_sets, split_sets
    from r4t.data.readers import read_source
    from r4t.data.source import collect_sets, join_notes

    _refuse_collections(catalog, "--sets")
    source = read_source(args.sets)
    sets, note = collect_sets(source.sets, set(catalog.ids))
    if not sets:
        raise InputError(
            expected="reference sets of the catalog's items",
            found=f"none in {args.sets}",
            remedy="Name the source that the catalog was made from.",
        )
    origin, note = f"reference sets of {source.name}", join_notes(source.note, note)
    if args.split is not None:
        splits, kept_apart = official_sets(sets)
        return {"": splits}, f"{origin}, official split", join_notes(note, kept_apart)
    if args.folds is None:
        return {"": split_sets(sets, args.seed)}, origin, note
    folds = fold_sets(sets, args.folds, args.seed)
    return {f"fold_{n}": splits for n, splits in enumerate(folds)}, origin, note


def _refuse_collections(catalog: Catalog, option: str) -> None:
    if (catalog.info["origin"] or {}).get("collections") is not None:
        raise InputError(
            expected=f"a catalog of items for {option}, which has sets of items",
            found=f"{catalog.folder}, whose entries are collections",
            remedy=f"Leave out {option}, or write a catalog of items.",
        )


def _from_wardrobe(catalog: Catalog, task: str) -> tuple[dict[str, Splits], str, str]:
    origin = catalog.info["origin"] or {}
    if origin.get("name") != "wardrobe" or "seed" not in origin:
        raise InputError(
            expected="a catalog of the wardrobe for --wardrobe",
            found=f"one of {origin.get('name')!r} in {catalog.folder}",
            remedy="Write one with `r4t catalog wardrobe --out FOLDER`.",
        )
    if task == "wscr":
        _refuse_collections(catalog, "--wardrobe wscr")
    from r4t.data.wardrobe import generate

    splits: Splits = getattr(generate(origin["seed"], origin["size"]), task)
    for queries in splits.values():  # raises if the catalog lacks a reference
        catalog.rows(item for query in queries for item in query.references)
    return {"": splits}, f"{task} of the wardrobe, seed {origin['seed']}", ""


def _recompose(catalog: Catalog, folders: dict[str, Splits], args: Any) -> list[str]:
    """Add recomposed queries to the training splits; return a line about each split."""
    from r4t.catalog import text_encoder
    from r4t.data.recompose import Recomposer, recompose

    encoder = text_encoder(catalog)
    slots = None if args.slot is None else catalog.column(args.slot)
    rows = {item: row for row, item in enumerate(catalog.ids)}
    lines = []
    for name, splits in folders.items():
        train = [query for query in splits["train"] if query.references]
        if not train:
            raise InputError(
                expected="training queries with reference sets to recompose",
                found="none",
                remedy="Add --sets or --wardrobe wscr, or leave out --recompose.",
            )
        wanted = how_many(args.recompose, len(train))
        vectors = encoder.encode([query.text for query in train])
        recomposer = Recomposer(train, vectors, rows, catalog.embeddings, slots)
        others = [query for split in ("val", "test") for query in splits[split]]
        recomposed = recompose(recomposer, wanted, args.seed, others)
        folders[name] = {**splits, "train": [*splits["train"], *recomposed]}
        bare = len(train) - len(recomposer.bases())
        line = f"recompose {name + ': ' if name else ''}{len(recomposed):,} of {wanted:,} requested"
        if bare:
            line += f"; {bare:,} training queries have one item or no known word"
        lines.append(line)
    return lines


def _logged(catalog: Catalog, folders: dict[str, Splits], path: str) -> list[str]:
    """Add the queries of a log to the split of written ones; return a line about each folder."""
    from r4t.catalog import text_encoder
    from r4t.fanout.query_writer import WRITTEN, logged_queries
    from r4t.support.files import utf8

    if not Path(path).is_file():
        raise InputError(
            expected="a text file with a query on each line for --log",
            found=f"no file {path}",
            remedy="Correct the path.",
        )
    with utf8(Path(path)):
        typed = Path(path).read_text(encoding="utf-8-sig").split("\n")
    texts = [line for line in typed if line.strip()]
    items, encoder, lines = dict(zip(catalog.ids, catalog.texts)), text_encoder(catalog), []
    for name, splits in folders.items():
        new, note = logged_queries(texts, *_known(splits), items, encoder.encode)
        folders[name] = {**splits, WRITTEN: new}
        lines.append(f"logged    {name + ': ' if name else ''}{len(new):,}; left out {note}")
    return lines


def _known(splits: Splits) -> tuple[list[Query], list[Query]]:
    """Return the training queries, but for recomposed ones, and the held-out queries."""
    from r4t.data.queries import RECOMPOSED

    train = [query for query in splits["train"] if query.kind != RECOMPOSED]
    return train, [query for split in ("val", "test") for query in splits[split]]


def _written(catalog: Catalog, folders: dict[str, Splits], args: Any) -> list[str]:
    """Let a local language model write a split of its own; return a line about each folder."""
    from r4t.catalog import text_encoder
    from r4t.fanout.language_model import Pretrained
    from r4t.fanout.query_writer import WRITTEN, QueryWriter, more_queries

    path = Path(args.writer)
    is_file = path.suffix == ".gguf"
    source = Pretrained(str(path.parent), gguf_file=path.name) if is_file else Pretrained(str(path))
    lm = source.build([], Path())
    writer = QueryWriter(lm, args.label or "Query", args.item_label or "Item")
    items = dict(zip(catalog.ids, catalog.texts))
    encoder, lines = text_encoder(catalog), []
    for name, splits in folders.items():
        logged, settings = splits.get(WRITTEN, []), (args.count, args.seed)
        new, note = more_queries(
            writer, *_known(splits), items, encoder.encode, *settings, logged=logged
        )
        folders[name] = {**splits, WRITTEN: [*logged, *new]}
        lines.append(f"written   {name + ': ' if name else ''}{len(new):,}; left out {note}")
    return lines


def how_many(amount: str, queries: int) -> int:
    """Return the number of recomposed queries for a share of the training queries, or a count.

    Raises:
        InputError: If ``amount`` is neither.

    Examples:
        >>> how_many("0.5", 300), how_many("200", 300)
        (150, 200)
    """
    try:
        count = round(float(amount) * queries) if "." in amount else int(amount)
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise InputError(
            expected="--recompose as a share (0.5) or a count (200), of at least one query",
            found=f"{amount!r} for {queries} training queries",
            remedy="Correct it; a share has a decimal point.",
        )
    return count
