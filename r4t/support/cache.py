"""Keys → values that are made once and kept while there is room."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from r4t.errors import check_least

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Keeps the values of the keys used last, at most ``capacity`` of them.

    Args:
        capacity: Values kept, at least 1; the one unused for longest goes first.

    Attributes:
        asked: Values asked for since ``take``.
        made: Values made since ``take``; the others were there already.

    Raises:
        InputError: ``capacity`` is below 1.

    Examples:
        >>> lengths = Cache[str, int](capacity=2)
        >>> lengths.get(["a", "bb", "a"], lambda keys: [len(key) for key in keys])
        [1, 2, 1]
        >>> lengths.asked, lengths.made, len(lengths)
        (3, 2, 2)
    """

    def __init__(self, capacity: int) -> None:
        check_least({"capacity": (capacity, 1)})
        self.capacity = capacity
        self.asked = 0
        self.made = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._values)

    def get(self, keys: Sequence[Key], make: Callable[[list[Key]], Sequence[Value]]) -> list[Value]:
        """Return the value of each key.

        Args:
            keys: Any number, with repeats.
            make: Called once, with the distinct keys whose values are missing, if there are any;
                returns their values in the same order.
        """
        distinct = dict.fromkeys(keys)
        missing = [key for key in distinct if key not in self._values]
        # More keys than there is room for are answered all the same.
        found = {key: self._values[key] for key in distinct if key in self._values}
        if missing:
            found.update(zip(missing, make(missing), strict=True))
        for key in distinct:
            self._values[key] = found[key]
            self._values.move_to_end(key)
        while len(self._values) > self.capacity:
            self._values.popitem(last=False)
        self.asked += len(keys)
        self.made += len(missing)
        return [found[key] for key in keys]

    def forget(self, key: Key) -> None:
        """Drop the value of a key, if there is one."""
        self._values.pop(key, None)

    def take(self) -> tuple[int, int]:
        """Return how many values were asked for and made, and count anew."""
        found = self.asked, self.made
        self.asked = self.made = 0
        return found
