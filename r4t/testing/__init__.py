"""For those who write objectives: sets to score, and a check of everything the contract asks for."""

from r4t.testing.contract import ContractError, check_objective
from r4t.testing.examples import example_sets

__all__ = ["ContractError", "check_objective", "example_sets"]
