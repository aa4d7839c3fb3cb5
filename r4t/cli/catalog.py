"""`r4t catalog`: items of a source → a catalog folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from r4t.data.source import Items, Source
    from r4t.encoder import Encoder

WARDROBE = "wardrobe"
OWN = r"[^\W\d][\w.]*:[^\W\d]\w*"
"""MODULE:CLASS; hub names and folders have no colon."""
EXAMPLES = (
    "r4t catalog wardrobe --out runs/catalog",
    "r4t catalog products.csv --out runs/mine/catalog --id_field sku --text_field title",
    "r4t catalog items.jsonl --out runs/mine/catalog --encoder sentence-transformers/all-MiniLM-L6-v2",
    "r4t catalog items.parquet --out runs/mine/catalog --vectors images.npy \\\n"
    "      --encoder clip:openai/clip-vit-base-patch32",
    "r4t catalog wardrobe --collections mean --out runs/outfits",
)


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    verb = verb_parser(
        "catalog",
        "Write a catalog folder: items (or collections of items), embeddings, encoder and\n"
        "fingerprint.",
        EXAMPLES,
    )
    source = verb.add_argument_group("What comes in")
    source.add_argument(
        "source",
        metavar="SOURCE",
        type=str,
        help="a file of items (.jsonl, .csv, .parquet), a folder of items.jsonl (and sets.jsonl), of "
        "bundle CSVs, of Polyvore outfits (train_no_dup.json, …) or of playlists (mpd.slice.*.json), "
        "or the word wardrobe for the generated benchmark",
    )
    source.add_argument(
        "--id_field",
        metavar="NAME",
        type=str,
        default="id",
        help="what a file of items calls the id",
    )
    source.add_argument(
        "--text_field",
        metavar="NAME",
        type=str,
        default="text",
        help="what it calls the text to be encoded",
    )
    source.add_argument(
        "--first",
        metavar="NAME",
        type=str,
        help="metadata column of lists: also write its first values, as first_NAME",
    )
    source.add_argument(
        "--verbatim", action="store_true", help="leave HTML entities in the texts of bundle CSVs"
    )
    written = verb.add_argument_group("What is written")
    written.add_argument("--out", metavar="FOLDER", type=str, required=True, help="the catalog")
    written.add_argument("--overwrite", action="store_true", help="replace a catalog that is there")
    _add_encoder(verb)
    collections = verb.add_argument_group("Collections")
    collections.add_argument(
        "--collections",
        metavar="HOW",
        type=str,
        help="one entry a set instead of one an item, embedded as text (its own and its items' "
        "titles) or as mean (of its items' embeddings)",
    )
    benchmark = verb.add_argument_group("The generated benchmark")
    benchmark.add_argument(
        "--size", metavar="N", type=int, default=6000, help="items of the wardrobe (6000)"
    )
    benchmark.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the wardrobe and of LSA (0)"
    )
    return verb


def _add_encoder(verb: ArgumentParser) -> None:
    encoder = verb.add_argument_group("Encoder and vectors")
    encoder.add_argument(
        "--encoder",
        metavar="NAME",
        type=str,
        help="lsa (default without --vectors), a hub name or folder of a text model, clip:NAME, or a "
        "class of yours, MODULE:CLASS",
    )
    encoder.add_argument(
        "--vectors",
        metavar="FILE",
        type=str,
        help="own vectors of the items, .npy or .safetensors",
    )
    encoder.add_argument(
        "--dim",
        metavar="D",
        type=int,
        help="width of the embeddings: 128 for lsa, or as many as rows and words allow; keeps the "
        "first coordinates of other models",
    )
    encoder.add_argument(
        "--max_length",
        metavar="TOKENS",
        type=int,
        help="where a text is cut (256; pretrained models)",
    )


def run(argv: list[str]) -> None:
    """Run the verb with its arguments and print what was written.

    Raises:
        InputError: The source, the encoder or the vectors are at fault, or the folder is taken.
    """
    args = parse(parser(), argv)
    _check(args)
    from r4t.catalog import write_catalog
    from r4t.data.collections import first_values

    source, origin, wardrobe = _source(args)
    if args.first is not None:
        source = replace(source, items=first_values(source.items, args.first))
    if args.collections is None:
        entries = source.items
        encoder, embeddings = _embed(entries, args)
    else:
        origin["collections"] = args.collections
        entries, encoder, embeddings = _collect(source, args)
    catalog = write_catalog(
        args.out, entries, embeddings, encoder, overwrite=args.overwrite, origin=origin
    )
    if wardrobe is not None:
        wardrobe.write_truth(catalog.folder / "truth", outfits=args.collections is not None)
    print(f"catalog      {catalog.folder}")
    what = "items       " if args.collections is None else "collections "
    print(f"{what} {len(catalog):,} (metadata: {', '.join(catalog.columns) or 'none'})")
    if args.collections is not None:
        print(f"made of      {len(source.items):,} items, by {args.collections}")
    print(f"embeddings   {catalog.dim} dimensions")
    print(f"encoder      {catalog.info['encoder'] or 'none: search with vectors only'}")
    print(f"fingerprint  {catalog.fingerprint}")
    if source.sets and wardrobe is None and args.collections is None:
        print(f"sets         {len(source.sets):,} (r4t queries {args.out} --sets {args.source} …)")
    if source.note:
        print(f"left out     {source.note}")


def _check(args: Any) -> None:
    from r4t.data.collections import COLLECTIONS

    if args.collections is not None and args.collections not in COLLECTIONS:
        raise InputError(
            f"--collections must be {' or '.join(COLLECTIONS)} — found {args.collections!r} — name "
            f"one of the two.{nearest(args.collections, COLLECTIONS)}"
        )
    if args.collections == "text" and args.vectors is not None:
        raise InputError(
            "Own vectors are those of items, not of the texts of sets — found --vectors with "
            "--collections text — use --collections mean, or leave out --vectors."
        )
    if args.max_length is not None and (
        args.max_length < 1 or args.encoder in (None, "lsa") or _is_own(args.encoder)
    ):
        raise InputError(
            "--max_length is a number of tokens, at least 1, of a pretrained --encoder — found "
            f"{args.max_length} with the encoder {args.encoder or 'lsa'} — leave it out or name a "
            "text model."
        )


def _source(args: Any) -> tuple[Source, dict[str, Any], Any]:
    """Source, its origin for catalog.json, and the wardrobe where it is one."""
    from r4t.data.readers import read_source
    from r4t.data.source import Source

    if args.source != WARDROBE:
        source = read_source(
            args.source,
            verbatim=args.verbatim,
            keep_without_query=args.collections is not None,
            fields=(args.id_field, args.text_field),
        )
        return source, {"name": Path(args.source).resolve().name}, None
    from r4t.data.wardrobe import generate

    wardrobe = generate(args.seed, args.size)
    origin = {"name": WARDROBE, "seed": args.seed, "size": args.size}
    return Source(WARDROBE, wardrobe.items, wardrobe.outfits), origin, wardrobe


def _collect(source: Source, args: Any) -> tuple[Items, Encoder | None, Tensor]:
    """Collections of a source, the encoder of their space and their embeddings."""
    from r4t.catalog import check_embeddings
    from r4t.data.collections import collection_items, mean_embeddings

    entries = collection_items(source, titles=args.collections == "text")
    if args.collections == "text":
        return entries, *_embed(entries, args)
    encoder, vectors = _embed(source.items, args)
    row = {item: n for n, item in enumerate(source.items.ids)}
    members = [[row[item] for item in entry.items] for entry in source.sets]
    return (
        entries,
        encoder,
        mean_embeddings(check_embeddings(source.items, vectors, encoder), members),
    )


def _embed(items: Items, args: Any) -> tuple[Encoder | None, Tensor]:
    """Encoder and embeddings of the items, encoded or brought."""
    from r4t.data.vectors import read_vectors
    from r4t.encoder import LsaEncoder

    if args.vectors is None:
        if args.encoder in (None, "lsa"):
            lsa = LsaEncoder.fit(items.texts, args.dim, args.seed)
            return lsa, lsa.encode(items.texts)
        model = _pretrained(args.encoder, args.dim, args.max_length)
        return model, model.encode(items.texts)
    if args.encoder == "lsa":
        raise InputError(
            "The query encoder of own vectors must map texts into their space — found lsa, which "
            "has a space of its own — name the text model that belongs to the vectors, or none."
        )
    vectors = read_vectors(args.vectors)
    if args.dim is not None:
        if not 1 <= args.dim <= vectors.shape[1]:
            raise InputError(
                f"--dim must lie in 1..{vectors.shape[1]}, the width of the vectors — found "
                f"{args.dim} — give a width in that range or none."
            )
        vectors = vectors[:, : args.dim]
    if args.encoder is None:
        return None, vectors
    return _pretrained(args.encoder, args.dim, args.max_length), vectors


def _pretrained(name: str, dim: int | None, max_length: int | None) -> Encoder:
    from r4t.cli.quiet import quiet
    from r4t.encoder import ClipTextEncoder, CustomEncoder, TransformerEncoder

    quiet()
    if _is_own(name):
        return CustomEncoder(name, dim)
    given: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
    if name.startswith("clip:"):
        return ClipTextEncoder(name.removeprefix("clip:"), dim, **given)
    return TransformerEncoder(name, dim, **given)


def _is_own(name: str) -> bool:
    """Whether the encoder is a class, MODULE:CLASS."""
    return re.fullmatch(OWN, name) is not None and not name.startswith("clip:")
