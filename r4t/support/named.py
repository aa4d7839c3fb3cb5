"""An object ↔ its class name and arguments, as a saved model holds them."""

from collections.abc import Iterator, Mapping
from inspect import isabstract
from typing import Any

from r4t.errors import InputError, nearest


def describe(part: Any) -> dict[str, Any]:
    """Return the class name and arguments of a dataclass, or of an object with a ``config``."""
    arguments = part.config if hasattr(part, "config") else vars(part)
    plain = {key: describe(x) if hasattr(x, "config") else x for key, x in arguments.items()}
    return {"name": type(part).__name__, **plain}


def build(base: type, description: Mapping[str, Any]) -> Any:
    """Build the subclass of ``base`` that ``describe`` described.

    Raises:
        InputError: If no subclass has that name.

    Examples:
        >>> from r4t.diffusion.sampler import Heun, Sampler
        >>> describe(Heun(steps=4))
        {'name': 'Heun', 'steps': 4}
        >>> build(Sampler, describe(Heun(steps=4)))
        Heun(steps=4)
    """
    arguments = {k: build(base, x) if isinstance(x, dict) else x for k, x in description.items()}
    name = arguments.pop("name")
    classes = {each.__name__: each for each in _subclasses(base) if not isabstract(each)}
    if name not in classes:
        raise InputError(
            expected=f"the name of a {base.__name__} in a saved model",
            found=f"{name!r}",
            remedy=f"Known names: {', '.join(sorted(classes))}.{nearest(name, classes)}",
        )
    return classes[name](**arguments)


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)
