"""For authors of objectives: example sets to score, and a check of the whole contract."""

from r4t.testing.contract import ContractError, check_objective
from r4t.testing.examples import example_sets

__all__ = ["ContractError", "check_objective", "example_sets"]
