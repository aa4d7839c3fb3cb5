"""kinds.toml → the paper's eight kinds of broad query (§7): cue words of each, templates to fill."""

import tomllib
from pathlib import Path

_TABLES = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text(encoding="utf-8"))
KINDS = tuple(_TABLES)
CUES = {kind: tuple(row["cues"].split()) for kind, row in _TABLES.items() if "cues" in row}
"""Kind → cue words; "hybrid" joins two of these kinds."""
TEMPLATES = {kind: tuple(row["templates"]) for kind, row in _TABLES.items()}
PLAIN = ("plain", ("{detail} {thing}", "{thing}"))
"""Kind and templates for a catalog that uses no cue word."""
WORDS = (2, 6)
"""Fewest and most words of a broad query (paper, §7)."""
