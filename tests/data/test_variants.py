"""Titles of one product in several colors, sizes and seasons; and titles that only look like it."""

import pytest

from r4t.data.variants import VARYING, product_title, variants_by_title


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("Lacy satin bow pumps in sapphire", "lacy satin bow pumps, bold RED (wide)", True),
        ("Winter lacy satin bow pumps", "lacy satin bow pumps look in off white", True),
        ("Lacy satin bow pumps in jet", "Lacy satin bow sandals in jet", False),
        # Too little is left of these: color is what they are.
        ("red pepper", "black pepper", False),
        ("white wine vinegar", "red wine vinegar", False),
        ("Green Day", "Blue Day", False),
        ("White Christmas", "white christmas!", True),
        ("?!", "...", False),  # no word at all
    ],
)
def test_variants(one, other, same):
    groups = variants_by_title([one, "in between", other]).tolist()
    assert groups == [0, 1, 0 if same else 2]


def test_words_of_the_list():
    assert product_title("Valentia romantic shirt pieces in ivory") == "valentia romantic shirt"
    assert all(word == word.lower() and word.isalpha() for word in VARYING)
    assert {"ivory", "pastel", "petite", "winter", "look"} <= VARYING
