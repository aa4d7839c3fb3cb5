"""The ten lines that sum up the results page."""

from collections.abc import Callable

from benchmarks.page.cells import number, read
from benchmarks.page.evaluations import means
from benchmarks.page.retriever import calls, steps
from benchmarks.page.tuning import ends, verdicts

SET_ON = "seed 0"  # of the figure-4 runs: the watchdog's thresholds were chosen there


def claims() -> list[tuple[str, str, str]]:
    """Claim, number, section."""
    real = {s: read(f"real_sets/{s}-minilm.json")["methods"] for s in ("clothing", "electronic")}
    plain = [number(told["No fan-out"]["items/recall"][0]) for told in real.values()]
    rows, weights = read("headroom_seed11.json")["rows"], read("headroom_seed11.json")["weights"]
    gains = {term: told["greedy bound"] - told["current"] for term, told in rows.items()}
    oar, wscr = means("oar_seed11"), means("wscr_seed11")

    def of(found: dict[tuple[str, str], tuple[float, float, float]], one: str, name: str) -> str:
        return number(found[one, name][0])

    bundles = [
        read("bundles/bundles.json")[name]["recall differences"]
        for name in ("clothing", "electronic")
    ]
    tuned, lost = (
        " and ".join(number(told[f"R4T-FOLM − {other}"][0], "+.3f") for told in bundles)
        for other in ("Zero-shot", "No fan-out")
    )
    at = {(told["name"], told["evaluations"]): told for told in steps()}
    few, student = at["Multistep, 0.03 … 20", 20], at["student, 4", 4]
    chosen = {
        told["name"]: told["composite"] for told in read("oversample/oversample.json")["table"]
    }
    fast = calls("cpu")
    quick, ours = fast["toy student, 2", 1], fast["R4T-Student", 1]
    two, one = read("grpo_step.json")["steps"]
    vendi = ends("groundedness", "diversity")
    return [
        (
            "Methods without learning reproduce the known figures: recall of the plain query on "
            "clothing and electronic bundles",
            " and ".join(plain),
            "Baselines",
        ),
        (
            "Eq. (1) can gain at most so much over an untuned model, and most of it is groundedness, "
            "which copying titles would give",
            f"{number(gains['composite'])}, {number(weights['groundedness'] * gains['groundedness'])}",
            "Headroom",
        ),
        (
            "Tuning does what the composite asks: Zero-shot → Best-of-5 → R4T-FOLM",
            " → ".join(
                of(oar, name, "directions/composite")
                for name in ("Zero-shot", "Best-of-5", "R4T-FOLM")
            ),
            "Whole method",
        ),
        (
            "… but finds **fewer** true facets (Zero-shot → R4T-FOLM), and MMR re-ranking finds more",
            f"{of(oar, 'Zero-shot', 'items/facet recall')} → "
            f"{of(oar, 'R4T-FOLM', 'items/facet recall')}; {of(oar, 'MMR in pool', 'items/facet recall')}",
            "Whole method",
        ),
        (
            "With reference sets, recall of No fan-out → R4T-FOLM → R4T-Diffusion; **a ridge map, "
            "fitted in seconds, has more**",
            " → ".join(
                of(wscr, name, "items/recall")
                for name in ("No fan-out", "R4T-FOLM", "R4T-Diffusion")
            )
            + f"; {of(wscr, 'Ridge map', 'items/recall')}",
            "Whole method",
        ),
        (
            "On real bundles (clothing and electronic, five folds) tuning raises recall over the "
            "untuned model, **and stays under the plain query**",
            f"{tuned}; {lost}",
            "Tuning",
        ),
        (
            "Groundedness alone degenerates into one repeated word (Vendi / k, before → after)",
            f"{number(vendi[0])} → {number(vendi[1])}",
            "Tuning",
        ),
        ("The watchdog finds collapses, on runs that it was not set on", watched(), "Tuning"),
        (
            "Of the converged ODE's composite 20 evaluations keep so much, and a student in four; its "
            "Vendi score is **under the aim of 97 %**",
            f"{few['composite / ODE']:.1%}, {student['composite / ODE']:.1%}; "
            f"{student['vendi / ODE']:.1%}",
            "Distillation",
        ),
        (
            "The best of eight generated sets beside the language model's best of eight, composite",
            f"{number(chosen['diffusion, best of 8 sets'])} and "
            f"{number(chosen['R4T-FOLM, best of 8'])}",
            "Distillation",
        ),
        (
            "A student is so many times as fast as the language model at batch 1, CPU; **the aim of "
            "20, end to end, is missed** by the smallest as well",
            f"{number(ours['ratio_total'], '.1f')}; {number(quick['ratio_total'], '.1f')} "
            f"({number(quick['ratio_generate'], '.1f')} in the fan-out alone)",
            "Latency",
        ),
        (
            "A Soft-GRPO step takes this share of TRL's time, two updates and one a rollout",
            f"{number(two['ratio'], '.2f')} and {number(one['ratio'], '.2f')}",
            "Speed",
        ),
    ]


def watched() -> str:
    """Hits of collapses and false alarms, wardrobe and bundles apart."""
    told = []
    for name, fold in (("wardrobe", False), ("bundles", True)):
        rows = [row for row in verdicts() if ("fold" in row["run"]) is fold]
        seen = [row["verdict"] for row in rows if fold or SET_ON not in row["run"]]
        hits, falls = seen.count("hit"), seen.count("hit") + seen.count("miss")
        alarms = f"{seen.count('false alarm')} false alarms in {len(seen) - falls}"
        told.append(f"{name}: {hits} of {falls}, {alarms}")
    return "; ".join(told)


ANCHORS = {
    "Baselines": "baselines-without-learning",
    "Headroom": "headroom",
    "Whole method": "the-whole-method",
    "Tuning": "tuning",
    "Distillation": "distillation-samplers-students",
    "Latency": "latency",
    "Speed": "speed-of-training-and-objectives",
}


def glance() -> str:
    """All claims, numbers and links to sections of the page."""
    lines = ["| claim | number | where |", "|---|---|---|"]
    for claim, told, where in claims():
        lines.append(f"| {claim} | {told} | [{where}](#{ANCHORS[where]}) |")
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {"at a glance": ("", glance)}
