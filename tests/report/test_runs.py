import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.results import Results
from r4t.report.runs import Grid, load_runs, shared_settings

SETTINGS = {
    "set_size": 10, "pool_size": 150, "split": "test", "weights": {"diversity": 1.0},
    "encoder": "LSA, 8 dimensions, 90 words", "catalog": "a" * 64,
}  # fmt: skip
RECALL = "items/recall"


def run(values, ids=("p", "q"), texts=(), **settings):
    by_method = {"Ours": {RECALL: list(values)}}
    return Results({**SETTINGS, **settings}, list(ids), by_method, texts=list(texts))


@pytest.fixture
def seeds():
    return {f"s{seed}": run([0.0, 0.5]) for seed in range(3)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("set_size", 5),
        ("pool_size", 100),
        ("split", "val"),
        ("weights", {"diversity": 0.5}),
        ("encoder", "LSA, 8 dimensions, 91 words"),
        ("across_runs", 2),
        ("best_of", 3),
        ("temperature", 1.0),
        ("subtopic_field", "brand"),
        ("objectives", {"judge": "Judge(model='b')"}),
        ("index", "faiss"),
        ("a setting of tomorrow", 1),
    ],
)
def test_runs_must_agree_in_their_settings(seeds, key, value):
    for name, results in seeds.items():
        results.settings[key] = value if name == "s2" else SETTINGS.get(key, "other")
    with pytest.raises(
        InputError,
        match=f"runs that agree in {key}, but found .* in s0 and .* in s2. Report them separately.",
    ):
        shared_settings(seeds)


def test_different_catalogs_must_be_allowed(seeds):
    seeds["s2"].settings.update(catalog="b" * 64, encoder="LSA, 8 dimensions, 91 words")
    with pytest.raises(InputError, match="agree in encoder"):
        shared_settings(seeds)
    seeds["s2"].settings["encoder"] = SETTINGS["encoder"]
    with pytest.raises(
        InputError, match=r"agree in catalog, but found 'a{12}' .*, or add --across-catalogs\.$"
    ):
        shared_settings(seeds)
    # A fitted encoder has its catalog's vocabulary; only its name and width must agree.
    seeds["s2"].settings["encoder"] = "LSA, 8 dimensions, 91 words"
    assert shared_settings(seeds, True)["encoder"] == "LSA, 8 dimensions"
    seeds["s2"].settings["encoder"] = "LSA, 16 dimensions, 91 words"
    with pytest.raises(InputError, match="found 'LSA, 8 dimensions' in s0 and 'LSA, 16 dim"):
        shared_settings(seeds, True)


def test_settings_in_which_runs_may_differ(seeds):
    for number, results in enumerate(seeds.values()):
        results.settings.update({
            "run": f"runs/{number}", "queries_limit": number, "left_out": {"x": str(number)},
            "absent": {"y": str(number)}, "facts": {"judge": {"tokens": number}},
            "curves": {"MMR": [[f"λ {number}", 0.5]]}, "catalog_items": 60 + number,
            "unknown_queries": number, "latency_batches": [number], "subqueries": f"{number}.jsonl",
        })  # fmt: skip
    agreed = shared_settings(seeds)
    assert agreed == {**SETTINGS, "catalog": "a" * 12}


def test_settings_that_older_results_lack_are_not_compared(seeds):
    seeds["s1"].settings["across_runs"] = 5
    assert shared_settings(seeds)["across_runs"] == 5
    seeds["s2"].settings["across_runs"] = 2
    with pytest.raises(InputError, match="agree in across_runs, but found 5 in s1 and 2 in s2"):
        shared_settings(seeds)


def test_a_grid_by_hand():
    grid = Grid([run([0.0, None]), run([0.5, 1.0, 2.0], ids=["q", "p", "r"])])
    assert [query for _, query, _ in grid.units] == ["p", "q", "r"]
    assert grid.asked.tolist() == [[True, True], [True, True], [False, True]]
    values = grid.values("Ours", RECALL)
    nan = torch.nan
    expected = torch.tensor([[0, 1], [nan, 0.5], [nan, 2]], dtype=torch.float64)
    assert torch.equal(values.nan_to_num(-1), expected.nan_to_num(-1))
    assert grid.values("Theirs", RECALL).isnan().all()


def test_a_run_without_a_catalog_setting_shares_that_of_the_others():
    old, new = run([0, 0]), run([1, 1])
    del old.settings["catalog"]
    assert len(Grid([old, new]).units) == 2
    assert len(Grid([old, new, run([1, 1], catalog="b" * 64)]).units) == 6


def test_runs_are_read_once(seeds, tmp_path):
    seeds["s0"].save(tmp_path / "run" / "results")
    seeds["s1"].save(tmp_path / "other")
    folders = [str(tmp_path / "run"), str(tmp_path / "other")]
    runs = load_runs(folders)
    assert list(runs) == folders
    assert runs[folders[1]].values == seeds["s1"].values
    with pytest.raises(
        InputError, match=r"each run once, but found .*run/results again after .*run\. "
    ):
        load_runs([*folders, str(tmp_path / "run" / "results")])
    with pytest.raises(
        InputError, match=r"found no readable file in .*\. Run `r4t evaluate` first"
    ):
        load_runs([str(tmp_path)])
