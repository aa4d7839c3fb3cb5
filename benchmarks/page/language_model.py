"""Results of a real language model, and of Perspectrum → figures of the prose."""

from statistics import fmean

from benchmarks.page.cells import read
from benchmarks.page.index import RESULTS

STUDENT = "R4T-Student"


def recipe(method: str, measure: str) -> float:
    """Mean of a method on recipes, on the folds that have all stages of a real language model."""
    return recipe_interval(method, measure)[0]


def recipe_interval(method: str, measure: str) -> list[float]:
    """That mean and the ends of its interval."""
    return _staged("recipes", "methods", method, measure)


def recipe_gain(pair: str, measure: str) -> list[float]:
    """Mean and interval of a paired difference on the same folds."""
    return _staged("recipes", "differences", pair, measure)


def recipe_of(fold: int, method: str, measure: str) -> float:
    """Mean of a method on the test queries of one fold of recipes."""
    for path in sorted((RESULTS / "real").glob(f"recipes-fold{fold}-*.json")):
        methods = read(f"real/{path.name}")["methods"]
        if method in methods:
            return fmean(methods[method][measure])
    raise KeyError(f"no {method} on fold {fold}")


def answered(method: str, batch: int, part: str = "total", file: str = "latency") -> float:
    """Milliseconds of a query with SmolLM2's run, or of a part of it."""
    rows = read(f"real_latency/{file}.json")["rows"]
    (row,) = (row for row in rows if (row["method"], row["batch"]) == (method, batch))
    return float(row["ms per query"][part])


def slower(method: str, batch: int, file: str = "latency") -> list[float]:
    """How many times as long as the student a side takes with SmolLM2's run, and the interval."""
    rows = read(f"real_latency/{file}.json")["rows"]
    (row,) = (row for row in rows if (row["method"], row["batch"]) == (method, batch))
    return [float(number) for number in row["times as long as"][STUDENT]["total"]]


def worth(method: str, measure: str, file: str = "latency") -> float:
    """Mean of a side of SmolLM2's run on its test queries."""
    return float(read(f"real_latency/{file}.json")["worth"][method][measure])


def rollout(kind: str, pair: str) -> list[float]:
    """How many times as fast one way writes rollouts as another, and the interval."""
    (facts,) = (each for name, each in read("rollout_speed.json").items() if name.endswith(kind))
    return [float(number) for number in facts["times as fast as"][pair]]


def claims(method: str, measure: str) -> list[float]:
    """Mean and interval of a method on Perspectrum."""
    return [float(n) for n in read("perspectrum/perspectrum.json")["methods"][method][measure]]


def claims_gain(method: str, measure: str) -> list[float]:
    """Paired difference of the learned choice from a method on Perspectrum, and its interval."""
    pair = read("perspectrum/perspectrum.json")["differences"][f"Learned choice − {method}"]
    return [float(number) for number in pair[measure][:3]]


def claims_staged(method: str, measure: str) -> list[float]:
    """Mean and interval of a method on Perspectrum, where a real language model went through the stages."""
    return _staged("perspectrum", "methods", method, measure)


def claims_staged_gain(pair: str, measure: str) -> list[float]:
    """Paired difference there, and its interval."""
    return _staged("perspectrum", "differences", pair, measure)


def _staged(name: str, part: str, row: str, measure: str) -> list[float]:
    """Value and interval in the table of most folds among those of a set that have a student."""
    tables = [each for each in read(f"real/{name}.json").values() if STUDENT in each["methods"]]
    table = max(tables, key=lambda each: int(each["folds"]))
    return [float(number) for number in table[part][row][measure][:3]]


def rewarded(setting: str, fanout: str, key: str) -> float:
    """Mean of a fan-out on test recipes, where a setting's reward tuned SmolLM2 or chose."""
    return fmean(read(f"real_rewards/{setting}.json")["methods"][fanout][key])


def rewarded_held_out(setting: str, place: int, key: str) -> float:
    """A measure of one of the checks on validation queries while a setting tuned SmolLM2."""
    return float(read(f"real_rewards/{setting}.json")["held_out"][place][key])
