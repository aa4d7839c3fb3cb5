"""The manifest and scores of target sets → a data card in Markdown."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from r4t.targets.format import SCORE, Manifest

QUANTILES = (0.05, 0.5, 0.95)
CARD = """# Target sets

{sets:,} sets of {rows} rows for {queries:,} queries, written by a fan-out language model and kept by a
filter.
A set pairs the embedding of a query with the rows that a diffusion retriever learns to generate for it.

## Where they come from

| | | fingerprint |
|---|---|---|
| catalog | | `{fingerprint}` |
| encoder | {encoder} | `{encoder_fingerprint}` |
| fan-out model | `{model}` | `{model_fingerprint}` |
| settings | below | `{config_fingerprint}` |

```json
{config}
```

## What was kept

| | |
|---|---:|
| queries asked | {asked:,} |
| queries with a set | {queries:,} ({answered:.1%}) |
| samples drawn | {drawn:,} |
| sets kept | {sets:,} ({kept:.1%} of the samples) |
{dropped}

| score | mean | 5 % | median | 95 % | sets without |
|---|---:|---:|---:|---:|---:|
{scores}

## How to read them

```python
from r4t.targets import TargetSets

sets = TargetSets.load({folder})
shard = sets.shard(0)  # condition (n, {dim}), rows (n, {rows}, {dim}), items, scores, texts
print(shard.queries[0], shard.texts[0])
```

`shard-RRR-NNNNN.safetensors` holds `condition`, `rows`, `items` (rows of the catalog, −1 for none),
`query` (place among the `queries` of the `.json` beside it) and `score.*`; the `.jsonl` holds a line a
set with `query_id`, `query`, `texts` (sub-queries) and `items` (ids). `manifest.json` counts it all.

## Limits

* The sets are what one model writes and what the objectives above reward: plausible answers, not the
  only right ones, and not judged by people.
* Whatever bias the model, the encoder and the catalog have is in them; a filter by score adds that of
  its objectives.
* Rows beyond the members of a sample come from other kept samples of the same query; where those are
  too few, rows repeat.
"""


def data_card(folder: Path, manifest: Manifest) -> str:
    """Return the card of a folder whose shards have landed.

    Args:
        folder: Of the shards; their scores are read one shard at a time.
        manifest: Of the folder.
    """
    dropped = [f"| dropped: {why} | {count:,} |" for why, count in manifest.dropped.items()]
    told = {
        **{name: getattr(manifest, name) for name in ("fingerprint", "encoder", "model", "dim")},
        "rows": manifest.set_size,
        "sets": manifest.sets,
        "queries": manifest.queries,
        "asked": manifest.asked,
        "drawn": manifest.drawn,
        "config_fingerprint": manifest.config_fingerprint,
        "encoder_fingerprint": manifest.encoder_fingerprint or "–",
        "model_fingerprint": manifest.model_fingerprint or "–",
        "config": json.dumps(manifest.config, indent=2, ensure_ascii=False),
        "answered": manifest.queries / max(1, manifest.asked),
        "kept": manifest.sets / max(1, manifest.drawn),
        "dropped": "\n".join(dropped),
        "scores": "\n".join(_row(name, scores) for name, scores in _scores(folder, manifest)),
        "folder": json.dumps(str(folder)),
    }
    return CARD.format(**told)


def _scores(folder: Path, manifest: Manifest) -> list[tuple[str, Tensor]]:
    """Return the score columns: four bytes a set and objective, where rows have kilobytes."""
    columns: dict[str, list[Tensor]] = {}
    for shard in manifest.shards:
        with safe_open(folder / shard["name"], framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key.startswith(SCORE):
                    columns.setdefault(key.removeprefix(SCORE), []).append(file.get_tensor(key))
    return [(name, torch.cat(parts)) for name, parts in sorted(columns.items())]


def _row(name: str, scores: Tensor) -> str:
    known = scores[~scores.isnan()].double()
    if len(known) == 0:
        return f"| {name} | – | – | – | – | {len(scores):,} |"
    places = [round(q * (len(known) - 1)) for q in QUANTILES]
    found = [known.mean(), *known.sort().values[places]]
    cells = " | ".join(f"{value:.3f}" for value in found)
    return f"| {name} | {cells} | {len(scores) - len(known):,} |"
