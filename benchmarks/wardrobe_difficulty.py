"""Measure how hard the embedded benchmark is for methods that learn nothing.

    python benchmarks/wardrobe_difficulty.py --seed 0

Prints two things for the test queries of outfits and for the open test queries: the ranks of the
reference items under the plain query, and the table of these methods. *Hand fan-out* knows the latent
truth. It writes ten sub-queries, each the query plus brand, details and category of the query's style
and occasion. It shows how much fan-out through text can gain here.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from r4t.catalog import write_catalog
from r4t.data.facet_truth import FacetTruth
from r4t.data.queries import Query
from r4t.data.wardrobe import Truth, Wardrobe, generate
from r4t.data.wardrobe.vocabulary import CATEGORIES, OCCASIONS, SLOTS, STYLES, style_details
from r4t.encoder import LsaEncoder
from r4t.evaluation.ground_truth import GroundTruth
from r4t.evaluation.measuring import Plan, Scores, evaluate
from r4t.evaluation.results import compare
from r4t.index import build_index
from r4t.methods.bounds import Oracle, RandomItems
from r4t.methods.nearest import NoFanout
from r4t.methods.rerank import Mmr
from r4t.methods.training_sets import NearestSets
from r4t.report.table import blocks, markdown, notes
from r4t.report.terminal import print_blocks
from r4t.search import Searcher
from r4t.sets import SetBatch

BOUNDS = (50, 150, 500, 1500)


def reference_ranks(z: Tensor, embeddings: Tensor, references: list[list[int]]) -> Tensor:
    """Ranks, from 1, of all reference items by closeness to their query.

    Args:
        z: (B, d) unit query vectors.
        embeddings: (N, d) unit item vectors.
        references: Catalog rows of each query's references.

    Returns:
        (R,) ranks of all references of all queries.

    Example:
        >>> reference_ranks(torch.tensor([[1.0, 0.0]]), torch.eye(2), [[1, 0]]).tolist()
        [2, 1]
    """
    ranks = []
    for query, rows in zip(z, references):
        scores = embeddings @ query
        ranks += [int((scores > scores[row]).sum()) + 1 for row in rows]
    return torch.tensor(ranks)


class HandFanout:
    """Ten sub-queries, slot by slot, that use the true style and occasion of the query."""

    key, name, draws = "hand-fan-out", "Hand fan-out", 1

    def __init__(self, searcher: Searcher, truth: Truth, set_size: int = 10, pool: int = 150):
        self.searcher, self.truth = searcher, truth
        self.set_size, self.pool_size = set_size, pool

    def __call__(self, queries: Sequence[Query], vectors: Tensor, *, draw: int = 0) -> SetBatch:
        """Answer B queries."""
        texts = [
            [self._subquery(query, number) for number in range(self.set_size)] for query in queries
        ]
        return self.searcher.retrieve_texts(vectors, texts, self.set_size, pool_size=self.pool_size)

    def _subquery(self, query: Query, number: int) -> str:
        rng = random.Random(f"{query.id}/{number}")
        facets = self.truth.queries[query.id]
        style, occasion = (
            STYLES.get(facets.get("style", "")),
            OCCASIONS.get(facets.get("occasion", "")),
        )

        def fit(name: str) -> float:
            suits_style = style is not None and name in style.categories
            suits_occasion = occasion is not None and name in occasion.categories
            return suits_style + 1.01 * suits_occasion

        slot = SLOTS[number % len(SLOTS)]
        names = sorted((n for n, c in CATEGORIES.items() if c.slot == slot), key=fit, reverse=True)
        words = [query.text, rng.choice(CATEGORIES[names[number // len(SLOTS)]].nouns)]
        if style is not None:
            words += [rng.choice(style.brands), *rng.sample(style_details(facets["style"]), 2)]
        if occasion is not None:
            words.append(rng.choice(occasion.cues))
        return " ".join(words)


def build_searcher(wardrobe: Wardrobe, folder: Path) -> Searcher:
    """Write the catalog with an LSA encoder of 128 dimensions and return its searcher."""
    encoder = LsaEncoder.fit(wardrobe.items.texts, dim=128, seed=0)
    embeddings = encoder.encode(wardrobe.items.texts)
    catalog = write_catalog(folder, wardrobe.items, embeddings, encoder)
    return Searcher(catalog, encoder, build_index(catalog.embeddings))


def report(console: Console, wardrobe: Wardrobe, searcher: Searcher, task: str) -> str:
    """Print the ranks and the table of one task; return the table as Markdown."""
    queries = {"wscr": wardrobe.wscr, "oar": wardrobe.oar}[task]
    truth = FacetTruth(wardrobe.truth, searcher.catalog.ids)
    methods = [
        RandomItems(searcher),
        NoFanout(searcher),
        Mmr(searcher),
        HandFanout(searcher, wardrobe.truth),
        Oracle(searcher, truth=truth),
    ]
    ranks_table = ""
    if task == "wscr":
        methods.insert(3, NearestSets(searcher, queries["train"]))
        z = searcher.encode_queries([query.text for query in queries["test"]])
        rows = [searcher.catalog.rows(query.references) for query in queries["test"]]
        ranks = reference_ranks(z, searcher.catalog.embeddings, rows)
        shares = [(f"≤ {bound}", (ranks <= bound).float().mean().item()) for bound in BOUNDS]
        shares.append(("beyond", 1 - shares[-1][1]))
        console.print("Reference items by rank under the plain query, cumulative:", *(
            f"{name}: {share:.3f}" for name, share in shares
        ))  # fmt: skip
        ranks_table = rank_table(shares)
    known = GroundTruth(searcher, queries["test"], truth)
    plan = Plan(latency_batches=())
    results = evaluate(methods, queries["test"], searcher, Scores({}), known, plan)
    measure = "items/recall" if task == "wscr" else "items/pool facet recall"
    differences = [
        compare(results, method.name, "No fan-out", measure)
        for method in methods
        if method.name not in ("No fan-out", "Random", "Oracle")
    ]
    console.rule(task)
    print_blocks(console, blocks(results, differences, console.width), notes(results))
    return ranks_table + markdown(blocks(results, differences))


def rank_table(shares: list[tuple[str, float]]) -> str:
    """Return shares of the reference items by rank as a Markdown table.

    Example:
        >>> print(rank_table([("≤ 50", 0.25), ("beyond", 0.75)]).strip())
        | rank under the plain query | ≤ 50 | beyond |
        |---|---:|---:|
        | share of reference items | 0.250 | 0.750 |
    """
    names, values = zip(*((name, f"{share:.3f}") for name, share in shares))
    lines = [
        f"| rank under the plain query | {' | '.join(names)} |",
        "|---|" + "---:|" * len(shares),
        f"| share of reference items | {' | '.join(values)} |",
    ]
    return "\n".join(lines) + "\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the wardrobe")
    parser.add_argument("--size", type=int, default=6000, help="number of items")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    arguments = parser.parse_args()
    wardrobe = generate(arguments.seed, arguments.size)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        searcher = build_searcher(wardrobe, Path(folder) / "catalog")
        tables = [report(console, wardrobe, searcher, task) for task in ("wscr", "oar")]
    if arguments.markdown is not None:
        arguments.markdown.write_text("\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
