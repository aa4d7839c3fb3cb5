"""Results → the differences and ratios that the claims about a run rest on."""

from collections.abc import Sequence

from r4t.evaluation.results import Difference, Results, compare


def differences(results: Results) -> list[Difference]:
    """Return the paired differences that the claims rest on, as far as both methods are there."""
    tuned = [("R4T-FOLM", "Zero-shot"), ("R4T-Diffusion", "Zero-shot")]
    plain = ("No fan-out", "MMR", "DPP", "k-means facets", "Nearest sets", "Ridge map", "Zero-shot")
    ours = ("R4T-FOLM", "R4T-Diffusion")
    recall = [(first, second) for first in ours for second in plain]
    if not any(name in results.values for name in ours):
        recall = [(first, plain[0]) for first in plain[1:]]
    measures = {
        "directions/composite": [
            ("R4T-FOLM", "Best-of-"),
            ("Best-of-", "Zero-shot"),
            ("R4T-Diffusion", "R4T-FOLM"),
        ],
        "directions/distinctness": tuned,
        "items/vendi": tuned,
        "items/facet recall": tuned,
        "items/pool facet recall": tuned,
        "items/recall": recall,
    }
    found = []
    for measure, pairs in measures.items():
        for first, second in pairs:
            names = [_full(name, results) for name in (first, second)]
            if _comparable(results, names, measure):
                found.append(compare(results, names[0] or "", names[1] or "", measure))
    return found


def _comparable(results: Results, names: Sequence[str | None], measure: str) -> bool:
    """Whether both methods are there and some query has a value of the measure for both."""
    if measure not in results.measures or None in names:
        return False
    columns = [results.of(name, measure) for name in names if name is not None]
    return any(None not in pair for pair in zip(*columns, strict=True))


def ratios(results: Results) -> list[str]:
    """Return sentences on how much of the tuned model the generators keep, and on their speed."""
    if "R4T-FOLM" not in results.values:
        return []
    names = [name for name in ("R4T-Diffusion", "R4T-Student") if name in results.values]
    return [line for name in names for line in _of_folm(results, name)]


def _of_folm(results: Results, name: str) -> list[str]:
    measure = "directions/composite"
    folm, generated = (results.mean(method, measure) for method in ("R4T-FOLM", name))
    lines = []
    if folm and generated:
        lines.append(f"{name} reaches {generated / folm:.1%} of R4T-FOLM's composite")
        if _comparable(results, ["R4T-FOLM", "Zero-shot"], measure):
            gain = compare(results, "R4T-FOLM", "Zero-shot", measure)
            if gain.low > 0:  # a share of a gain that may be nothing says nothing
                kept = compare(results, name, "Zero-shot", measure).mean / gain.mean
                short = name.removeprefix("R4T-")
                lines.append(
                    f"({short} − Zero-shot) / (FOLM − Zero-shot) of the composite: {kept:.2f}"
                )
    for batch, timed in results.latency.get(name, {}).items():
        ratio = results.latency["R4T-FOLM"][batch]["total"] / timed["total"]
        lines.append(f"at batch {batch} {name} answers {ratio:.1f} times as fast as R4T-FOLM")
    return lines


def _full(name: str, results: Results) -> str | None:
    return next((found for found in results.values if found.startswith(name)), None)
