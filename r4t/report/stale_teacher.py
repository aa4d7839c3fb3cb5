"""A run → a warning if the tuned model was retrained after the distilled ones learned from it."""

from collections.abc import Container

from r4t.errors import InputError
from r4t.run import MODELS, Run
from r4t.support.fingerprints import folder_fingerprint
from r4t.targets import read_manifest

LEARNERS = ("R4T-Diffusion", "R4T-Student")


def tuned_since(run: Run, methods: Container[str]) -> list[str]:
    """Return one sentence if R4T-FOLM is compared with models that imitate an older version of it.

    Return none if the models match, or if no record says which model wrote the run's targets.
    """
    learners = [name for name in LEARNERS if name in methods]
    if "R4T-FOLM" not in methods or not learners:
        return []
    folder = run.step("targets")
    try:
        manifest = read_manifest(folder)
    except InputError:  # no target sets, or those of another program
        return []
    model = run.folder / MODELS["folm"]
    teacher = manifest.model_fingerprint if manifest.model == MODELS["folm"] else ""
    if not teacher or not model.is_dir() or folder_fingerprint(model) == teacher:
        return []
    return [
        f"R4T-FOLM ({model}) has been retrained since it wrote {folder}, so "
        f"{' and '.join(learners)} learned from an older version. Synthesize and distill again to "
        "compare them as teacher and learner."
    ]
