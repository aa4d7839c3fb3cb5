import torch

from r4t.report.stale_teacher import tuned_since
from r4t.support.fingerprints import folder_fingerprint
from r4t.targets import TargetBatch, write_targets

ALL = ["Zero-shot", "R4T-FOLM", "R4T-Diffusion", "R4T-Student"]


def write(run, fingerprint):
    one = TargetBatch(
        condition=torch.ones(1, 2),
        rows=torch.ones(1, 3, 2),
        items=torch.zeros(1, 3, dtype=torch.long),
        scores={},
        query_ids=["a"],
        queries=["red linen"],
        texts=[["shirt", "coat", "hat"]],
    )
    origin = {"encoder": "none", "model": "tune/model", "model_fingerprint": fingerprint}
    origin |= {"fingerprint": run.fingerprint, "dim": 2, "set_size": 3}
    write_targets(run.step("targets"), [one], overwrite=True, **origin)


def test_a_model_tuned_again_after_synthesis_gives_a_warning(small_run):
    model = small_run.step("tune") / "model"
    model.mkdir(parents=True)
    (model / "weights").write_text("first")
    assert tuned_since(small_run, ALL) == []  # no target sets yet
    write(small_run, folder_fingerprint(model))
    assert tuned_since(small_run, ALL) == []
    (model / "weights").write_text("second")
    (warning,) = tuned_since(small_run, ALL)
    assert warning == (
        f"R4T-FOLM ({model}) has been retrained since it wrote {small_run.step('targets')}, so "
        "R4T-Diffusion and R4T-Student learned from an older version. Synthesize and distill again "
        "to compare them as teacher and learner."
    )
    (warning,) = tuned_since(small_run, ["R4T-FOLM", "R4T-Student"])
    assert "so R4T-Student learned from an older version" in warning
    assert tuned_since(small_run, ALL[:2]) == tuned_since(small_run, ALL[2:]) == []
    write(small_run, "")  # target sets that do not record their model
    assert tuned_since(small_run, ALL) == []
