"""What a page shows of a program → the lines that it does not print."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.watchdog import alarms
from r4t.grpo.monitor.watchdog import Watchdog
from r4t.objective import Objective
from r4t.testing import ContractError, check_objective
from tests.docs.blocks import ROOT

# The last bits of embeddings, and so their fingerprint, are the processor's.
FINGERPRINT = re.compile(r"\b[0-9a-f]{64}\b")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.])")
ROUNDED = 0.0021  # two units of the third decimal, for the same reason


def unprinted(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return the lines that do not stand in what was printed, after those before them.

    Lines between them may be left out, as a page does with those of a table.

    Examples:
        >>> unprinted(["a 1", "c 0.50"], ["a 1", "b", "c 0.501"])
        []
        >>> unprinted(["b", "a 1", "c 0.50"], ["a 1", "b", "c 0.6"])
        ['a 1', 'c 0.50']
    """
    missing, place = [], 0
    for line in shown:
        found = next((n for n in range(place, len(printed)) if alike(line, printed[n])), None)
        if found is None:
            missing.append(line)
        else:
            place = found + 1
    return missing


def alike(one: str, other: str) -> bool:
    """Whether two lines say the same: decimal numbers nearly, all else to the letter."""
    one, other = (FINGERPRINT.sub("FINGERPRINT", line.rstrip()) for line in (one, other))
    numbers = [[float(number) for number in NUMBER.findall(line)] for line in (one, other)]
    if NUMBER.sub("NUMBER", one) != NUMBER.sub("NUMBER", other):
        return False
    return numbers[0] == pytest.approx(numbers[1], abs=ROUNDED, rel=0)


class Careless(Objective):
    """Share of red members, the missing ones among them."""

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})

    def score(self, sets):
        red = torch.tensor([color == "red" for color in sets.catalog.column("color")])
        return red[sets.items.clamp(min=0)].float().mean(-1)


def of_the_contract(lines: Sequence[str], place: Path) -> list[str]:
    """The last lines of the traceback that a careless objective gets."""
    with pytest.raises(ContractError) as caught:
        check_objective(Careless())
    kind = f"{ContractError.__module__}.{ContractError.__qualname__}"
    return unprinted(lines, f"{kind}: {caught.value}".splitlines())


def of_the_watchdog(lines: Sequence[str], place: Path) -> list[str]:
    """Its first warning about the run of Figure 4 that was tuned for groundedness alone."""
    file = ROOT / "benchmarks" / "results" / "figure4" / "groundedness-seed0.json"
    first = alarms(json.loads(file.read_text(encoding="utf-8")), Watchdog())[0]
    (line,) = lines
    said = (
        f"after rollout {first.rollout}, in means over 5 rollouts: {first.evidence}. The run goes"
    )
    return [] if said in line else [line]


def of_a_trained_run(lines: Sequence[str], place: Path) -> list[str]:
    """Rows of a set that no run of few steps gives: items of the file of products."""
    with (place / "products.csv").open(encoding="utf-8") as file:
        texts = {row["text"] for row in csv.DictReader(file)}
    return [line for line in lines if line.split("│")[2].strip() not in texts]


# Page and beginning of a block that its own commands do not print → who knows what is right.
ELSEWHERE = {
    ("docs/recipes/catalog.md", "│  1 │ "): of_a_trained_run,
    ("docs/recipes/objective.md", "r4t.testing.contract.ContractError: "): of_the_contract,
    ("docs/recipes/weights.md", "UserWarning: Tuning shows "): of_the_watchdog,
}


def untrue(page: str, lines: Sequence[str], printed: Sequence[str], place: Path) -> list[str]:
    """Return the lines of a block that are not what the program prints.

    Args:
        page: Its path in the repository.
        lines: Of the block, without commands.
        printed: By all commands of the page.
        place: Folder in which they ran.
    """
    for (known, beginning), check in ELSEWHERE.items():
        if page == known and lines[0].startswith(beginning):
            return check(lines, place)
    return unprinted(lines, printed)
