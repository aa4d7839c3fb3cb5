"""The program → one page per verb: what ``r4t VERB --help`` prints."""

import os
import subprocess
import sys

from r4t.__main__ import VERBS

INTRODUCTION = """# Command line

The program is called `r4t`; its first word is the verb. These pages show the program's own help, generated
when the site was built.

```console
{usage}
```

| verb | |
|---|---|
{rows}

## A config with comments

`r4t fit --config configs/toy/1_tune.yaml --print_config=comments > mine.yaml` writes the whole config, with
the documentation and type of each key. Edit the file and pass it back: `r4t fit --config mine.yaml`.

## Stop and resume

Ctrl-C stops a fit after the current step, saves a checkpoint and prints the command that resumes; a second
Ctrl-C quits at once. To resume a synthesis, repeat its command; for `r4t quickstart`, add `--resume`.

## Completion

`r4t completion bash > r4t.bash`, then `source r4t.bash`: the Tab key completes verbs, options, files and
installed objectives. zsh and fish work likewise.

## Mistakes

The program answers a mistake in a sentence or two: what it expected, what it found, what to do. It also
suggests similar names. The exit code is then 2; after Ctrl-C it is 130.
"""
FULL_HELP = ("fit", "synthesize", "evaluate")  # verbs whose --help is short and --help-all complete


def command_pages() -> dict[str, str]:
    """Name → text of the index and of one page per verb."""
    rows = "\n".join(f"| [`r4t {verb}`]({verb}.md) | {what} |" for verb, what in VERBS.items())
    index = INTRODUCTION.format(usage=printed(), rows=rows)
    pages = {"reference/cli/index.md": index}
    for verb, what in VERBS.items():
        text = f"# r4t {verb}\n\n{what[0].upper()}{what[1:]}.\n\n```console\n{printed(verb)}\n```\n"
        if verb in FULL_HELP:
            text += f"\n## Every option\n\n```console\n{printed(verb, '--help-all')}\n```\n"
        pages[f"reference/cli/{verb}.md"] = text
    return pages


def printed(*words: str) -> str:
    """What the program prints for these words, followed by ``--help`` unless they end in ``--help-all``.

    Raises:
        RuntimeError: If the program fails.
    """
    arguments = words if words[-1:] == ("--help-all",) else (*words, "--help")
    command = [sys.executable, "-m", "r4t", *arguments]
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, env=plain)
    if done.returncode != 0:
        raise RuntimeError(f"r4t {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout.rstrip()
