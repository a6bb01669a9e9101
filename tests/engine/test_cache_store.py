"""What is held is a copy, and its memory serves again only when nobody reads it any more."""

import torch

from ecad_search.engine.cache_store import CacheStore, signatures

STREAM, CELL = "a", 0


def put(store, value, cell=CELL, **options):
    store.put(STREAM, cell, 0, value, signatures([value], 1), **options)


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


def test_a_transposed_value_is_held_channel_by_channel():
    store, value = CacheStore(), torch.arange(6.0).reshape(1, 3, 2)
    put(store, value, transposed=True)
    assert store.get(STREAM, CELL).transposed
    assert held(store).is_contiguous() and torch.equal(value.transpose(1, 2), held(store))
    assert 24 == store.bytes


def test_nothing_is_kept_after_a_run():
    store = CacheStore()
    put(store, torch.ones(1, 3, 2))
    store.drop_part(STREAM, CELL, 0)
    store.clear()
    assert {} == store.place._spare
