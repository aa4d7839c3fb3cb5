"""`r4t catalog`: items of a source → a catalog folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from r4t.data.source import Items, Source
    from r4t.encoder import Encoder

WARDROBE = "wardrobe"
ENCODER_CLASS = r"(?!clip:)[^\W\d][\w.]*:[^\W\d]\w*"  # MODULE:CLASS; hub names have no colon


def run(arguments: list[str]) -> None:
    """Write the catalog and print what it holds.

    Raises:
        InputError: If the source, the encoder or the vectors are unusable, or the folder exists.
    """
    args = parse(verb_parser("catalog"), arguments)
    _check(args)
    from r4t.catalog import write_catalog
    from r4t.data.collections import first_values

    source, origin, wardrobe = _source(args)
    if args.first is not None:
        source = replace(source, items=first_values(source.items, args.first))
    entries, encoder, embeddings = _entries(source, args)
    if args.collections is not None:
        origin["collections"] = args.collections
    catalog = write_catalog(
        args.out, entries, embeddings, encoder, overwrite=args.overwrite, origin=origin
    )
    if wardrobe is not None:
        wardrobe.write_truth(catalog.folder / "truth", outfits=args.collections is not None)
    columns = ", ".join(catalog.columns) or "none"
    print(f"catalog      {catalog.folder}")
    entry = "items" if args.collections is None else "collections"
    print(f"{entry:<12} {len(catalog):,} (metadata: {columns})")
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
    """Refuse options that do not go together."""
    if args.collections == "text" and args.vectors is not None:
        raise InputError(
            expected="vectors of items with --collections mean",
            found="--vectors with --collections text, which embeds the texts of sets",
            remedy="Use --collections mean, or leave out --vectors.",
        )
    if args.vectors is not None and args.encoder == "lsa":
        raise InputError(
            expected="an --encoder that maps texts into the space of --vectors",
            found="lsa, whose space is another",
            remedy="Name the text model that belongs to the vectors, or leave out --encoder.",
        )
    pretrained = args.encoder not in (None, "lsa") and not re.fullmatch(ENCODER_CLASS, args.encoder)
    if args.max_length is not None and (args.max_length < 1 or not pretrained):
        raise InputError(
            expected="--max_length of at least 1 token, with a pretrained --encoder",
            found=f"{args.max_length} with the encoder {args.encoder or 'lsa'}",
            remedy="Leave it out, or name a text model.",
        )
    if args.dtype is not None and not pretrained:
        raise InputError(
            expected="--dtype with a pretrained --encoder",
            found=f"{args.dtype} with the encoder {args.encoder or 'lsa'}",
            remedy="Leave it out, or name a text model.",
        )


def _source(args: Any) -> tuple[Source, dict[str, Any], Any]:
    """Return the source, its origin for catalog.json, and the wardrobe, if it is the source."""
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


def _entries(source: Source, args: Any) -> tuple[Items, Encoder | None, Tensor]:
    """Return the items or collections of a source, their encoder and their embeddings."""
    from r4t.catalog import check_embeddings
    from r4t.data.collections import collection_items, mean_embeddings

    if args.collections is None:
        return source.items, *_embed(source.items, args)
    entries = collection_items(source, titles=args.collections == "text")
    if args.collections == "text":
        return entries, *_embed(entries, args)
    encoder, vectors = _embed(source.items, args)
    row = {item: n for n, item in enumerate(source.items.ids)}
    members = [[row[item] for item in entry.items] for entry in source.sets]
    vectors = check_embeddings(source.items, vectors, encoder)
    return entries, encoder, mean_embeddings(vectors, members)


def _embed(items: Items, args: Any) -> tuple[Encoder | None, Tensor]:
    """Return the encoder and the embeddings of the items: computed, or read from --vectors."""
    from r4t.data.vectors import read_vectors
    from r4t.encoder import LsaEncoder

    if args.vectors is None:
        if args.encoder in (None, "lsa"):
            lsa = LsaEncoder.fit(items.texts, args.dim, args.seed)
            return lsa, lsa.encode(items.texts)
        model = _pretrained(args)
        return model, model.encode(items.texts)
    vectors = read_vectors(args.vectors)
    width = vectors.shape[1]
    if args.dim is not None and not 1 <= args.dim <= width:
        raise InputError(
            expected=f"--dim in 1..{width}, the width of the vectors",
            found=str(args.dim),
            remedy="Correct it, or leave it out.",
        )
    vectors = vectors if args.dim is None else vectors[:, : args.dim]
    if args.encoder is None:
        return None, vectors
    return _pretrained(args), vectors


def _pretrained(args: Any) -> Encoder:
    from r4t.cli.quiet import quiet
    from r4t.encoder import ClipTextEncoder, CustomEncoder, TransformerEncoder

    quiet()
    if re.fullmatch(ENCODER_CLASS, args.encoder):
        return CustomEncoder(args.encoder, args.dim)
    given = {"max_length": args.max_length, "dtype": args.dtype}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if args.encoder.startswith("clip:"):
        return ClipTextEncoder(args.encoder.removeprefix("clip:"), args.dim, **settings)
    return TransformerEncoder(args.encoder, args.dim, **settings)
