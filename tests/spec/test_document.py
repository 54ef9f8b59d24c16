from rundlet.spec.document import drop_nulls


def test_null_members_go_and_null_items_stay() -> None:
    assert drop_nulls({"a": None, "b": [{"c": None}, None], "d": 0}) == {"b": [{}, None], "d": 0}


def test_what_lies_deeper_than_asked_is_left_alone() -> None:
    assert drop_nulls({"a": {"b": {"c": None}}}, depth=2) == {"a": {"b": {"c": None}}}
