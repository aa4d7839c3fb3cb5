"""A model and a learning rate → the policy that sampled, and whether a step moves its weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from r4t.errors import InputError


def without_dropout(model: nn.Module) -> None:
    """Set every dropout of a model to 0, in place.

    A model samples in evaluation mode and learns in training mode, the only one in which it
    checkpoints activations. With dropout these are two policies, and ρ = π_θ / π_old is noise.
    """
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = 0.0  # type: ignore[assignment]


def stuck(parameters: Iterable[Tensor], learning_rate: float) -> Tensor:
    """Count low-precision weights that a step of ``learning_rate`` leaves exactly where they are.

    A step of AdamW is about as long as its rate. A bfloat16 number has 8 significant bits, so that
    w + step rounds back to w for all steps below |w| · 2⁻⁹.

    Returns:
        (2,): stuck weights, and all weights in bfloat16 or float16, of this process.

    Examples:
        >>> weights = torch.tensor([1.0, 0.001, 0.0]).bfloat16()
        >>> stuck([weights, torch.ones(5)], 1e-3).tolist()  # 1 + 0.001 is 1
        [1.0, 3.0]
    """
    counts = torch.zeros(2, dtype=torch.float64)
    for parameter in parameters:
        weight = parameter.detach()
        weight = weight.to_local() if isinstance(weight, DTensor) else weight
        counts = counts.to(weight.device)
        if weight.dtype in (torch.bfloat16, torch.float16):
            same = (weight + learning_rate == weight).sum()
            counts += torch.stack([same, torch.tensor(weight.numel(), device=same.device)])
    return counts


def check_moves(counts: Tensor, parameters: Iterable[Tensor], learning_rate: float) -> None:
    """Refuse a rate if, by the ``counts`` of ``stuck`` over all processes, most weights never move.

    Raises:
        InputError: If over half of the low-precision weights are stuck.
    """
    still, low = counts.tolist()
    if still <= low / 2:
        return
    dtypes = {str(weight.dtype).removeprefix("torch.") for weight in parameters}
    names = " and ".join(sorted(dtypes & {"bfloat16", "float16"}))
    raise InputError(
        expected=f"a learning rate that moves weights trained in {names}",
        found=f"{learning_rate:g}, at which {still / low:.0%} of them round back to their values",
        remedy="Use LoRA, whose weights are float32, or float32 weights with precision bf16-mixed, "
        "or raise the rate.",
    )
