"""Set-valued fan-out retrieval: a broad query → a set of items, tuned by set-level objectives."""

from typing import TYPE_CHECKING

from r4t.support.lazy import lazily

if TYPE_CHECKING:
    from r4t.catalog import Catalog as Catalog
    from r4t.data.queries import Query as Query
    from r4t.filters import Filter as Filter
    from r4t.methods.method import Method as Method
    from r4t.objective import Objective as Objective
    from r4t.retriever import Retriever as Retriever
    from r4t.reward import Reward as Reward
    from r4t.run import Run as Run
    from r4t.sets import SetBatch as SetBatch

__version__ = "0.1.0"
__getattr__, __all__ = lazily(  # no torch until a name is used
    __name__,
    {
        "catalog": "Catalog",
        "data.queries": "Query",
        "filters": "Filter",
        "methods.method": "Method",
        "objective": "Objective",
        "retriever": "Retriever",
        "reward": "Reward",
        "run": "Run",
        "sets": "SetBatch",
    },
)
