"""Query and draw → a seed, so that samples do not depend on the batch, rank or process."""

import zlib


def query_seed(query_id: str, draw: int) -> int:
    """Return the seed of draw number ``draw`` for a query, in [0, 2³²).

    Examples:
        >>> query_seed("q1", 0) == query_seed("q1", 0), query_seed("q1", 0) == query_seed("q1", 1)
        (True, False)
    """
    return zlib.crc32(f"{draw}/{query_id}".encode())
