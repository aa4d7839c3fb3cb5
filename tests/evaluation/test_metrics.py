import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from r4t.catalog import write_catalog
from r4t.data.source import Items
from r4t.errors import InputError
from r4t.evaluation.measures import vendi_across_runs
from r4t.evaluation.metrics import measure_metrics
from r4t.geometry import normalize
from r4t.metrics import ObjectiveMetric
from r4t.sets import SetBatch

ITEMS, WIDTH, MEMBERS = 40, 5, 4


@pytest.fixture
def batches(tmp_path):
    """Five batches of unequal size; some queries have no reference, some sets miss a member."""
    generator = torch.Generator().manual_seed(0)
    embeddings = normalize(torch.randn(ITEMS, WIDTH, generator=generator))
    kinds = [("hat", "shoes", "bag", None)[row % 4] for row in range(ITEMS)]
    items = Items([f"i{row}" for row in range(ITEMS)], ["x"] * ITEMS, {"category": kinds})
    catalog = write_catalog(tmp_path / "catalog", items, embeddings, None)
    catalog.codes("category")  # read before processes fork

    def sets(size):
        ranked = torch.stack([torch.randperm(ITEMS, generator=generator) for _ in range(size)])
        rows = ranked[:, :MEMBERS].clone()
        rows[::3, -1] = -1
        references = ranked[:, 2:8].clone()
        references[::4] = -1
        vectors = torch.where(rows.unsqueeze(-1) >= 0, embeddings[rows.clamp(min=0)], 0.0)
        directions = normalize(torch.randn(size, MEMBERS, WIDTH, generator=generator))
        return SetBatch(
            normalize(torch.randn(size, WIDTH, generator=generator)), rows, vectors, rows >= 0,
            directions=directions, pool=ranked[:, :6], references=references, catalog=catalog,
        )  # fmt: skip

    return [[sets(size) for _ in range(3)] for size in (3, 1, 7, 2, 4)]


def measured(batches):
    """Every measure as metrics that saw these batches: three runs each."""
    metrics = measure_metrics("val/", references=True, subtopic_field="category")
    across = ObjectiveMetric(vendi_across_runs)
    for runs in batches:
        metrics.update(runs[0])
        across.update(runs)
    return {**metrics.compute(), "across": across.compute()}


def rank(number, batches, folder):
    """One of two processes: the first sees three batches, the other two."""
    address = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=address, rank=number, world_size=2)
    torch.save(measured(batches[number::2]), folder / f"rank-{number}.pt")
    dist.destroy_process_group()


def test_two_processes_measure_what_one_measures(batches, tmp_path):
    alone = measured(batches)
    assert set(alone) == {
        "across",
        *(f"val/{name}/mean" for name in ("vendi", "cosine", "recall", "set_recall", "hit")),
        *(f"val/{name}/mean" for name in ("alpha_ndcg", "subtopic_recall")),
    }
    mp.start_processes(rank, (batches, tmp_path), nprocs=2, start_method="fork")
    for number in range(2):
        shared = torch.load(tmp_path / f"rank-{number}.pt")
        assert {k: v.item() for k, v in shared.items()} == pytest.approx(
            {k: v.item() for k, v in alone.items()}, abs=1e-7
        )


def test_a_metric_is_the_mean_over_queries(batches):
    from r4t.evaluation import measures

    alone = measured(batches)
    seen = [measures.pool_recall(runs[0]) for runs in batches]
    assert alone["val/recall/mean"].item() == pytest.approx(torch.cat(seen).nanmean().item())
    cosines = torch.cat([measures.mean_cosine(runs[0]) for runs in batches])
    assert alone["val/cosine/mean"].item() == pytest.approx(cosines.mean().item())
    across = torch.cat([measures.vendi_across_runs(runs) for runs in batches])
    assert alone["across"].item() == pytest.approx(across.mean().item())


def test_across_run_vendi_by_hand():
    def looking(way):
        directions = torch.tensor([[way]], dtype=torch.float)
        mask = torch.ones(1, 1, dtype=torch.bool)
        return SetBatch(
            directions[:, 0], torch.zeros(1, 1).long(), directions, mask, directions=directions
        )

    metric = ObjectiveMetric(vendi_across_runs)
    metric.update([looking((1, 0)), looking((0, 1))])  # 2 of 2
    metric.update([looking((1, 0)), looking((1, 0))])  # 1 of 2
    assert metric.compute().item() == pytest.approx(0.75)
    metric.update(torch.tensor([math.nan, 0.0]))
    assert metric.compute().item() == pytest.approx(0.5)
    assert metric.unscored == 1


def test_only_what_the_sets_can_answer_is_asked_for():
    assert set(measure_metrics()) == {"vendi/mean", "cosine/mean"}


def test_subtopics_need_references_and_a_catalog(batches):
    metrics = measure_metrics(subtopic_field="category")
    with pytest.raises(
        InputError, match=r"sets with \['catalog', 'references'\] for alpha nDCG, but found sets"
    ):
        metrics.update(batches[0][0].extended(references=None))
