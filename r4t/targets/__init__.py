"""Sets sampled in stage 2 ↔ a folder of shards and a manifest, read lazily by stage 3.

A shard number NNNNN of rank RRR is ``shard-RRR-NNNNN.safetensors`` (``condition``, ``rows``, ``items``,
``query``, ``score.<objective>``), a ``.jsonl`` with one object per set (``query_id``, ``query``,
``texts``, ``items``) and a ``.json``, its record. Beside the shards are ``begun.json``, the settings,
``README.md``, the data card, and ``manifest.json``, written last: without it the folder is unfinished.
"""

from r4t.targets.format import Manifest, Origin, TargetBatch
from r4t.targets.reader import TargetSets, as_fetched, read_manifest
from r4t.targets.shards import begin, check_begin
from r4t.targets.writer import TargetWriter, write_targets

__all__ = [
    "Manifest",
    "Origin",
    "TargetBatch",
    "TargetSets",
    "TargetWriter",
    "as_fetched",
    "begin",
    "check_begin",
    "read_manifest",
    "write_targets",
]
