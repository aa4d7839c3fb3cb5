"""Keys → values, computed once for a whole batch of keys and remembered."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from r4t.errors import check_least

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """The values of at most ``capacity`` keys; the least recently used is dropped first.

    Raises:
        InputError: If ``capacity`` is below 1.

    Examples:
        >>> lengths = Cache[str, int](capacity=2)
        >>> lengths.get(["a", "bb", "a"], lambda keys: [len(key) for key in keys])
        [1, 2, 1]
        >>> len(lengths), lengths.take()
        (2, (3, 2))
    """

    def __init__(self, capacity: int) -> None:
        check_least({"capacity": (capacity, 1)})
        self.capacity = capacity
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._counts = 0, 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, keys: Sequence[Key], make: Callable[[list[Key]], Sequence[Value]]) -> list[Value]:
        """Return the value of each key; there may be repeats, and more keys than the capacity.

        Args:
            keys: Any number.
            make: Distinct keys without a value → their values; called at most once.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self._values]
        if missing:
            self._values |= zip(missing, make(missing), strict=True)
        values = {key: self._values[key] for key in keys}
        for key in values:
            self._values.move_to_end(key)
        while len(self._values) > self.capacity:
            self._values.popitem(last=False)
        self._counts = self._counts[0] + len(keys), self._counts[1] + len(missing)
        return [values[key] for key in keys]

    def forget(self, key: Key) -> None:
        """Drop the value of a key, if there is one."""
        self._values.pop(key, None)

    def take(self) -> tuple[int, int]:
        """Return how many values were requested and how many computed since the last call."""
        counts, self._counts = self._counts, (0, 0)
        return counts
