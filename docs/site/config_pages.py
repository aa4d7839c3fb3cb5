"""``configs/`` → one page that shows every shipped file."""

from pathlib import Path

from r4t.support.configs import configs_folder

FOLDERS = {
    "toy": "On a CPU, in minutes: what `r4t quickstart` runs.",
    "paper": "The published run; each value names the paper's section. `paper/wscr/` is laid over it.",
    "wscr": "Laid over `toy/`: queries with reference sets.",
    "data": "Laid over both: real data sets.",
    "hardware": "Laid over a training step: LoRA, several GPUs.",
}


def config_page() -> dict[str, str]:
    """Name → text of the page.

    Raises:
        RuntimeError: A folder of configs is not told of here.
    """
    root = configs_folder()
    found = {path.relative_to(root).parts[0] for path in root.rglob("*.yaml")}
    if found != set(FOLDERS):
        raise RuntimeError(f"docs/site/config_pages.py tells of {set(FOLDERS)}, found {found}")
    parts = [
        "# Configs",
        "",
        "A step takes one config, and any number of others laid over it: "
        "`--config configs/toy/1_tune.yaml --config configs/wscr/1_tune.yaml`; the last one that "
        "says something counts. `r4t init FOLDER` copies all of them, to be edited.",
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
    """The heading of one file, whose anchor is folder-name."""
    anchor = name.with_suffix("").as_posix().replace("/", "-").replace("_", "-")
    return f"### {name.as_posix()} {{ #{anchor} }}"
