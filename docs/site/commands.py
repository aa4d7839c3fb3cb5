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
"""


def command_pages() -> dict[str, str]:
    """Name → text of the index and of a page for each verb."""
    rows = "\n".join(f"| [`r4t {verb}`]({verb}.md) | {what} |" for verb, what in VERBS.items())
    index = INTRODUCTION.format(usage=printed(), rows=rows)
    pages = {"reference/cli/index.md": index}
    for verb, what in VERBS.items():
        text = f"# r4t {verb}\n\n{what[0].upper()}{what[1:]}.\n\n```console\n{printed(verb)}\n```\n"
        pages[f"reference/cli/{verb}.md"] = text
    return pages


def printed(*words: str) -> str:
    """What the program prints for ``--help``, 100 columns wide.

    Raises:
        RuntimeError: It fails.
    """
    command = [sys.executable, "-m", "r4t", *words, "--help"]
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, env=plain)
    if done.returncode != 0:
        raise RuntimeError(f"r4t {' '.join(words)} --help must print its help: {done.stderr}")
    return done.stdout.rstrip()
