"""Output that a page shows → the lines that the program does not print."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.watchdog import alarms
from r4t.objective import Objective
from r4t.testing import ContractError, check_objective
from r4t.training.watchdog import Watchdog
from tests.docs.blocks import ROOT

# The last bits of embeddings, and so their fingerprint, depend on the processor.
FINGERPRINT = re.compile(r"\b[0-9a-f]{64}\b")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.])")
TOLERANCE = 0.0021  # two units of the third decimal, for the same reason


def unprinted(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return the shown lines that were not printed, in this order.

    A page may omit lines, such as rows of a table.

    Examples:
        >>> unprinted(["a 1", "c 0.50"], ["a 1", "b", "c 0.501"])
        []
        >>> unprinted(["b", "a 1", "c 0.50"], ["a 1", "b", "c 0.6"])
        ['a 1', 'c 0.50']
    """
    missing, place = [], 0
    for line in shown:
        match = next((n for n in range(place, len(printed)) if alike(line, printed[n])), None)
        if match is None:
            missing.append(line)
        else:
            place = match + 1
    return missing


def alike(one: str, other: str) -> bool:
    """Whether two lines are equal, except for small differences in decimal numbers."""
    one, other = (FINGERPRINT.sub("FINGERPRINT", line.rstrip()) for line in (one, other))
    numbers = [[float(number) for number in NUMBER.findall(line)] for line in (one, other)]
    if NUMBER.sub("NUMBER", one) != NUMBER.sub("NUMBER", other):
        return False
    return numbers[0] == pytest.approx(numbers[1], abs=TOLERANCE, rel=0)


class Careless(Objective):
    """Share of red members, counting missing ones by mistake."""

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})

    def score(self, sets):
        red = torch.tensor([color == "red" for color in sets.catalog.column("color")])
        return red[sets.items.clamp(min=0)].float().mean(-1)


def of_the_contract(lines: Sequence[str], place: Path) -> list[str]:
    """Compare with the last lines of the traceback for a careless objective."""
    with pytest.raises(ContractError) as caught:
        check_objective(Careless())
    kind = f"{ContractError.__module__}.{ContractError.__qualname__}"
    return unprinted(lines, f"{kind}: {caught.value}".splitlines())


def of_the_watchdog(lines: Sequence[str], place: Path) -> list[str]:
    """Compare with the first warning for the run of Figure 4 tuned for groundedness alone."""
    file = ROOT / "benchmarks" / "results" / "figure4" / "groundedness-seed0.json"
    first = alarms(json.loads(file.read_text(encoding="utf-8")), Watchdog())[0]
    (line,) = lines
    said = (
        f"after rollout {first.rollout}, in means over 5 rollouts: {first.evidence}. The run goes"
    )
    return [] if said in line else [line]


def of_a_trained_run(lines: Sequence[str], place: Path) -> list[str]:
    """Check rows that only a fully trained run prints: they must show items of the product file."""
    with (place / "products.csv").open(encoding="utf-8") as file:
        texts = {row["text"] for row in csv.DictReader(file)}
    return [line for line in lines if line.split("│")[2].strip() not in texts]


# Page and beginning of a block that its commands do not print → the check for it.
ELSEWHERE = {
    ("docs/recipes/catalog.md", "│  1 │ "): of_a_trained_run,
    ("docs/recipes/objective.md", "r4t.testing.contract.ContractError: "): of_the_contract,
    ("docs/recipes/weights.md", "UserWarning: Training shows "): of_the_watchdog,
}


def untrue(page: str, lines: Sequence[str], printed: Sequence[str], place: Path) -> list[str]:
    """Return the lines of a block that the program does not print.

    Args:
        page: Path of the page in the repository.
        lines: Lines of the block, without commands.
        printed: Output of all commands of the page.
        place: Folder in which they ran.
    """
    for (owner, beginning), check in ELSEWHERE.items():
        if page == owner and lines[0].startswith(beginning):
            return check(lines, place)
    return unprinted(lines, printed)
