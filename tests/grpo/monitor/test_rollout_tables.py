import json
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.grpo.monitor.rollout_tables import (
    SampleTable,
    extremes,
    markdown,
    sample_rows,
)
from r4t.grpo.rollout import Rollout

NAN = float("nan")


def rollout():
    """Two queries of two fan-outs; the last could be neither parsed nor scored."""
    fanouts = SimpleNamespace(
        texts=["wool\n", "straw\nsilk\n", "a|b", ""],
        subqueries=[["red hat wool"], ["red hat straw", "red hat silk"], ["blue coat a|b"], []],
    )
    return Rollout(
        queries=[Query("q1", "red hat", "set"), Query("q2", "blue coat", "set")],
        fanouts=fanouts,
        items=torch.zeros(4, 2),
        truncated=torch.zeros(4),
        rewards=torch.tensor([0.25, 0.75, 0.5, NAN]),
        components={"diversity": torch.tensor([1.0, 0.5, 0.0, NAN])},
        advantages=torch.tensor([-1.0, 1.0, 0.0, 0.0]),
        token_advantages=torch.zeros(4, 1),
        mask=torch.ones(4, 1),
    )


def table(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_row_is_a_completion_with_its_scores():
    rows = sample_rows(rollout(), number=3, step=6)
    assert rows[1] == {
        "rollout": 3,
        "step": 6,
        "query_id": "q1",
        "query": "red hat",
        "fanout": 1,
        "completion": "straw\nsilk\n",
        "subqueries": ["red hat straw", "red hat silk"],
        "reward": 0.75,
        "score/diversity": 0.5,
        "advantage": 1.0,
    }
    assert [(row["query_id"], row["fanout"]) for row in rows] == [
        ("q1", 0),
        ("q1", 1),
        ("q2", 0),
        ("q2", 1),
    ]
    assert rows[3]["reward"] is None
    assert rows[3]["score/diversity"] is None
    assert rows[3]["subqueries"] == []


def test_the_best_and_the_worst():
    rows = [{"reward": value} for value in (0.1, 0.9, None, 0.5, 0.3, 0.7)]
    assert [row["reward"] for row in extremes(rows, 2)] == [0.9, 0.7, 0.3, 0.1]
    assert [row["reward"] for row in extremes(rows, 3)] == [0.9, 0.7, 0.5, 0.3, 0.1]
    assert extremes(rows, 0) == []


def test_markdown_escapes_its_cells():
    rows = sample_rows(rollout(), number=1, step=2)
    lines = markdown([rows[1], rows[2]]).splitlines()
    assert lines == [
        "| reward | query | subqueries | completion |",
        "| --- | --- | --- | --- |",
        "| 0.7500 | red hat | red hat straw; red hat silk | straw ⏎ silk ⏎  |",
        "| 0.5000 | blue coat | blue coat a\\|b | a\\|b |",
    ]


def test_tables_are_what_the_model_wrote(tiny):
    ends = tiny.Ends()
    tiny.fit(ends, SampleTable(every=2), rollouts=5)
    folder = tiny.run.step("tune") / "samples" / "version_0"
    numbers = [1, 2, 4]
    names = [f"rollout-{number:06d}.jsonl" for number in numbers]
    assert sorted(path.name for path in folder.iterdir()) == names
    for number, name in zip(numbers, names):
        rows, rollout = table(folder / name), ends.rollouts[number - 1]
        assert rows == sample_rows(rollout, number, 2 * number)
        assert len(rows) == 8
        assert [row["completion"] for row in rows] == rollout.fanouts.texts
        assert [row["reward"] for row in rows] == rollout.rewards.tolist()
        assert [row["score/diversity"] for row in rows] == rollout.components["diversity"].tolist()


def test_each_fit_has_its_own_folder_and_a_resumed_one_continues_to_count(tiny, tmp_path):
    callback = SampleTable(every=3)
    tiny.fit(callback, rollouts=3)
    tiny.last.save_checkpoint(tmp_path / "third.ckpt")
    tiny.fit(SampleTable(every=3), rollouts=6, ckpt_path=tmp_path / "third.ckpt")
    tiny.fit(callback, rollouts=1)  # the same object counts anew
    samples = tiny.run.step("tune") / "samples"
    paths = {str(path.relative_to(samples)) for path in samples.rglob("*.jsonl")}
    assert paths == {
        "version_0/rollout-000001.jsonl",
        "version_0/rollout-000003.jsonl",
        "version_1/rollout-000006.jsonl",
        "version_2/rollout-000001.jsonl",
    }


def test_the_folder_has_the_number_of_the_log(tiny, tmp_path):
    logger = CSVLogger(str(tmp_path), name="logs", version=7)
    for _ in range(2):
        tiny.fit(SampleTable(folder=str(tmp_path / "samples")), rollouts=1, logger=logger)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "version_7",
        "version_8",
    ]


def test_only_rank_zero_writes(tmp_path):
    module = SimpleNamespace(rollout=rollout())
    callback = SampleTable(every=1, folder=str(tmp_path / "samples"))
    callback.on_train_batch_end(SimpleNamespace(is_global_zero=False), module)
    assert list(tmp_path.iterdir()) == []
    trainer = SimpleNamespace(is_global_zero=True, global_step=2, logger=None, loggers=[])
    callback.on_train_batch_end(trainer, module)
    path = tmp_path / "samples" / "version_0" / "rollout-000002.jsonl"
    assert len(table(path)) == 4


class Board(Logger):
    """Stands in for the logger of TensorBoard or Weights & Biases."""

    name, version = "board", "run-3f"

    def __init__(self, **methods):
        self.experiment = SimpleNamespace()
        for name, method in methods.items():
            setattr(self if name == "log_table" else self.experiment, name, method)

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *_, **__):
        pass


def test_loggers_of_text_and_of_tables_get_the_best_and_the_worst(tiny):
    texts, tables, ends = [], [], tiny.Ends()
    loggers = [
        Board(add_text=lambda *content: texts.append(content)),
        Board(log_table=lambda **content: tables.append(content)),
        Board(),
    ]
    tiny.fit(ends, SampleTable(every=10, shown=2), rollouts=1, logger=loggers)
    rows = extremes(sample_rows(ends.rollouts[0], 1, 2), 2)
    assert len(rows) == 4
    assert texts == [("train/samples", markdown(rows), 2)]
    (shown,) = tables
    assert (shown["key"], shown["step"]) == ("train/samples", 2)
    at = shown["columns"].index
    assert [row[at("reward")] for row in shown["data"]] == [row["reward"] for row in rows]
    assert shown["data"][0][at("subqueries")] == "; ".join(rows[0]["subqueries"])


def test_tensorboard_takes_the_text(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny.fit(SampleTable(), rollouts=1, logger=TensorBoardLogger(str(tmp_path), version=0))
    events = EventAccumulator(str(tmp_path / "lightning_logs" / "version_0")).Reload()
    (event,) = events.Tensors("train/samples/text_summary")
    assert event.step == 2
    text = event.tensor_proto.string_val[0].decode()
    assert text.startswith("| reward | query | subqueries | completion |")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"every": 0}, "every to be at least 1, but found 0"),
        ({"shown": -1}, "shown to be at least 0, but found -1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        SampleTable(**arguments)
