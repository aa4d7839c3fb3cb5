"""Figures in the prose of a page ↔ the result files that they come from.

A comment below (or at the end of) a paragraph, list or table names the source of every decimal and every
percentage in it, in their order; a whole paragraph of settings says so::

    True-facet recall falls from 0.115 to 0.084, at temperature 0.9.
    <!-- figures: mean(OAR, ZERO, "facet recall"), mean(OAR, FOLM, "facet recall"), setting -->

    <!-- figures: settings -->

Each source is a Python expression over the names in ``NAMES``; its value, with the figure's number of
decimals (times 100 before a percent sign), must be what the page says. ``setting`` stands for what is no
measurement: a setting, a goal, a figure of the paper, arithmetic that the sentence itself shows. Integers,
code, generated tables, addresses, versions and "95 %" of intervals need no source.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.page import refining, tuning
from benchmarks.page.cells import read
from benchmarks.page.evaluations import means, milliseconds
from benchmarks.page.language_model import (
    STUDENT,
    answered,
    claims,
    claims_gain,
    claims_staged,
    claims_staged_gain,
    recipe,
    recipe_gain,
    recipe_of,
    rewarded,
    rewarded_held_out,
    rollout,
    slower,
    worth,
)
from benchmarks.page.retriever import calls, steps

MARKER = re.compile(r"<!-- figures:(.*?)-->", re.DOTALL)
FIGURE = re.compile(r"(?<![\w.,])[+−]?\d[\d,]*(?:(?:\.\d+)? ?%|\.\d+(?![\w.]*\d))")
SKIPPED = re.compile(
    r"<!-- \[\[\[cog.*?\[\[\[end\]\]\] -->"  # generated
    r"|^```.*?^```|`[^`]*`"  # code
    r"|<!--.*?-->|\]\([^)]*\)|<[^>]*>|arXiv:[\d.]+"  # comments and addresses
    r"|(?:Python|PyTorch|torch|transformers|vLLM|Apache)[- ≥]*[\d.]+(?: and [\d.]+)?"  # versions
    r"|95 %|[λαετσ] = [\d.]+|\d[\d.]*M\b",  # intervals, settings, sizes of networks
    re.DOTALL | re.MULTILINE,
)
SETTINGS = "settings"


def mean(name: str, method: str, measure: str) -> float:
    """Mean of a method in an evaluation: "composite" and the objectives of directions, else of items."""
    block = "directions" if measure in ("composite", *DIRECTIONS) else "items"
    return means(name)[method, f"{block}/{measure}"][0]


def difference(name: str, first: str, second: str, measure: str) -> float:
    """Mean paired difference of two methods in an evaluation."""
    return mean(name, first, measure) - mean(name, second, measure)


def difference_of(name: str, first: str, second: str, measure: str) -> list[float]:
    """Mean, low and high of a paired difference that an evaluation reports."""
    (row,) = (
        row
        for row in read(f"{name}.json")["summary"]["differences"]
        if (row["first"], row["second"], row["measure"]) == (first, second, measure)
    )
    return [row["mean"], row["low"], row["high"]]


def faster(method: str, batch: int) -> float:
    """How many times as fast as R4T-FOLM a method of the quickstart answers."""
    times = milliseconds()
    return times["R4T-FOLM", batch] / times[method, batch]


def sampled(name: str, evaluations: int, key: str) -> float:
    """A value of a sampler or a student on the wardrobe of seed 11."""
    values = {(row["name"], row["evaluations"]): row for row in steps()}
    return float(values[name, evaluations][key])


def oversampled(name: str, key: str) -> float:
    """A value of a way to choose among surplus directions."""
    rows = {row["name"]: row for row in read("oversample/oversample.json")["table"]}
    return float(rows[name][key])


def timed(method: str, batch: int, key: str, place: str = "cpu") -> float:
    """A time or ratio of the latency benchmark."""
    return float(calls(place)[method, batch][key])


def headroom(term: str, column: str) -> float:
    """A mean of the headroom report."""
    return float(read("headroom_seed11.json")["rows"][term][column])


def real(name: str, method: str, measure: str) -> float:
    """Mean of a method that learns nothing on a real set, with MiniLM."""
    return float(read(f"real_sets/{name}-minilm.json")["methods"][method][f"items/{measure}"][0])


def bundles(name: str, pair: str) -> float:
    """Mean paired difference of recall on shopping bundles."""
    return float(read("bundles/bundles.json")[name]["recall differences"][pair][0])


def bundle(name: str, method: str, measure: str) -> float:
    """Mean of a method on shopping bundles."""
    return float(read("bundles/bundles.json")[name]["methods"][method][measure][0])


def kept(evaluations: int) -> list[float]:
    """Shares of the converged ODE's composite and Vendi score that a student keeps."""
    name = f"student, {evaluations}"
    return [sampled(name, evaluations, f"{measure} / ODE") for measure in ("composite", "vendi")]


def retriever(name: str, method: str) -> float:
    """Mean recall of a method on the folds that the retriever was measured on."""
    return float(read("bundles/diffusion.json")[name][method]["recall"])


def gate(name: str, measure: str) -> float:
    """Share of its teacher's score that the student of the first fold keeps."""
    scores = read(f"bundles/diffusion-{name}-fold0.json")["gate"]
    return float(scores["student"][measure] / scores["teacher"][measure])


def vendi_loop(bits: int) -> float:
    """How many times as fast our batched Vendi score is as a loop over vendi-score."""
    times = read("objectives.json")["least_ms"]
    loop = times[f"vendi-score `score_K` in a loop, fp{bits}"]
    return float(loop / times[f"vendi, fp{bits}"])


def headroom_row(term: str) -> list[float]:
    """Weight, random, current, greedy bound, gain and weighted gain of a term."""
    report = read("headroom_seed11.json")
    weight, row = report["weights"][term], report["rows"][term]
    gain = row["greedy bound"] - row["current"]
    return [weight, row["random"], row["current"], row["greedy bound"], gain, weight * gain]


def logged(setting: str, rollout: int, key: str, window: int = 1) -> float:
    """Mean of a figure-4 run of seed 0 over the last rollouts up to one, which is counted from 0."""
    rows = tuning.runs(setting)[0]["rollouts"]
    end = len(rows) if rollout == -1 else rollout + 1
    return fmean(row[key] for row in rows[end - window : end])


def pull(setting: str, rollout: int) -> list[float]:
    """Shares of groundedness, diversity and alignment in the spread of the weighted reward."""
    run = tuning.runs(setting)[0]
    names = ("groundedness", "diversity", "alignment")
    row = run["rollouts"][rollout]
    parts = [run["weights"][name] * row[f"{name}/spread"] for name in names]
    return [part / sum(parts) for part in parts]


def loading(key: str) -> Any:
    """Reading's share of a training step of stage 3, or its interval."""
    return read("train_diffusion.json")["lightning"]["eager"][key]


def synthesis(key: str, size: int) -> float:
    """A value of a size (0 or 1) of the benchmark of synthesis."""
    return float(read("synthesis.json")["sizes"][size][key])


def noise(objective: str, credit: str, key: str = "noise") -> float:
    """Noise of the scaled gradient by the weights under a credit, or the unscaled cosine with set's."""
    rows = read(f"credit/noise-{objective}.json")["rows"]
    (row,) = (
        row
        for row in rows
        if (row["space"], row["credit"], row["scaled"]) == ("weights", credit, key == "noise")
    )
    return float(row[key])


def refined_bundle(name: str, method: str, measure: str) -> float:
    """Mean of a method on the folds of a set of bundles, where stage 5 refined for coverage."""
    return float(read("bundles/refined.json")[name]["methods"][method][measure][0])


DIRECTIONS = ("groundedness", "diversity", "alignment", "distinctness")
NAMES: dict[str, Any] = {
    "OAR": "oar_seed11", "WSCR": "wscr_seed11", "CLOTHING": "clothing",
    "PLAIN": "No fan-out", "ZERO": "Zero-shot", "BEST": "Best-of-5", "FOLM": "R4T-FOLM",
    "DIFFUSION": "R4T-Diffusion", "STUDENT": STUDENT, "RIDGE": "Ridge map",
    "REFINED": "R4T-Refined", "GRADED": "Graded regression", "KMEANS": "k-means facets",
    "setting": None, "max": max, "min": min, "sum": sum,
}  # fmt: skip
NAMES |= {"ablated": refining.value, "lead": refining.compared}
NAMES |= {
    function.__name__: function
    for function in (
        *(
            mean,
            difference,
            difference_of,
            faster,
            sampled,
            kept,
            oversampled,
            timed,
            headroom,
            real,
            bundles,
        ),
        *(bundle, retriever, gate, vendi_loop, headroom_row, logged, pull, loading, synthesis),
        *(read, tuning.ends, tuning.runs, noise, refined_bundle),
        *(recipe, recipe_gain, recipe_of, answered, slower, worth),
        *(rollout, claims, claims_gain, claims_staged, claims_staged_gain),
        *(rewarded, rewarded_held_out),
    )
}


@dataclass(frozen=True)
class Figure:
    """A number in the prose of a page."""

    start: int  # in the text of the page
    text: str  # "98.6 %"

    def shown(self, value: float) -> str:
        """Return a value as the figure would show it.

        Example:
            >>> Figure(0, "98.6 %").shown(0.9712), Figure(0, "+0.12").shown(-0.5)
            ('97.1 %', '−0.50')
        """
        percent = re.search(r" ?%$", self.text)
        digits = self.text.removesuffix(percent.group() if percent else "")
        form = f"{'+' if digits[0] == '+' else ''},.{len(digits.partition('.')[2])}f"
        number = format(value * (100 if percent else 1), form).replace("-", "−")
        return (number if "," in digits else number.replace(",", "")) + (
            percent.group() if percent else ""
        )


@dataclass(frozen=True)
class Sourced:
    """The figures of a part of a page, and their sources: None if it names none."""

    figures: Sequence[Figure]
    sources: str | None

    def values(self) -> list[float | None]:
        """Return the value of each source; None for a setting.

        Raises:
            ValueError: If there are no sources, or not one for each figure.
        """
        if self.sources is None:
            raise ValueError("no sources")
        if self.sources.strip() == SETTINGS:
            return [None] * len(self.figures)
        found = list(eval(f"({self.sources},)", {"__builtins__": {}, **NAMES}))
        if len(found) != len(self.figures):
            raise ValueError(f"{len(found)} sources")
        return found


def parts(text: str) -> Iterator[Sourced]:
    """Yield the figures of a page: those of each marker, then those without one."""
    masked = SKIPPED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    figures = [Figure(match.start(), match.group()) for match in FIGURE.finditer(masked)]
    done = 0
    for marker in MARKER.finditer(text):
        begun = max(done, text[: marker.start()].rstrip().rfind("\n\n"))  # of the paragraph
        rest = [figure for figure in figures if figure.start < begun]
        if rest:
            yield Sourced(rest, None)
        figures = [figure for figure in figures if figure.start >= begun]
        mine = [figure for figure in figures if figure.start < marker.start()]
        yield Sourced(mine, marker.group(1))
        figures, done = figures[len(mine) :], marker.end()
    if figures:
        yield Sourced(figures, None)


def mistakes(text: str) -> list[str]:
    """Say what is wrong with the figures of a page; empty if nothing is."""
    found = []
    for part in parts(text):
        lines = [text.count("\n", 0, figure.start) + 1 for figure in part.figures]
        try:
            values = part.values()
        except Exception as error:
            names = ", ".join(f"{f.text} in line {line}" for f, line in zip(part.figures, lines))
            found.append(f"{error!r} for {len(part.figures)} figures: {names}")
            continue
        for figure, line, value in zip(part.figures, lines, values, strict=True):
            if value is not None and figure.shown(value) != figure.text:
                found.append(f"line {line}: {figure.text}, but the files say {figure.shown(value)}")
    return found


def rewritten(text: str) -> str:
    """Return the page with the figures that the files hold now; parts with a mistake stay."""
    changes = []
    for part in parts(text):
        with contextlib.suppress(Exception):  # ``mistakes`` names them
            pairs = zip(part.figures, part.values(), strict=True)
            changes += [(each, each.shown(value)) for each, value in pairs if value is not None]
    for figure, shown in reversed(changes):
        text = text[: figure.start] + shown + text[figure.start + len(figure.text) :]
    return text
