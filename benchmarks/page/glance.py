"""Results → the claims at the top of the results page, each with its numbers."""

from collections.abc import Callable

from benchmarks.page.cells import number, read
from benchmarks.page.evaluations import Means, means
from benchmarks.page.language_model import STUDENT, answered, recipe
from benchmarks.page.retriever import calls, steps
from benchmarks.page.tuning import ends, verdicts

TUNED_ON = "seed 0"  # of the figure-4 runs: the watchdog's thresholds were set there


def claims() -> list[tuple[str, str, str]]:
    """Claim, number, section."""
    real = {s: read(f"real_sets/{s}-minilm.json")["methods"] for s in ("clothing", "electronic")}
    plain = [number(methods["No fan-out"]["items/recall"][0]) for methods in real.values()]
    rows, weights = read("headroom_seed11.json")["rows"], read("headroom_seed11.json")["weights"]
    gains = {term: row["greedy bound"] - row["current"] for term, row in rows.items()}
    oar, wscr = means("oar_seed11"), means("wscr_seed11")

    def mean(values: Means, method: str, measure: str) -> str:
        return number(values[method, measure][0])

    bundles = [
        read("bundles/bundles.json")[name]["recall differences"]
        for name in ("clothing", "electronic")
    ]
    above_zero_shot, above_plain = (
        " and ".join(number(pairs[f"R4T-FOLM − {other}"][0], "+.3f") for pairs in bundles)
        for other in ("Zero-shot", "No fan-out")
    )
    samplers = {(row["name"], row["evaluations"]): row for row in steps()}
    multistep, student = samplers["Multistep, 0.03 … 20", 20], samplers["student, 4", 4]
    composites = {
        row["name"]: row["composite"] for row in read("oversample/oversample.json")["table"]
    }
    times = calls("cpu")
    students = ("R4T-Student", "toy student, 2")
    speeds = [
        " and ".join(number(times[name, batch]["ratio_total"], ".1f") for batch in (1, 64))
        for name in students
    ]
    alone = number(times[students[1], 1]["ratio_generate"], ".1f")
    two_updates, one_update = read("grpo_step.json")["steps"]
    vendi = ends("groundedness", "diversity")
    chosen = "Nearest sets by vote", "Soft-GRPO, consensus", "R4T-Student"
    recalls = [number(recipe(method, "set recall")) for method in ("Most popular items", *chosen)]
    sides = ("R4T-FOLM, float32", "R4T-FOLM, llama.cpp Q8_0", STUDENT)
    waits = [number(answered(side, 1), ".0f") for side in sides]
    return [
        (
            "With a real language model, on recipes: recall among ten of the most popular items, of a "
            "vote of the nearest reference sets, of what 16 tuned fan-outs agree on, and of **R4T-Student**, "
            "which answers by one evaluation of a small network",
            ", ".join(recalls[:3]) + f"; **{recalls[3]}**",
            "Real model",
        ),
        (
            "Milliseconds from text to such a set on two cores: SmolLM2 by our own writing and by "
            "llama.cpp, **R4T-Student**",
            f"{waits[0]} and {waits[1]}; **{waits[2]}**",
            "Latency",
        ),
        (
            "Methods without learning reproduce the known figures: recall of the plain query on "
            "clothing and electronic bundles",
            " and ".join(plain),
            "Baselines",
        ),
        (
            "The most that tuning can gain in eq. (1), and its share from groundedness, which "
            "copying titles would also give",
            f"{number(gains['composite'])}, {number(weights['groundedness'] * gains['groundedness'])}",
            "Headroom",
        ),
        (
            "True facets that ten items find: the best method without training → R4T-Refined, which "
            "learned from a judge; a regression on **all grades of the same judge finds as many**",
            f"{mean(oar, 'DPP', 'items/facet recall')} → "
            f"{mean(oar, 'R4T-Refined', 'items/facet recall')}; "
            f"{mean(oar, 'Graded regression', 'items/facet recall')}",
            "Whole method",
        ),
        (
            "… and R4T-FOLM, whose language model knows no language: Zero-shot → R4T-FOLM",
            f"{mean(oar, 'Zero-shot', 'items/facet recall')} → "
            f"{mean(oar, 'R4T-FOLM', 'items/facet recall')}",
            "Whole method",
        ),
        (
            "With reference sets, recall of No fan-out → R4T-FOLM → R4T-Refined; **a ridge map, fitted "
            "in seconds, recalls as much**, with less diverse items (Vendi of both)",
            " → ".join(
                mean(wscr, name, "items/recall")
                for name in ("No fan-out", "R4T-FOLM", "R4T-Refined")
            )
            + f"; {mean(wscr, 'Ridge map', 'items/recall')} "
            + f"({number(wscr['R4T-Refined', 'items/vendi'][0], '.1f')} and "
            + f"{number(wscr['Ridge map', 'items/vendi'][0], '.1f')})",
            "Whole method",
        ),
        (
            "On real bundles (clothing and electronic, five folds) tuning raises recall above the "
            "untuned model, **but it stays below the plain query**",
            f"{above_zero_shot}; {above_plain}",
            "Tuning",
        ),
        (
            "Groundedness alone degenerates into one repeated word (Vendi / k, before → after)",
            f"{number(vendi[0])} → {number(vendi[1])}",
            "Tuning",
        ),
        ("The watchdog finds collapses, on runs that did not set its thresholds", hits(), "Tuning"),
        (
            "Share of the converged ODE's composite that 20 evaluations keep, and a student with "
            "four; the student's Vendi score **misses the goal of 97 %**",
            f"{multistep['composite / ODE']:.1%}, {student['composite / ODE']:.1%}; "
            f"{student['vendi / ODE']:.1%}",
            "Distillation",
        ),
        (
            "Composite of the best of eight generated sets, and of the language model's best of eight",
            f"{number(composites['diffusion, best of 8 sets'])} and "
            f"{number(composites['R4T-FOLM, best of 8'])}",
            "Distillation",
        ),
        (
            "Speed of a student relative to the language model on a CPU, at batch 1 and at batch 64; "
            "even the smallest student **misses the goal of 20 at batch 1 end to end**",
            f"{'; '.join(speeds)} ({alone} at batch 1 in the fan-out alone)",
            "Latency",
        ),
        (
            "Time of a Soft-GRPO step as a share of TRL's, with two updates per rollout and with one",
            f"{number(two_updates['ratio'], '.2f')} and {number(one_update['ratio'], '.2f')}",
            "Speed",
        ),
    ]


def hits() -> str:
    """Collapses that the watchdog found, and its false alarms, for wardrobe and bundles."""
    parts = []
    for name, fold in (("wardrobe", False), ("bundles", True)):
        rows = [row for row in verdicts() if ("fold" in row["run"]) is fold]
        seen = [row["verdict"] for row in rows if fold or TUNED_ON not in row["run"]]
        collapses = seen.count("hit") + seen.count("miss")
        alarms = f"{seen.count('false alarm')} false alarms in {len(seen) - collapses}"
        parts.append(f"{name}: {seen.count('hit')} of {collapses}, {alarms}")
    return "; ".join(parts)


ANCHORS = {
    "Real model": "a-real-language-model",
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
    for claim, numbers, where in claims():
        lines.append(f"| {claim} | {numbers} | [{where}](#{ANCHORS[where]}) |")
    return "\n".join(lines)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {"at a glance": ("", glance)}
