"""The manifest and scores of target sets → a data card in Markdown."""

import json
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from r4t.targets.format import SCORE, Manifest

QUANTILES = (0.05, 0.5, 0.95)


def data_card(folder: Path, manifest: Manifest) -> str:
    """Return the card of a folder whose shards are all written."""
    facts = {
        **vars(manifest),
        "encoder_fingerprint": manifest.encoder_fingerprint or "–",
        "model_fingerprint": manifest.model_fingerprint or "–",
        "config": json.dumps(manifest.config, indent=2, ensure_ascii=False),
        "answered": manifest.queries / max(1, manifest.asked),
        "kept": manifest.sets / max(1, manifest.drawn),
        "dropped": "\n".join(f"| dropped: {why} | {n:,} |" for why, n in manifest.dropped.items()),
        "scores": "\n".join(_row(name, scores) for name, scores in _scores(folder, manifest)),
        "teachers": "\n".join(
            f"| {key} | {counts['candidates']:,} | {counts['kept']:,} | {counts['best']:,} |"
            for key, counts in manifest.teachers.items()
        ),
        "folder": json.dumps(str(folder)),
    }
    template = files("r4t.targets") / "card.md"
    return template.read_text(encoding="utf-8").format(**facts)


def _scores(folder: Path, manifest: Manifest) -> list[tuple[str, Tensor]]:
    """Return the score columns; rows, which are far larger, are not read."""
    columns: dict[str, list[Tensor]] = {}
    for shard in manifest.shards:
        with safe_open(folder / shard["name"], framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key.startswith(SCORE):
                    columns.setdefault(key.removeprefix(SCORE), []).append(file.get_tensor(key))
    return [(name, torch.cat(parts)) for name, parts in sorted(columns.items())]


def _row(name: str, scores: Tensor) -> str:
    scored = scores[~scores.isnan()].double()
    if len(scored) == 0:
        return f"| {name} | – | – | – | – | {len(scores):,} |"
    places = [round(q * (len(scored) - 1)) for q in QUANTILES]
    cells = " | ".join(f"{x:.3f}" for x in (scored.mean(), *scored.sort().values[places]))
    return f"| {name} | {cells} | {len(scores) - len(scored):,} |"
