"""A text → its words in one spelling, so that texts that say the same compare equal."""

import re
import unicodedata

ENDING = re.compile(r"(?<=\w)[+#]+(?!\w)")  # C++ and C# are words of their own


def normalize_text(text: str) -> str:
    """Return the words of a text, a space apart: without case, punctuation, symbols and spacing.

    Marks that change a letter stay (``दिन`` is not ``दान``, ``é`` not ``e``), however they were
    typed, and so do ``+`` and ``#`` at the end of a word. Characters that nobody sees are dropped.
    A text of symbols alone (emoji) is its symbols; of punctuation alone nothing is left.

    Examples:
        >>> normalize_text("  Men's   SHOES! ")
        'men s shoes'
        >>> normalize_text("Beach 🏖️"), normalize_text("🏖️"), normalize_text("C++, C#"), normalize_text("...")
        ('beach', '🏖', 'c++ c#', '')
    """
    # Folding may take composed letters apart, so they are composed once more.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(c for c in folded if not _unseen(c))
    endings = {place for match in ENDING.finditer(seen) for place in range(*match.span())}
    for dropped in ("PSZ", "PZ"):
        kept = (
            c if place in endings or not _is(c, dropped) else " " for place, c in enumerate(seen)
        )
        found = " ".join("".join(kept).split())
        if found:
            return found
    return ""


def _is(character: str, kinds: str) -> bool:
    """Whether its general category is of these: P punctuation, S symbol, Z space; or control."""
    category = unicodedata.category(character)
    return category[0] in kinds or category == "Cc"


def _unseen(character: str) -> bool:
    """Joiners, soft hyphens and variation selectors."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
