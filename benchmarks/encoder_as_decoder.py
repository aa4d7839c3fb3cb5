"""Does a pretrained encoder learn to write fan-outs faster than a small model from scratch?

    pip install --no-deps --require-hashes -r benchmarks/requirements.txt
    python -m benchmarks.encoder_as_decoder RUN --minutes 5

Warm-starts MiniLM as a decoder and the toy config's TinyQwen3 on a run with reference sets (the
shopping bundles, docs/results.md). Both learn the words of reference items for the same CPU time, and
both are then evaluated without tuning: recall of the test queries' sets in a pool of 150. One thread.
Writes benchmarks/results/encoder_as_decoder.json.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from benchmarks.models import MINILM
from benchmarks.teaching import teach, written
from r4t.fanout.encoder_as_decoder import EncoderAsDecoder
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import LanguageModelSource, TinyQwen3
from r4t.fanout.teachers import ReferenceWords
from r4t.grpo.training import Sampling, adamw
from r4t.grpo.warm_start import WarmStart
from r4t.reward import Reward
from r4t.run import Run
from r4t.search import Retrieval

POOL = 150


class Clock(Callback):
    """Ends training after some seconds of CPU time; the learning rate falls to zero by then.

    Args:
        seconds: CPU time of this process.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.spent = 0.0
        self.losses: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock, and let it set the learning rate instead of the number of steps."""
        begin = time.process_time()

        def rate(step: int) -> float:
            self.spent = time.process_time() - begin
            return min(1.0, (step + 1) / 20) * max(0.0, 1 - self.spent / self.seconds)

        for config in trainer.lr_scheduler_configs:
            config.scheduler.lr_lambdas = [rate]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Stop once the time is up."""
        self.losses.append(float(trainer.callback_metrics["train/nll/mean"]))
        trainer.should_stop = self.spent >= self.seconds


def warm_start(
    run: Run, lm: LanguageModelSource, rate: float, seconds: float, batch_size: int
) -> tuple[WarmStart, Clock]:
    """Train a model for some seconds of CPU time."""
    seed_everything(0, verbose=False)
    reward = Reward({"coverage": 1.0})
    module = WarmStart(
        str(run.folder),
        reward,
        ReferenceWords(words=3),
        lm=lm,
        form=Expand(set_size=10, words=3),
        sampling=Sampling(max_new_tokens=64),
        retrieval=Retrieval(POOL, cached=2**16),
        optimizer=adamw(rate),
    )
    clock = Clock(seconds)
    teach(run, module, batch_size, max_steps=100_000, callbacks=[clock])
    return module, clock


@torch.no_grad()
def recall(run: Run, module: WarmStart, limit: int | None = None) -> dict[str, float]:
    """Sample one fan-out for each test query, and measure the recall of its set in the pool."""
    queries, _ = module.searcher.searchable(run.read_queries("test"))
    queries, recalls, members = queries[:limit], [], []
    for start in range(0, len(queries), 32):
        batch = queries[start : start + 32]
        fanouts, sets = written(module, batch)
        recalls.append(module.reward(sets)[0])
        members += [len(texts) for texts in fanouts.subqueries]
    return {
        "queries": len(queries),
        "recall": torch.cat(recalls).mean().item(),
        "subqueries": sum(members) / len(members),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="CPU time for each model.")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--limit", type=int, default=None, help="Maximum number of test queries.")
    parser.add_argument("--encoder", type=Path, default=None, help="Folder (MiniLM).")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/encoder_as_decoder.json"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run = Run.begin(options.run)
    encoder = str(MINILM.source() if options.encoder is None else options.encoder.resolve())
    models: dict[str, tuple[LanguageModelSource, float]] = {
        "TinyQwen3": (TinyQwen3(width=128, layers=3, vocabulary=4096), 3e-3),
        "encoder as decoder": (EncoderAsDecoder(encoder), 5e-4),
        "encoder as decoder, whole vocabulary": (EncoderAsDecoder(encoder, True), 5e-4),
    }
    rows = {}
    for name, (lm, rate) in models.items():
        module, clock = warm_start(run, lm, rate, 60 * options.minutes, options.batch_size)
        rows[name] = {
            "parameters": sum(weight.numel() for weight in module.fanout.parameters()),
            "learning_rate": rate,
            "steps": len(clock.losses),
            "seconds": clock.spent,
            "nll": sum(clock.losses[-10:]) / len(clock.losses[-10:]),
            **recall(run, module, options.limit),
        }
        print(name, rows[name], flush=True)
    settings = {
        "run": options.run.name,
        "encoder": MINILM.name if options.encoder is None else options.encoder.name,
        "minutes": options.minutes,
        "batch_size": options.batch_size,
        "pool": POOL,
        "retrieval": type(module.searcher.encoder).__name__,
        "torch": torch.__version__,
    }
    text = json.dumps({"settings": settings, "models": rows}, indent=2)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
