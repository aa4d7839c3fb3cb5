"""Sizes → the same GRPO training twice: by ``FanoutTuner`` and by TRL's ``GRPOTrainer``."""

import argparse
import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.alternating import Record, Side
from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.fanout.formats import Full, Lines
from r4t.fanout.language_model import TinyQwen3
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch
from r4t.training.query_data import QueryData
from r4t.training.soft_grpo import SoftGRPO

PARTS = ("generate", "encode", "search", "score", "update")
SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvz" for vowel in "aeiou"]
SET_SIZE = 10
LEARNING_RATE, TEMPERATURE, CLIP = 1e-5, 0.9, 0.2
LIKELIER = 0.85  # makes one of seven tokens a line break: about e^6.5 times as likely as others
NEVER = -8.0  # makes an ending about e^60 times less likely than other tokens


class Endless(Lines):
    """Lists of lines that are never complete, so that every completion has the same length."""

    def complete(self, completion: str, set_size: int) -> bool:
        """Return False."""
        return False


FORM = Full(Endless(), SET_SIZE)


def share_of_e(lines: Sequence[str]) -> float:
    """Share of e among the letters of a list: varies within a group and costs nothing."""
    letters = "".join(lines)
    return letters.count("e") / max(len(letters), 1)


class Letters(Objective):
    """``share_of_e`` of the sub-queries."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,)."""
        assert sets.texts is not None
        return torch.tensor([share_of_e(lines) for lines in sets.texts])


def reward_of(completion: str) -> float:
    """What ``Letters`` gives our side for the same completion: TRL's reward."""
    return share_of_e(FORM.list_format.read(completion)[:SET_SIZE])


@dataclass(frozen=True)
class Copies:
    """A ``LanguageModelSource`` that copies one model and its tokenizer."""

    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def build(self, texts: Sequence[str], root: Path) -> Any:
        """Return a copy of both."""
        return copy.deepcopy(self.lm), copy.deepcopy(self.tokenizer)

    def saved_form(self, root: Path) -> None:
        """Return None, because the model was not saved with one."""


class InOrder(QueryData):
    """Training queries in the order of their file, like TRL's prompts."""

    train_dataloader = QueryData.predict_dataloader


def write_run(folder: Path, queries: int, items: int) -> Run:
    """Write a run with a catalog of invented words; each query is the first words of an item."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES, k=3)) for _ in range(5000)]
    texts = [" ".join(rng.choices(words, k=6)) for _ in range(items)]
    encoder = LsaEncoder.fit(texts, dim=min(128, items))
    ids = [f"i{row}" for row in range(items)]
    write_catalog(folder / "catalog", Items(ids, texts), encoder.encode(texts), encoder)
    starts = [" ".join(rng.choice(texts).split()[: rng.randint(2, 4)]) for _ in range(queries)]
    train = [Query(f"q{row}", text, "set") for row, text in enumerate(starts)]
    write_queries(folder / "queries", {"train": train, "val": train[:1], "test": train[:1]})
    return Run.begin(folder)


def build_model(run: Run, arguments: argparse.Namespace) -> Copies:
    """Build an untrained model that never ends and often breaks its line.

    The first coordinate of all embeddings is equal. The embeddings are also the output layer, so a
    change of that coordinate acts as a bias on the token's logit.
    """
    source = TinyQwen3(arguments.width, arguments.layers, arguments.vocabulary, word_length=0)
    lm, tokenizer = source.build(run.searcher().catalog.texts, run.folder)
    table = lm.get_input_embeddings().get_parameter("weight")
    with torch.no_grad():
        table[:, 0] = 1.0
        table[tokenizer.convert_tokens_to_ids("\n"), 0] += LIKELIER
        table[[tokenizer.eos_token_id, tokenizer.pad_token_id], 0] += NEVER
    return Copies(lm, tokenizer)


def ours(run: Run, model: Copies, updates: int, arguments: argparse.Namespace) -> Side:
    """Make our side: ``FanoutTuner`` in a Lightning trainer."""
    record = Record()
    rows = arguments.queries * arguments.group_size
    grpo = SoftGRPO(
        clip=CLIP,
        kl_new_old=0.0,
        kl_old_new=0.0,
        group_size=arguments.group_size,
        updates=updates,
        micro_batch=rows // arguments.passes,
    )
    tuner = FanoutTuner(
        str(run.folder),
        Reward({"letters": 1.0}, {"letters": Letters()}),
        lm=model,
        form=FORM,
        grpo=grpo,
        sampling=Sampling(TEMPERATURE, arguments.tokens),
        optimizer=adamw(LEARNING_RATE),
    )

    class Rest(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            logged = trainer.callback_metrics
            record.tokens.append(round(rows * logged["train/tokens/mean"].item()))
            for part in PARTS:
                record.seconds[part].append(logged[f"train/{part}/seconds"].item())
            side.rest()

    trainer = Trainer(
        accelerator="cpu",
        max_steps=arguments.rollouts * updates,
        callbacks=[Rest()],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(run.folder),
    )
    data = InOrder(str(run.folder), arguments.queries)
    side = Side(lambda: trainer.fit(tuner, data), record)
    return side


def trl(run: Run, model: Copies, updates: int, arguments: argparse.Namespace) -> Side:
    """Make TRL's side: ``GRPOTrainer``, for which each optimizer step is a step."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    record = Record()

    def letters(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        record.tokens.append(sum(map(len, completion_ids)))
        return [reward_of(text) for text in completions]

    class Rest(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step % updates == 0:
                side.rest()

    rows = arguments.queries * arguments.group_size
    config = GRPOConfig(
        output_dir=str(run.folder / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        num_generations=arguments.group_size,
        per_device_train_batch_size=rows // arguments.passes,
        gradient_accumulation_steps=arguments.passes,
        steps_per_generation=arguments.passes,
        num_iterations=updates,
        max_steps=arguments.rollouts * updates,
        max_completion_length=arguments.tokens,
        temperature=TEMPERATURE,
        top_k=0,
        beta=0.0,
        epsilon=CLIP,
        loss_type="dapo",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        adam_beta2=0.95,
        weight_decay=0.01,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    lm, tokenizer = model.build([], run.folder)
    prompts = [FORM.prompt(query.text) for query in run.read_queries("train")]
    data = Dataset.from_dict({"prompt": prompts})
    trainer = GRPOTrainer(lm, letters, config, data, processing_class=tokenizer, callbacks=[Rest()])
    trainer.remove_callback(PrinterCallback)
    side = Side(trainer.train, record)
    return side
