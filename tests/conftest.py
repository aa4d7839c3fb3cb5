"""One thread (forking after multi-threaded work hangs), Ctrl-C, the real sets, a small run."""

import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from r4t.__main__ import main
from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.geometry import normalize
from r4t.index import TorchIndex
from r4t.run import Run
from r4t.search import Searcher
from r4t.sets import SetBatch
from r4t.support.stopwatch import Stopwatch

torch.set_num_threads(1)
# Of a process that a shell begins in the background it is ignored, and all it begins inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

COLORS = ["red", "blue", "green", "black", "white", "yellow", "brown", "grey"]
MATERIALS = ["linen", "wool", "leather", "cotton", "silk"]
NOUNS = ["shirt", "boots", "hat", "dress", "coat"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest, so that no worker is left with them alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real sets."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("R4T_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"the real sets are not at {folder} (set R4T_SHARED_DATA to their folder)")
    return folder


@pytest.fixture
def small_items() -> Items:
    """200 items: every color x material x noun."""
    triples = [(c, m, n) for c in COLORS for m in MATERIALS for n in NOUNS]
    texts = [" ".join(triple) for triple in triples]
    return Items([f"i{row}" for row in range(len(texts))], texts, {"noun": [t[2] for t in triples]})


@pytest.fixture
def small_run(tmp_path: Path, small_items: Items) -> Run:
    """A run on 200 items with an 8-wide LSA encoder and queries with references."""
    folder = tmp_path / "run"
    encoder = LsaEncoder.fit(small_items.texts, dim=8)
    write_catalog(folder / "catalog", small_items, encoder.encode(small_items.texts), encoder)
    queries = [
        Query(f"q{row}", f"{color} {material}", "set", (f"i{row}", f"i{row + 1}"))
        for row, (color, material) in enumerate((c, m) for c in COLORS for m in MATERIALS)
    ]
    splits = {"train": queries[:24], "val": queries[24:32], "test": queries[32:]}
    write_queries(folder / "queries", splits)
    return Run.begin(folder)


def make_sets(directions, items, mask=None, query=None, **fields) -> SetBatch:
    """A batch from nested lists; directions and item embeddings (B, k, d)."""
    directions = torch.tensor(directions, dtype=torch.float32)
    embeddings = torch.tensor(items, dtype=torch.float32)
    batch, members, width = embeddings.shape
    if query is None:
        query = torch.eye(width)[:1].repeat(batch, 1).tolist()
    return SetBatch(
        query=torch.tensor(query, dtype=torch.float32),
        items=torch.arange(members).repeat(batch, 1),
        item_embeddings=embeddings,
        mask=torch.ones(batch, members, dtype=torch.bool)
        if mask is None
        else torch.tensor(mask, dtype=torch.bool),
        directions=directions,
        **fields,
    )


@pytest.fixture
def sets_from():
    """The builder of ``SetBatch`` from nested lists."""
    return make_sets


@pytest.fixture
def untrained_run(small_run: Run) -> Run:
    """The small run with small language models, none of them trained."""
    from r4t.fanout.formats import Expand
    from r4t.fanout.language_model import TinyQwen3
    from r4t.fanout.model import FanoutModel

    texts = small_run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, None)
    for step in ("warm_start", "tune"):
        model = FanoutModel(lm, tokenizer, Expand(set_size=4), 8)
        model.save(small_run.step(step) / "model")
    return small_run


@pytest.fixture
def as_installed(monkeypatch):
    """Does what ``pip install`` does: puts a folder on the path and registers entry points."""

    modules: list[str] = []

    def install(
        folder: Path,
        name: str,
        version: str,
        points: dict[str, str],
        group: str = "r4t.objectives",
    ) -> None:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        lines = [f"{point} = {value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(str(folder))
        modules.extend(value.split(":")[0] for value in points.values())

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs ``r4t`` with arguments → (exit code, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["r4t", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as done:
            code = done.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


class Compass:
    """Knows four words, each a direction of the plane; a text is the mean of its words."""

    dim = 2
    words: ClassVar = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}

    def encode(self, texts: list[str]) -> Tensor:
        rows = [[self.words.get(word, (0, 0)) for word in text.split()] for text in texts]
        return normalize(torch.stack([torch.tensor(row).float().sum(0) for row in rows]))


@pytest.fixture
def plane(tmp_path):
    """Items a … f at 0, 10, 30, 90, 180 and 270 degrees."""
    angles = torch.tensor([0.0, 10.0, 30.0, 90.0, 180.0, 270.0]).deg2rad()
    items = Items(list("abcdef"), [f"item {name}" for name in "abcdef"])
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    catalog = write_catalog(tmp_path / "catalog", items, embeddings, None)
    searcher = Searcher(catalog, Compass(), TorchIndex(catalog.embeddings))
    searcher.watch = Stopwatch()
    return searcher
