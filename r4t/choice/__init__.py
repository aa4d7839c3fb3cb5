"""Several generated sets → the directions with which a query is answered."""

from r4t.choice.choice import KNOWN, Choice
from r4t.choice.consensus import Consensus
from r4t.choice.likely import Likely
from r4t.choice.memory import SetMemory
from r4t.choice.query_time import Generate, QueryTime
from r4t.choice.scored import BestRows, BestSet, at_members, best_members

__all__ = [
    "KNOWN",
    "BestRows",
    "BestSet",
    "Choice",
    "Consensus",
    "Generate",
    "Likely",
    "QueryTime",
    "SetMemory",
    "at_members",
    "best_members",
]
