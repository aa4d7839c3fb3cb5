"""A run folder → its catalog, its queries, and where each step writes (see ``run.md``)."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.data.queries import RECOMPOSED, Query, read_queries
from r4t.encoder import Encoder, load_encoder
from r4t.errors import InputError
from r4t.index import build_index
from r4t.search import Searcher
from r4t.sets import Popularity
from r4t.support.files import write_text

RUN_FILE = "run.json"
BANK = 256  # training queries that sets are compared with, at most
SPLITS = ("test", "val", "train")  # in the order in which a text is looked up
README = files("r4t").joinpath("run.md").read_text(encoding="utf-8")

# Key of the method that a model answers as → where its step exports it.
MODELS = {
    "refined": "refine/model",
    "diffusion": "distill/model",
    "student": "accelerate/model",
    "folm": "tune/model",
    "zero-shot": "warm_start/model",
}
CONFIGS = {
    "warm_start": "0_warm_start.yaml",
    "tune": "1_tune.yaml",
    "distill": "3_distill.yaml",
    "accelerate": "4_accelerate.yaml",
    "refine": "5_refine.yaml",
}


def command_for(model: str, run: str | Path) -> str | None:
    """Return the command that writes a model of a run; None if the name is no model of a run.

    Examples:
        >>> command_for("warm_start/model", "runs/mine")
        'r4t fit --config configs/toy/0_warm_start.yaml --run runs/mine'
        >>> command_for("Qwen/Qwen3-4B", "runs/mine")
    """
    step = Path(model).parts[:1]
    config = CONFIGS.get(step[0]) if step else None
    return None if config is None else f"r4t fit --config configs/toy/{config} --run {run}"


@dataclass(frozen=True)
class Run:
    """One run of the method on one catalog.

    Examples:
        ``Run.begin("runs/mine", "my/catalog", "my/queries").searcher()``
    """

    folder: Path
    catalog: Path  # its folder
    queries: Path  # their folder
    fingerprint: str  # of the catalog, when the run was begun

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        catalog: str | Path | None = None,
        queries: str | Path | None = None,
    ) -> "Run":
        """Open the run at ``folder``, or begin it there.

        Args:
            folder: The run folder; created if missing.
            catalog: Folder of the catalog; by default the one that the run was begun with, or
                ``folder/catalog`` for a new run.
            queries: Folder of the queries; likewise.

        Raises:
            InputError: If there is no catalog, or the run was begun with another one.
        """
        folder = Path(folder)
        path = folder / RUN_FILE
        begun = cls.open(folder) if path.is_file() else None
        before = cls(folder, folder / "catalog", folder / "queries", "") if begun is None else begun
        catalog = Path(before.catalog if catalog is None else catalog)
        queries = Path(before.queries if queries is None else queries)
        run = cls(folder, catalog, queries, Catalog.load(catalog).fingerprint)
        if begun is not None:
            _check_catalog(begun.fingerprint, run.fingerprint, catalog, folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "catalog": os.path.relpath(catalog, folder),
            "queries": os.path.relpath(queries, folder),
            "fingerprint": run.fingerprint,
        }
        _write(path, json.dumps(content, indent=2) + "\n")
        readme = folder / "README.md"
        if not readme.is_file() or readme.read_text(encoding="utf-8").startswith(README[:15]):
            _write(readme, README)  # a README of the user's is kept
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open the run at ``folder``.

        Raises:
            InputError: If ``folder`` is not a run, or its file is damaged.
        """
        folder = Path(folder)
        path = folder / RUN_FILE
        if not path.is_file():
            raise InputError(
                expected=f"a run, which is a folder with {RUN_FILE}",
                found=f"no such file in {folder}",
                remedy="Name a run folder, or begin a run: "
                f"{command_for('warm_start/model', folder)}.",
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            catalog = Path(os.path.normpath(folder / content["catalog"]))
            queries = Path(os.path.normpath(folder / content["queries"]))
            return cls(folder, catalog, queries, content["fingerprint"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                expected="a JSON object with catalog, queries and fingerprint",
                found=f"something else in {path}",
                remedy="Delete the file and begin the run again: its steps stay.",
            ) from None

    def searcher(self, backend: str = "torch", cached: int = 0) -> Searcher:
        """Return the frozen retriever over the run's catalog.

        Args:
            backend: Of the index: ``torch`` or ``faiss``.
            cached: Number of text vectors and sub-query results to keep; 0 for none.

        Raises:
            InputError: If the catalog is not the one that the run was begun with.
        """
        catalog = Catalog.load(self.catalog)
        _check_catalog(self.fingerprint, catalog.fingerprint, self.catalog, self.folder)
        folder = self.catalog / "encoder"
        encoder = load_encoder(folder) if folder.is_dir() else None
        index = build_index(catalog.embeddings, backend)
        training = self.training()
        popularity, bank = _popularity(catalog, training), _bank(encoder, training)
        return Searcher(catalog, encoder, index, popularity, cached, bank)

    def read_queries(self, split: str) -> list[Query]:
        """Return the queries of ``train``, ``val`` or ``test``."""
        return read_queries(self.queries, split)

    def as_queries(self, queries: Sequence[Query | str]) -> list[Query]:
        """Return queries for texts: the run's query of that text, if there is one.

        So a typed query has the id, and with it the draws, that it has in the tables.
        """
        return [
            self._by_text.get(query, Query(query, query, "")) if isinstance(query, str) else query
            for query in queries
        ]

    @cached_property
    def _by_text(self) -> dict[str, Query]:
        by_text: dict[str, Query] = {}
        for split in SPLITS:
            if (self.queries / f"{split}.jsonl").is_file():
                for query in self.read_queries(split):
                    by_text.setdefault(query.text, query)
        return by_text

    def training(self) -> list[Query]:
        """Return the training queries whose sets are original; none if there is no such file."""
        if not (self.queries / "train.jsonl").is_file():
            return []
        return [query for query in self.read_queries("train") if query.kind != RECOMPOSED]

    def models(self) -> list[str]:
        """Return the keys of the models that the run has, in the order of ``MODELS``."""
        return [key for key, place in MODELS.items() if (self.folder / place).is_dir()]

    def step(self, name: str) -> Path:
        """Return the folder of a step, such as ``warm_start``, ``tune``, ``targets``, ``distill``."""
        return self.folder / name


def _popularity(catalog: Catalog, training: Sequence[Query]) -> Popularity | None:
    """Count the items of the training queries' sets; None if there are no sets."""
    references = [query.references for query in training if query.references]
    if not references:
        return None
    rows = [row for items in references for row in catalog.rows(items)]
    counts = torch.bincount(torch.tensor(rows), minlength=len(catalog))
    return Popularity(counts, len(references))


def _bank(encoder: Encoder | None, training: Sequence[Query]) -> Tensor | None:
    """Encode at most ``BANK`` distinct training queries, drawn with a fixed seed.

    Queries without a word that the encoder knows are left out. None if no query is left, or if there
    is no encoder.
    """
    texts = list(dict.fromkeys(query.text for query in training))
    if encoder is None or not texts:
        return None
    vectors = encoder.encode(random.Random(0).sample(texts, min(BANK, len(texts))))
    known = vectors[(vectors != 0).any(-1)]
    return known if len(known) else None


def _write(path: Path, text: str) -> None:
    """Write a file unless it holds the text already: other processes of a fit may read it."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _check_catalog(begun: str, found: str, catalog: Path, run: Path) -> None:
    if begun != found:
        raise InputError(
            expected=f"the catalog that run {run} was begun with (fingerprint {begun[:12]})",
            found=f"fingerprint {found[:12]} at {catalog}",
            remedy="Restore that catalog, or begin a new run.",
        )
