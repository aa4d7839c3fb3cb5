"""Sets sampled in stage 2 ↔ a folder of shards and a manifest, read lazily by stage 3.

A folder holds ``shard-00000.safetensors`` … (``condition``, ``rows``, ``items``,
``score.<objective>``), beside each a ``.jsonl`` with one object a set (``query_id``, ``query``,
``texts``), and ``manifest.json``. The manifest is written last: a folder without it is unfinished.
"""

from r4t.targets.format import Manifest, TargetBatch
from r4t.targets.reader import TargetDataset, TargetSets, as_fetched
from r4t.targets.writer import TargetWriter, write_targets

__all__ = [
    "Manifest",
    "TargetBatch",
    "TargetDataset",
    "TargetSets",
    "TargetWriter",
    "as_fetched",
    "write_targets",
]
