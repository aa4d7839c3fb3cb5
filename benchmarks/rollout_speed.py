"""Seconds of a rollout: our own writing against ``generate`` of transformers, on equal prompts.

    OMP_NUM_THREADS=2 python -m benchmarks.rollout_speed                # SmolLM2 and the toy model
    OMP_NUM_THREADS=2 python -m benchmarks.rollout_speed --smoke        # a tiny model only

*generate* is what this project's backend did before: each of the B·G rows reads its whole prompt, all
rows go on until the last has ended, and Gumbel noise for each token of the vocabulary draws. *trl* is
``generate`` as ``GRPOTrainer`` of TRL calls it: multinomial sampling, and no end but the end token or
the limit, for it does not know what a list is. *ours* is ``Transformers()``, *bfloat16* is
``Transformers(dtype="bfloat16")``. All write at most ``--tokens`` tokens at temperature 0.7.

Prompts are those of recipes: *examples* with two of them before the query, *short* without. The sides
alternate, in an order that changes; a ratio is the median over pairs with its bootstrap interval.
Writes RESULTS/rollout_speed.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from benchmarks.device import hardware
from benchmarks.models import SMOLLM2, language_model
from benchmarks.ratios import interval, quotients
from r4t.fanout.backend import Backend, Prompts, Transformers, Writer
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full
from r4t.fanout.language_model import LanguageModel, Pretrained, TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.support.files import write_text

EXAMPLES = {
    "Pancakes": [
        "flour",
        "milk",
        "eggs",
        "butter",
        "sugar",
        "salt",
        "baking-powder",
        "vanilla",
        "oil",
        "maple-syrup",
    ],
    "Tomato soup": [
        "tomatoes",
        "onion",
        "garlic",
        "olive-oil",
        "basil",
        "salt",
        "pepper",
        "cream",
        "stock",
        "sugar",
    ],
}
DISHES = "Goulash,Caesar salad,Apple pie,Fried rice,Lentil curry,Carrot cake,Ratatouille,Chili,"
DISHES += "Fish tacos,Borscht,Banana bread,Mushroom risotto"
LABELS = {"query_label": "Dish", "list_label": "Ten ingredients"}
TEMPERATURE = 0.7


class Gumbel(LogitsProcessor):
    """Noise for each token of the vocabulary, from one generator per query."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self.generators = [torch.Generator().manual_seed(seed) for seed in prompts.seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits with noise."""
        noise = torch.empty(len(self.generators), self.prompts.group_size, scores.shape[-1])
        for rows, generator in zip(noise, self.generators, strict=True):
            rows.exponential_(generator=generator)
        return scores.float() / self.prompts.temperature - noise.reshape_as(scores).log()


class ListEnds(StoppingCriteria):
    """Ends a row where its list is complete."""

    def __init__(self, model: Writer, start: int) -> None:
        self.ends, self.start = model.ends, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return which rows have ended."""
        return self.ends.completed(input_ids[:, self.start :], "")


class Generate(Backend):
    """``generate`` of transformers, as before or as TRL calls it."""

    def __init__(self, trl: bool) -> None:
        self.trl = trl

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        start = prompts.ids.shape[1]
        sampling: dict[str, Any] = {"do_sample": False, "logits_processor": [Gumbel(prompts)]}
        sampling["stopping_criteria"] = [ListEnds(model, start)]
        if self.trl:
            sampling = {"do_sample": True, "temperature": prompts.temperature, "top_k": 0}
        generate: Any = model.lm.generate
        output: Tensor = generate(
            input_ids=prompts.ids.repeat_interleave(prompts.group_size, 0),
            attention_mask=prompts.mask.repeat_interleave(prompts.group_size, 0),
            max_new_tokens=model.max_new_tokens,
            pad_token_id=model.tokenizer.pad_token_id,
            eos_token_id=model.end_ids,
            **sampling,
        )
        return output[:, start:]


SIDES: dict[str, Callable[[], Backend]] = {
    "ours": Transformers,
    "generate": lambda: Generate(False),
    "trl": lambda: Generate(True),
    "bfloat16": lambda: Transformers(dtype="bfloat16"),
}


def compare(lm: LanguageModel, examples: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Time all sides in turn on one kind of prompt."""
    lists = FewShot(**LABELS, examples=EXAMPLES if examples else {})
    model = FanoutModel(lm[0].eval(), lm[1], Full(lists, 10), options.tokens)
    queries = DISHES.split(",")[: options.queries]
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    written: dict[str, list[int]] = {name: [] for name in SIDES}
    backends = {name: make() for name, make in SIDES.items()}
    for pair in range(options.rounds + 1):
        for name in list(SIDES)[:: 1 if pair % 2 else -1]:
            model.backend = backends[name]
            begun = time.perf_counter()
            fanouts = model.sample(queries, [pair] * len(queries), options.group, TEMPERATURE)
            if pair:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
                written[name].append(int(fanouts.completion_mask.sum()))
    prompt = int(model.prompt_tokens(queries)[1].sum()) / len(queries)
    return {
        "prompt tokens": round(prompt, 1),
        "tokens written": {name: sum(n) / len(n) for name, n in written.items()},
        "seconds": {name: [round(s, 3) for s in each] for name, each in seconds.items()},
        "times as fast as": {
            f"{name}, {other}": ratio(seconds[other], seconds[name])
            for name, other in (("ours", "generate"), ("ours", "trl"), ("bfloat16", "ours"))
        },
    }


def ratio(slow: list[float], fast: list[float]) -> list[float]:
    """Return the median over pairs, and its interval."""
    values = quotients(slow, fast)
    return [round(number, 3) for number in (median(values), *interval(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=int, default=12)
    parser.add_argument("--group", type=int, default=8, help="completions of a query")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--smoke", action="store_true", help="a tiny model, two rounds")
    options = parser.parse_args()
    if options.smoke:
        options.queries, options.group, options.rounds = 3, 2, 2
    texts = [" ".join(each) for each in EXAMPLES.values()] * 20
    models = {"TinyQwen3": TinyQwen3(width=128, layers=3).build(texts, Path())}
    if not options.smoke:
        models[SMOLLM2.name] = Pretrained(str(language_model())).build([], Path())
    found: dict[str, Any] = {"hardware": hardware(), "settings": vars(options) | {"results": ""}}
    for name, lm in models.items():
        for examples in (True, False):
            kind = f"{name}, {'examples' if examples else 'short'}"
            found[kind] = compare(lm, examples, options)
            print(kind, json.dumps(found[kind]["times as fast as"]))
    options.results.mkdir(parents=True, exist_ok=True)
    write_text(options.results / "rollout_speed.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
