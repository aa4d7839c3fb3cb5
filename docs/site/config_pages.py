"""``configs/`` → one page that shows every shipped file."""

from pathlib import Path

from r4t.support.configs import configs_folder

FOLDERS = {
    "toy": "What `r4t quickstart` runs, in minutes on a CPU.",
    "paper": "The published run; each value names the paper's section. `paper/wscr/` is an overlay for it.",
    "shopper": "Overlays for `toy/`: the embedded wardrobe's simulated judge, as in `r4t quickstart`.",
    "wscr": "Overlays for `toy/`: queries with reference sets.",
    "real": "A pretrained language model on reference sets: overlays for `toy/` and `wscr/`.",
    "data": "Overlays for `toy/` and `paper/`: real data sets.",
    "hardware": "Overlays for a training step: LoRA, several GPUs.",
}


def config_page() -> dict[str, str]:
    """Name → text of the page.

    Raises:
        RuntimeError: If ``FOLDERS`` does not list exactly the folders of the configs.
    """
    root = configs_folder()
    folders = {path.relative_to(root).parts[0] for path in root.rglob("*.yaml")}
    if folders != set(FOLDERS):
        raise RuntimeError(f"configs/ has {folders}, but config_pages.py lists {set(FOLDERS)}")
    parts = [
        "# Configs",
        "",
        "A step takes one config and any number of overlays: "
        "`--config configs/toy/1_tune.yaml --config configs/wscr/1_tune.yaml`. If two files set the "
        "same key, the last one wins. `r4t init FOLDER` copies all files, for you to edit.",
    ]
    for folder, what in FOLDERS.items():
        parts += ["", f"## {folder}", "", what]
        for path in sorted((root / folder).rglob("*.yaml")):
            parts += [
                "",
                heading(path.relative_to(root)),
                "",
                "```yaml",
                path.read_text("utf-8").rstrip(),
                "```",
            ]
    return {"reference/configs.md": "\n".join(parts) + "\n"}


def heading(name: Path) -> str:
    """Heading of one file, with the anchor folder-name."""
    anchor = name.with_suffix("").as_posix().replace("/", "-").replace("_", "-")
    return f"### {name.as_posix()} {{ #{anchor} }}"
