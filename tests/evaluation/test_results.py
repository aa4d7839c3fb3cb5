import math

import pytest
import torch

from r4t.errors import InputError
from r4t.evaluation.results import Results, compare


def results(first, second):
    values = {"ours": {"items/recall": first}, "theirs": {"items/recall": second}}
    return Results({}, [str(n) for n in range(len(first))], values, {})


def test_mean_passes_over_what_does_not_apply():
    found = results([0.5, None, 0.75], [None, None, None])
    assert found.mean("ours", "items/recall") == 0.625
    assert found.mean("theirs", "items/recall") is None


def test_constant_difference_has_no_width():
    found = compare(results([0.5, 0.25], [0.25, 0.0]), "ours", "theirs", "items/recall")
    assert (found.mean, found.low, found.high, found.queries) == (0.25, 0.25, 0.25, 2)


def test_interval_of_many_queries_is_that_of_the_normal_law():
    noise = torch.randn(900, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = (noise + 0.1).tolist()
    found = compare(results(first, [0.0] * 900), "ours", "theirs", "items/recall", samples=5000)
    half = 1.96 * noise.std().item() / math.sqrt(900)
    assert found.mean == pytest.approx(noise.mean().item() + 0.1)
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_comparison_is_paired_seeded_and_antisymmetric():
    held = results([0.1, 0.9, None, 0.5], [0.0, 0.4, 0.3, None])
    one = compare(held, "ours", "theirs", "items/recall", seed=1)
    assert one.queries == 2
    assert one.mean == pytest.approx((0.1 + 0.5) / 2)
    # Two queries: every draw is a mean of two of 0.1 and 0.5.
    assert (one.low, one.high) == pytest.approx((0.1, 0.5))
    assert one == compare(held, "ours", "theirs", "items/recall", seed=1)
    back = compare(held, "theirs", "ours", "items/recall", seed=1)
    assert (back.mean, back.low, back.high) == pytest.approx((-one.mean, -one.high, -one.low))


def test_unknown_names():
    held = results([0.5], [None])
    with pytest.raises(InputError, match=r"found 'our' — name one of them. Did you mean 'ours'\?"):
        compare(held, "our", "theirs", "items/recall")
    with pytest.raises(InputError, match=r"\['items/recall'\] — found 'items/recal'"):
        held.mean("ours", "items/recal")
    with pytest.raises(InputError, match=r"values of both methods — found none for 'items/recall'"):
        compare(held, "ours", "theirs", "items/recall")


def test_saved_and_loaded(tmp_path):
    held = Results({"k": 2}, ["q"], {"m": {"items/x": [None]}}, {"m": {"1": {"total": 0.5}}})
    held.save(tmp_path)
    assert Results.load(tmp_path) == held


def test_files_that_hold_no_results(tmp_path):
    with pytest.raises(InputError, match=r"results.json — found none in .* — run `r4t evaluate`"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match=r"found something else in .* — run `r4t evaluate` again"):
        Results.load(tmp_path)
