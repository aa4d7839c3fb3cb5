"""A run → whether its tuned model is the one whose sets the generated ones learned from."""

from collections.abc import Container

from r4t.errors import InputError
from r4t.run import Run
from r4t.support.fingerprints import folder_fingerprint
from r4t.targets import read_manifest

LEARNERS = ("R4T-Diffusion", "R4T-Student")


def tuned_since(run: Run, methods: Container[str]) -> list[str]:
    """Say where R4T-FOLM stands beside methods that imitate another state of it.

    Args:
        run: With its target sets in ``targets``, if anywhere.
        methods: Names of those compared.

    Returns:
        One sentence, or none: where the models follow from each other, or nothing tells.
    """
    learners = [name for name in LEARNERS if name in methods]
    if "R4T-FOLM" not in methods or not learners:
        return []
    folder = run.step("targets")
    try:
        written = read_manifest(folder)
    except InputError:  # sets of elsewhere, or none kept: nothing to tell by
        return []
    model = run.folder / written.model
    if not written.model_fingerprint or not model.is_dir():
        return []
    if folder_fingerprint(model) == written.model_fingerprint:
        return []
    return [
        f"R4T-FOLM is another than the model that wrote {folder}, from which "
        f"{' and '.join(learners)} learned: {model} was trained again since. Synthesize and distill "
        "again to compare them as teacher and learner."
    ]
