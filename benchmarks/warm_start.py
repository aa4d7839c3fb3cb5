"""Do word vectors as initial embeddings help the warm start?

    OMP_NUM_THREADS=1 python -m benchmarks.warm_start RUN

Warm-starts the toy config's TinyQwen3 with embeddings initialized by LSA word vectors, and with random
ones, for the same number of steps and over three seeds. Measures both on the validation queries:
negative log-likelihood per token of the teacher's fan-outs, and the composite (eq. 1) of one sampled
fan-out. Writes benchmarks/results/warm_start.json.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything

from benchmarks.device import hardware
from benchmarks.scoring import BATCH, WEIGHTS, scored
from benchmarks.teaching import teach, written
from r4t.data.queries import Query
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.teachers import NearbyWords
from r4t.grpo.training import Sampling, adamw
from r4t.grpo.warm_start import WarmStart
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch

WAYS = {"word vectors": 0.5, "random": 0.0}  # word_length


def taught(run: Run, word_length: float, steps: int, seed: int) -> WarmStart:
    """Warm-start a model with the settings of configs/toy/0_warm_start.yaml."""
    seed_everything(seed, verbose=False)
    module = WarmStart(
        str(run.folder),
        Reward(WEIGHTS),
        NearbyWords(near=50, words=3),
        lm=TinyQwen3(width=128, layers=3, vocabulary=4096, seed=seed, word_length=word_length),
        form=Expand(set_size=10, words=3),
        sampling=Sampling(max_new_tokens=48),
        optimizer=adamw(3e-3),
    )
    teach(run, module, batch_size=32, max_steps=steps)
    return module


@torch.no_grad()
def held_out_loss(module: WarmStart, queries: list[Query]) -> float:
    """Mean negative log-likelihood per token of the teacher's fan-outs, in nats."""
    total, tokens = 0.0, 0
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        texts = [query.text for query in part]
        vectors = module.searcher.encode_queries(texts)
        size = module.fanout.form.set_size
        additions = module.teacher.additions(module.searcher, part, vectors, size, seed=0)
        examples = module.fanout.teach(texts, additions)
        log_probs = module.fanout.log_probs(examples, temperature=1.0)
        total -= float((log_probs * examples.completion_mask).sum())
        tokens += int(examples.completion_mask.sum())
    return total / tokens


def composite(module: WarmStart, queries: list[Query]) -> float:
    """Mean of eq. (1) over the queries, with one sampled fan-out each."""

    def answer(part: list[Query], vectors: torch.Tensor) -> SetBatch:
        return written(module, part)[1]

    scores = scored(answer, module.searcher, queries, module.reward)
    return float(scores["composite"].mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[150, 360])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--limit", type=int, default=None, help="Maximum number of validation queries."
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/warm_start.json"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run = Run.begin(options.run)
    rows: list[dict[str, Any]] = []
    for steps in options.steps:
        for seed in range(options.seeds):
            for way, word_length in WAYS.items():
                module = taught(run, word_length, steps, seed)
                queries, _ = module.searcher.searchable(run.read_queries("val"))
                queries = queries[: options.limit]
                row: dict[str, Any] = {"way": way, "steps": steps, "seed": seed}
                row |= {"queries": len(queries), "nll": held_out_loss(module, queries)}
                rows.append(row | {"composite": composite(module, queries)})
                print(rows[-1], flush=True)
    content = {"hardware": hardware(), "run": options.run.name, "rows": rows}
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
