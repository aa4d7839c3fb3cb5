"""A class name and arguments, as a saved model holds them → the object."""

from collections.abc import Iterator, Mapping
from typing import Any

from r4t.errors import InputError, nearest


def build(base: type, config: Mapping[str, Any]) -> Any:
    """Build an object of the subclass of ``base`` that ``config`` names.

    Args:
        base: Its subclasses are known by their class names.
        config: ``name``, and the arguments of that class.

    Raises:
        InputError: If no subclass has that name.

    Examples:
        >>> from r4t.diffusion.sampler import Sampler
        >>> build(Sampler, {"name": "Heun", "steps": 4})
        Heun(steps=4)
    """
    arguments = dict(config)
    name = arguments.pop("name")
    classes = {each.__name__: each for each in _subclasses(base)}
    if name not in classes:
        raise InputError(
            expected=f"the name of a {base.__name__} in a saved model",
            found=f"{name!r}",
            remedy=f"Known names: {', '.join(sorted(classes))}.{nearest(name, classes)}",
        )
    return classes[name](**arguments)


def _subclasses(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)
