"""A warm start that a benchmark trains → the trained model, and its fan-outs."""

from typing import Any

from lightning.pytorch import Trainer

from r4t.data.queries import Query
from r4t.fanout.model import Fanouts
from r4t.grpo.warm_start import WarmStart
from r4t.run import Run
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed
from r4t.training.query_data import QueryData


def teach(run: Run, module: WarmStart, batch_size: int, **plan: Any) -> None:
    """Train on the CPU without checkpoints or logs, then switch to evaluation mode.

    Args:
        run: Its queries are learned.
        module: Trained in place.
        batch_size: Queries per step.
        **plan: Further arguments of the trainer.
    """
    Trainer(
        accelerator="cpu",
        limit_val_batches=0,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(run.folder),
        **plan,
    ).fit(module, QueryData(str(run.folder), batch_size=batch_size))
    module.fanout.eval()


def written(module: WarmStart, queries: list[Query]) -> tuple[Fanouts, SetBatch]:
    """Sample one fan-out per query with fixed seeds, and retrieve its set."""
    seeds = [query_seed(query.id, 0) for query in queries]
    fanouts = module.fanout.sample([query.text for query in queries], seeds, 1, 0.9)
    return fanouts, module.retrieve(queries, fanouts)
