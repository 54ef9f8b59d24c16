from rundlet.cri.batch import BATCH_ITEMS, batches


def test_each_item_comes_once_and_no_batch_is_empty():
    items = list(range(2 * BATCH_ITEMS + 1))
    chunks = list(batches(items))
    assert [item for chunk in chunks for item in chunk] == items
    assert all(chunks)
    assert list(batches([])) == []
