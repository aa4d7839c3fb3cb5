"""`r4t catalog`: items of a source → a catalog folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from r4t.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from r4t.data.source import Items, Source
    from r4t.encoder import Encoder

WARDROBE = "wardrobe"
EPILOG = """Examples:
  r4t catalog wardrobe --out runs/catalog
  r4t catalog items.jsonl --out runs/mine --encoder sentence-transformers/all-MiniLM-L6-v2
  r4t catalog items.parquet --vectors images.npy --encoder clip:openai/clip-vit-base-patch32 --out
  c"""


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    import argparse

    verb = ArgumentParser(
        prog="r4t catalog",
        description="Write a catalog folder: items, embeddings, encoder and fingerprint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument(
        "source",
        type=str,
        help="folder of bundle CSVs, folder of items.jsonl (and sets.jsonl), a file of items "
        "(.jsonl, .csv, .parquet), or the word wardrobe for the generated benchmark",
    )
    verb.add_argument("--out", type=str, required=True, help="folder to write")
    verb.add_argument(
        "--encoder",
        type=str,
        help="lsa (default without --vectors), a hub name or folder of a text model, or clip:NAME",
    )
    verb.add_argument(
        "--dim",
        type=int,
        help="width of the embeddings: 128 for lsa; keeps the first coordinates of other models",
    )
    verb.add_argument("--vectors", type=str, help="own vectors of the items, .npy or .safetensors")
    verb.add_argument("--overwrite", action="store_true", help="replace a catalog that is there")
    verb.add_argument("--seed", type=int, default=0, help="of the wardrobe and of LSA")
    verb.add_argument("--size", type=int, default=6000, help="items of the wardrobe")
    return verb


def run(argv: list[str]) -> None:
    """Run the verb with its arguments and print what was written.

    Raises:
        InputError: The source, the encoder or the vectors are at fault, or the folder is taken.
    """
    args = parser().parse_args(argv)
    from r4t.catalog import write_catalog

    source, origin, wardrobe = _source(args.source, args.seed, args.size)
    encoder, embeddings = _embed(source.items, args)
    catalog = write_catalog(
        args.out, source.items, embeddings, encoder, overwrite=args.overwrite, origin=origin
    )
    if wardrobe is not None:
        wardrobe.write_truth(catalog.folder / "truth")
    print(f"catalog      {catalog.folder}")
    print(f"items        {len(catalog):,} (metadata: {', '.join(catalog.columns) or 'none'})")
    print(f"embeddings   {catalog.dim} dimensions")
    print(f"encoder      {catalog.info['encoder'] or 'none: search with vectors only'}")
    print(f"fingerprint  {catalog.fingerprint}")
    if source.sets:
        print(f"sets         {len(source.sets):,} (r4t queries {args.out} --sets {args.source} …)")
    if source.note:
        print(f"left out     {source.note}")


def _source(name: str, seed: int, size: int) -> tuple[Source, dict[str, Any], Any]:
    """Source, its origin for catalog.json, and the wardrobe where it is one."""
    from r4t.data.source import Source, read_source

    if name != WARDROBE:
        return read_source(name), {"name": Path(name).resolve().name}, None
    from r4t.data.wardrobe import generate

    wardrobe = generate(seed, size)
    origin = {"name": WARDROBE, "seed": seed, "size": size}
    return Source(WARDROBE, wardrobe.items), origin, wardrobe


def _embed(items: Items, args: Any) -> tuple[Encoder | None, Tensor]:
    """Encoder and embeddings of the items, encoded or brought."""
    from r4t.data.vectors import read_vectors
    from r4t.encoder import LsaEncoder

    if args.vectors is None:
        if args.encoder in (None, "lsa"):
            dim = 128 if args.dim is None else args.dim
            lsa = LsaEncoder.fit(items.texts, dim, args.seed)
            return lsa, lsa.encode(items.texts)
        model = _pretrained(args.encoder, args.dim)
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
    return (None if args.encoder is None else _pretrained(args.encoder, args.dim)), vectors


def _pretrained(name: str, dim: int | None) -> Encoder:
    from r4t.encoder import ClipTextEncoder, TransformerEncoder

    if name.startswith("clip:"):
        return ClipTextEncoder(name.removeprefix("clip:"), dim)
    return TransformerEncoder(name, dim)
