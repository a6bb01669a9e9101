"""What is held is a copy, and its memory serves again only when nobody reads it any more."""

from threading import Thread

import torch

from ecad_search.engine.cache_store import CacheStore, signatures

STREAM, CELL = "a", 0


def put(store, value, cell=CELL):
    store.put((STREAM,), cell, 0, value, signatures([value], 1))


def held(store, cell=CELL):
    stored = store.get(STREAM, cell)
    return None if stored is None else stored.value


def test_a_value_is_a_copy():
    store, value = CacheStore(), torch.ones(1, 3, 2)
    put(store, value)
    value.zero_()
    assert torch.equal(torch.ones(1, 3, 2), held(store))


def test_memory_of_a_value_that_went_serves_the_next_one():
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    place = held(store).data_ptr()
    store.drop_part(STREAM, CELL, 0)
    put(store, torch.full((1, 3, 2), 2.0), cell=1)
    assert place == held(store, 1).data_ptr()
    assert torch.equal(torch.full((1, 3, 2), 2.0), held(store, 1))
    assert 24 == store.bytes == store.peak_bytes


def test_memory_that_a_thread_may_still_read_serves_no_other_thread():
    """T28: of two devices one takes its last value to read while the other stores one."""
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    read = held(store)
    store.drop_part(STREAM, CELL, 0)
    other = Thread(target=put, args=(store, torch.zeros(1, 3, 2)), kwargs={"cell": 1})
    other.start()
    other.join()
    assert torch.equal(torch.ones(1, 3, 2), read)
    assert torch.equal(torch.zeros(1, 3, 2), held(store, 1))


def test_a_value_given_away_is_never_written_on():
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    away = held(store)
    store.drop_part(STREAM, CELL, 0, given_away=True)
    put(store, torch.zeros(1, 3, 2))
    assert torch.equal(torch.ones(1, 3, 2), away)


def test_other_shapes_and_types_get_memory_of_their_own():
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    store.drop_part(STREAM, CELL, 0)
    for value in (torch.ones(1, 2, 3), torch.ones(1, 3, 2, dtype=torch.bfloat16)):
        put(store, value)
        assert value.dtype == held(store).dtype and torch.equal(value, held(store))


def test_nothing_is_kept_after_a_run():
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    store.drop_part(STREAM, CELL, 0)
    store.clear()
    assert {} == store.place._spare


# --- streams that were computed together ---------------------------------------------------------


def put_both(store, value):
    store.put(("a", "b"), CELL, 0, value, signatures([value], 2))


def test_streams_stored_together_are_read_in_one_piece():
    store, value = CacheStore(), torch.arange(12.0).reshape(2, 3, 2)
    put_both(store, value)
    (piece,) = store.pieces(("a", "b"), CELL, 0)
    assert torch.equal(value, piece.value)
    assert [True, True] == [
        torch.equal(value[i : i + 1], store.get(stream, CELL).value)
        for i, stream in enumerate(("a", "b"))
    ]
    assert 48 == store.bytes


def test_in_another_order_or_alone_they_are_read_by_rows():
    store, value = CacheStore(), torch.arange(12.0).reshape(2, 3, 2)
    put_both(store, value)
    turned = [piece.value for piece in store.pieces(("b", "a"), CELL, 0)]
    assert torch.equal(value.flip(0), torch.cat(turned))
    (alone,) = store.pieces(("b",), CELL, 0)
    assert torch.equal(value[1:], alone.value)
    store.put(("b",), CELL, 0, value[:1], signatures([value[:1]], 1))
    mixed = [piece.value for piece in store.pieces(("a", "b"), CELL, 0)]
    assert torch.equal(value[:1].repeat(2, 1, 1), torch.cat(mixed))
    assert 48 == store.bytes == store.peak_bytes


def test_their_memory_serves_again_when_none_of_them_needs_it():
    store = CacheStore()
    put_both(store, torch.ones(2, 3, 2))
    held = store.get("a", CELL).held.tensor
    store.drop_part("a", CELL, 0)
    store.put(("c",), 1, 0, torch.zeros(2, 3, 2), signatures([torch.zeros(2, 3, 2)], 1))
    assert torch.equal(torch.ones(1, 3, 2), store.get("b", CELL).value)
    assert held.data_ptr() != store.get("c", 1).value.data_ptr()
    store.drop_part("b", CELL, 0)
    put_both(store, torch.full((2, 3, 2), 3.0))
    assert held.data_ptr() == store.get("a", CELL).held.tensor.data_ptr()


def test_nothing_that_one_of_them_was_given_is_written_on():
    store = CacheStore()
    put_both(store, torch.ones(2, 3, 2))
    away = store.get("a", CELL).value
    store.drop_part("a", CELL, 0, given_away=True)
    store.drop_part("b", CELL, 0)
    put_both(store, torch.zeros(2, 3, 2))
    assert torch.equal(torch.ones(1, 3, 2), away)
