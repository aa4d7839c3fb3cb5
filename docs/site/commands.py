"""The program → a page a verb: what ``r4t VERB --help`` prints."""

import os
import subprocess
import sys

from r4t.__main__ import VERBS

INTRODUCTION = """# Command line

The program is called `r4t`; its first word says what to do. These pages are what it prints itself,
generated when the site was built.

```console
{usage}
```

| verb | |
|---|---|
{rows}

## A config with comments

`r4t fit --config configs/toy/1_tune.yaml --print_config=comments > mine.yaml` writes what would run, each key
with its documentation and type. The file loads again: edit it and say `r4t fit --config mine.yaml`.

## Stop, and go on

Ctrl-C ends a fit after the step that runs, with a checkpoint, and prints the command that goes on; a
second one leaves at once. A synthesis goes on with the same command, `r4t quickstart` with `--resume`.

## Completion

`r4t completion bash > r4t.bash`, then `source r4t.bash`: verbs, options, files and installed objectives
complete with the tabulator key. zsh and fish likewise.

## Mistakes

What the program does not understand it says in one sentence: what was expected, what was found, what to do;
names that are near are offered. The exit code is 2 then, and 130 after Ctrl-C.
"""
WHOLE = ("fit", "synthesize", "evaluate")  # verbs whose brief help has a whole one behind it


def command_pages() -> dict[str, str]:
    """Name → text of the index and of a page for each verb."""
    rows = "\n".join(f"| [`r4t {verb}`]({verb}.md) | {what} |" for verb, what in VERBS.items())
    index = INTRODUCTION.format(usage=printed(), rows=rows)
    pages = {"reference/cli/index.md": index}
    for verb, what in VERBS.items():
        text = f"# r4t {verb}\n\n{what[0].upper()}{what[1:]}.\n\n```console\n{printed(verb)}\n```\n"
        if verb in WHOLE:
            text += f"\n## Every option\n\n```console\n{printed(verb, '--help-all')}\n```\n"
        pages[f"reference/cli/{verb}.md"] = text
    return pages


def printed(*words: str) -> str:
    """What the program prints for these words, ``--help`` by default after a verb; 100 columns wide.

    Raises:
        RuntimeError: It fails.
    """
    asked = words if words[-1:] == ("--help-all",) else (*words, "--help")
    command = [sys.executable, "-m", "r4t", *asked]
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, env=plain)
    if done.returncode != 0:
        raise RuntimeError(f"r4t {' '.join(asked)} must print its help: {done.stderr}")
    return done.stdout.rstrip()
