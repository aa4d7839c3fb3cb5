from r4t.objective import load_objective


def test_distinctness_by_hand(catalog_of, chosen):
    catalog = catalog_of([[1, 0], [0, 1], [1, 1], [1, 2]])
    rows = [[0, 1, 2, 3], [2, 2, 2, 2], [0, 0, 1, -1], [-1, -1, -1, -1], [3, -1, -1, -1]]
    # 4 of 4; one item; two items of four asked for; none; one.
    expected = [1, 0.25, 0.5, 0, 0.25]
    assert load_objective("distinctness")(chosen(catalog, rows)).tolist() == expected
