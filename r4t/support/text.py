"""Text → its words in one spelling, so that texts that say the same compare equal."""

import re
from unicodedata import category, normalize

ENDING = re.compile(r"(?<=\w)[+#]+(?!\w)")  # C++ and C# are words of their own


def normalize_text(text: str) -> str:
    """Return the words of a text, separated by spaces, without case, punctuation and symbols.

    Marks that change a letter stay, however they were typed (``दिन`` is not ``दान``, ``é`` is not
    ``e``), and so do ``+`` and ``#`` at the end of a word. Joiners, soft hyphens and variation
    selectors are dropped. A text of symbols only, such as emoji, keeps its symbols; a text of
    punctuation only becomes empty.

    Examples:
        >>> normalize_text("  Men's   SHOES! ")
        'men s shoes'
        >>> normalize_text("Beach 🏖️"), normalize_text("🏖️"), normalize_text("C++, C#"), normalize_text("...")
        ('beach', '🏖', 'c++ c#', '')
    """
    # Case folding may decompose letters, so compose them again.
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    visible = "".join(c for c in folded if category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    endings = {place for match in ENDING.finditer(visible) for place in range(*match.span())}
    for dropped in ("PSZ", "PZ"):  # punctuation, symbols, spaces; without a word, symbols stay
        spaced = (
            c
            if place in endings or (category(c)[0] not in dropped and category(c) != "Cc")
            else " "
            for place, c in enumerate(visible)
        )
        words = " ".join("".join(spaced).split())
        if words:
            return words
    return ""
