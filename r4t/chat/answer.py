"""What an endpoint sent back: an answer or a failure, and the usage that adds up."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What the model wrote."""

    text: str  # empty if the model refused to write
    model: str  # the endpoint's own name for the model, often with a date
    prompt_tokens: int | None  # None if the endpoint does not count them
    completion_tokens: int | None  # None if the endpoint does not count them
    seconds: float  # duration of the call, without earlier attempts and waits
    cached: bool = False  # whether it needed no call


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    kind: str  # a short name, the same for all failures of its kind, such as RateLimitError
    detail: str  # the endpoint's own words, at most 300 characters
    status: int | None = None  # of HTTP, 402 for an empty account; None if no status came back

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


@dataclass
class Usage:
    """What a ``Chat`` has sent and spent so far; cached answers cost nothing."""

    calls: int = 0  # conversations sent to the endpoint
    retries: int = 0  # further attempts at those
    cached: int = 0  # answers that needed no call
    failures: int = 0  # conversations without an answer
    unmetered: int = 0  # answers whose tokens the endpoint did not count
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, answer: Answer) -> None:
        """Count the tokens of an answer that was paid for."""
        self.unmetered += None in (answer.prompt_tokens, answer.completion_tokens)
        self.prompt_tokens += answer.prompt_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0

    def cost(self, prices: tuple[float, float]) -> float:
        """Return the cost at ``prices`` per million prompt and completion tokens.

        Examples:
            >>> Usage(prompt_tokens=2_000_000, completion_tokens=500_000).cost((0.25, 2.0))
            1.5
        """
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6
