"""Sets sampled in stage 2 ↔ a folder of shards and a manifest, read lazily by stage 3.

A folder holds shards of rank RRR, ``shard-RRR-00000.safetensors`` … (``condition``, ``rows``,
``items``, ``query``, ``score.<objective>``), beside each a ``.jsonl`` with one object a set
(``query_id``, ``query``, ``texts``, ``items``) and a ``.json``, the record of its landing;
``begun.json``, what it was begun with; ``README.md``, the data card; and ``manifest.json``. The
manifest is written last: a folder without it is unfinished.
"""

from r4t.targets.format import Manifest, Origin, TargetBatch
from r4t.targets.reader import TargetDataset, TargetSets, as_fetched, read_manifest
from r4t.targets.shards import begin, check_begin
from r4t.targets.writer import TargetWriter, finish, write_targets

__all__ = [
    "Manifest",
    "Origin",
    "TargetBatch",
    "TargetDataset",
    "TargetSets",
    "TargetWriter",
    "as_fetched",
    "begin",
    "check_begin",
    "finish",
    "read_manifest",
    "write_targets",
]
