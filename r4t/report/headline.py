"""Results → the paired differences and ratios behind the headline claims about a run."""

from r4t.evaluation.results import Difference, Results, compare

COMPOSITE = "directions/composite"
FOLM, DIFFUSION, STUDENT, ZERO_SHOT = "R4T-FOLM", "R4T-Diffusion", "R4T-Student", "Zero-shot"
REFINED = "R4T-Refined"
TRAINED = (FOLM, DIFFUSION, STUDENT, REFINED)
# Best first: what says most about the sets that users get.
QUALITY = {"items/facet recall": "true facets", "items/recall": "reference items in the pool"}
CHOICE = " + choice"
REGRESSIONS = ("Set regression (matched)", "Set regression (mixture)", "Set regression")
SETS = ("Most popular items", "Nearest sets", "Nearest sets by vote", "Ridge map")
LEARNING = (*SETS, *REGRESSIONS, "Learned choice")
PLAIN = ("No fan-out", "MMR", "DPP", "k-means facets", *LEARNING, "Nearby words")
# Baselines that learn what the simulated judge knows.
GRADED = ("Graded nearest sets", "Graded ridge", "Graded regression")
BASELINES = (*PLAIN, ZERO_SHOT)


def differences(results: Results) -> list[Difference]:
    """Return the paired differences behind the claims, for the methods that were measured."""
    tuned = [(FOLM, ZERO_SHOT), (DIFFUSION, ZERO_SHOT)]
    recall = [(first, second) for first in (FOLM, DIFFUSION, REFINED) for second in BASELINES]
    refined = [(REFINED, name) for name in (*PLAIN, *GRADED, FOLM, STUDENT)]
    facets = [*tuned, *refined]
    if FOLM not in results.values and DIFFUSION not in results.values:
        recall = [(first, BASELINES[0]) for first in BASELINES[1:]]
        facets = refined if REFINED in results.values else recall
    chosen = [(f"{name}{CHOICE}", f"{FOLM}{CHOICE}") for name in (DIFFUSION, STUDENT)]
    distilled = [(DIFFUSION, FOLM), (STUDENT, FOLM)]
    pairs = {
        COMPOSITE: [(FOLM, "Best-of-"), ("Best-of-", ZERO_SHOT), *distilled, *chosen],
        "directions/distinctness": tuned,
        "items/vendi": [*tuned, *refined],
        "items/facet recall": facets,
        "items/pool facet recall": tuned,
        "items/fit precision": [*tuned, *refined],
        "items/exposure": [*tuned, *refined],
        "items/recall": recall,
    }
    result = [_difference(results, *pair, name) for name in pairs for pair in pairs[name]]
    return [difference for difference in result if difference is not None]


def _difference(results: Results, first: str, second: str, measure: str) -> Difference | None:
    """Compare two methods, "Best-of-" for any N; None if no query has values of both."""
    first, second = (
        next((name for name in results.values if name == wanted or _is_best_of(name, wanted)), "")
        for wanted in (first, second)
    )
    if measure not in results.measures or not first or not second:
        return None
    values = zip(results.column(first, measure), results.column(second, measure))
    both = any(None not in pair for pair in values)
    return compare(results, first, second, measure) if both else None


def _is_best_of(name: str, wanted: str) -> bool:
    return wanted == "Best-of-" and name.startswith(wanted) and name.removeprefix(wanted).isdigit()


def ratios(results: Results) -> list[str]:
    """Return sentences: how much of the tuned model the generators keep, and how fast they are."""
    if FOLM not in results.values:
        return []
    names = [name for name in (DIFFUSION, STUDENT, REFINED) if name in results.values]
    return [line for name in names for line in _compared_with_folm(results, name)]


def _compared_with_folm(results: Results, name: str) -> list[str]:
    folm, generated = (results.mean(method, COMPOSITE) for method in (FOLM, name))
    lines = []
    if folm and generated:
        lines.append(f"{name} reaches {generated / folm:.1%} of R4T-FOLM's composite")
        gain = _difference(results, FOLM, ZERO_SHOT, COMPOSITE)
        if gain is not None and gain.low > 0:  # a share of a gain that may be 0 is meaningless
            share = compare(results, name, ZERO_SHOT, COMPOSITE).mean / gain.mean
            lines.append(
                f"({name.removeprefix('R4T-')} − Zero-shot) / (FOLM − Zero-shot) of the composite: "
                f"{share:.2f}"
            )
    folms = results.latency.get(FOLM, {})
    speeds = [
        f"{folms[batch]['total'] / seconds['total']:.1f} times as fast at batch {batch}"
        for batch, seconds in results.latency.get(name, {}).items()
        if batch in folms
    ]
    if speeds:  # in one sentence: a speed at one batch size says little about another
        lines.append(f"compared with R4T-FOLM, {name} answers {' and '.join(speeds)}")
    return lines


def verdict(results: Results) -> list[str]:
    """Return which method these numbers recommend, and why; nothing without truth or references.

    A trained method must beat the best method without training, its 95 % interval above 0. Of the
    trained ones that do, the best is recommended; unless a baseline that was fitted to all grades of
    the same judge beats it in the same way. A baseline that is ahead by chance is named.
    """
    measure = next((name for name in QUALITY if name in results.measures), None)
    plain = [name for name in PLAIN if name in results.values]
    trained = [name for name in TRAINED if name in results.values]
    if measure is None or not plain or not trained:
        return []
    best = max(plain, key=lambda name: _mean(results, name, measure))
    first = max(trained, key=lambda name: _mean(results, name, measure))
    gain = _difference(results, first, best, measure)
    if gain is None:
        return []
    scores = (
        f"{first} finds {_mean(results, first, measure):.3f} of the {QUALITY[measure]}, "
        f"{_against(results, best, measure, gain)}"
    )
    graded = [name for name in GRADED if name in results.values]
    if graded:
        rival = max(graded, key=lambda name: _mean(results, name, measure))
        lead = _difference(results, first, rival, measure)
        if lead is not None and lead.mean < 0:
            scores += f", and {_against(results, rival, measure, lead)}, fitted to all grades"
            if lead.high < 0:
                return [f"Deploy {rival}: {scores}{_speed(results, rival)}"]
    if gain.low > 0:
        return [f"Deploy {first}: {scores}{_speed(results, first)}"]
    return [f"Deploy {best}, which needs no training: {scores}, so training does not pay here yet"]


def _against(results: Results, name: str, measure: str, difference: Difference) -> str:
    return (
        f"{name} {_mean(results, name, measure):.3f} (difference {difference.mean:+.3f}, 95 % "
        f"interval {difference.low:+.3f} … {difference.high:+.3f})"
    )


def _mean(results: Results, name: str, measure: str) -> float:
    mean = results.mean(name, measure)
    return -1.0 if mean is None else mean


def _speed(results: Results, name: str) -> str:
    """Return the latency of single queries, as the end of a sentence."""
    seconds = results.latency.get(name, {}).get("1")
    return "" if seconds is None else f". It answers one query in {seconds['total'] * 1000:.1f} ms"
