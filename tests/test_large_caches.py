"Caches larger than memory: rows are asked for ahead and read exactly; order and values stay those of a small cache."

import os
import numpy as np
import pytest
import torch
from kagglekit.core.validation import KitError
from kagglekit.images import row_reads
from kagglekit.images.formats import open_cache, open_caches, open_lazily
from kagglekit.images.loaders import BatchLoader, ConcatCache, fold_loaders, one_hot
from running import quiet

N, SIDE = 40, (12, 10)


@pytest.fixture
def names(data):
    "Files of N arrays."
    g = np.random.default_rng(0)
    for i in range(N):
        np.save(data / f'{i:02d}.npy', g.integers(0, 256, (*SIDE, 3), np.uint8))
    return [f'{i:02d}.npy' for i in range(N)]


@pytest.fixture
def small(data, names):
    "Their cache."
    return open_cache(data, names, 'npy(channels=3)', SIDE, quiet)


@pytest.fixture
def large(small, monkeypatch):
    "The same, taken for one larger than memory."
    monkeypatch.setattr(row_reads, 'WHOLE', 0)
    return small


@pytest.fixture
def calls(large, monkeypatch):
    "What the system is asked for, and what is read, in turn: (what, row)."
    seen, advise, read = [], os.posix_fadvise, os.preadv
    row = large.nbytes // N

    def advised(fd, place, length, advice):
        assert (length, advice) == (row, os.POSIX_FADV_WILLNEED)
        seen.append(('asked', (place - large.offset) // row))
        return advise(fd, place, length, advice)

    def was_read(fd, buffers, place):
        seen.append(('read', (place - large.offset) // row))
        return read(fd, buffers, place)

    monkeypatch.setattr(os, 'posix_fadvise', advised)
    monkeypatch.setattr(os, 'preadv', was_read)
    return seen


def loaded(cache, **options):
    "The batches of an epoch: images, targets, positions."
    dl = BatchLoader(cache, one_hot(np.arange(N) % 3, 3), np.arange(N), bs=6, **options)
    dl.epoch_key = (1, 0, 0, 2)
    return [(x, y, dl.rows) for x, y in dl]


@pytest.mark.parametrize('shuffle', [True, False])
def test_a_large_cache_gives_the_batches_of_a_small_one(small, monkeypatch, shuffle):
    "Order, images, targets and memory layout."
    want = loaded(np.array(small), shuffle=shuffle)
    monkeypatch.setattr(row_reads, 'WHOLE', 0)
    for (x, y, rows), (x2, y2, rows2) in zip(want, loaded(small, shuffle=shuffle), strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2) and x.stride() == x2.stride()
        np.testing.assert_array_equal(rows, rows2)


def test_each_row_is_asked_for_two_batches_before_it_is_read(large, calls):
    "And once only; the last batches ask for nothing."
    batches = loaded(large, shuffle=True)
    order = np.concatenate([rows for _, _, rows in batches]).tolist()
    assert [row for what, row in calls if what == 'asked'] == order
    assert [row for what, row in calls if what == 'read'] == order
    first_read = calls.index(('read', order[0]))
    assert first_read == 3 * 6
    for row in order[18:]:
        assert calls.index(('read', row)) - calls.index(('asked', row)) >= 2 * 6


def test_a_small_cache_is_neither_asked_for_nor_read(small, calls, monkeypatch):
    "It lies in memory."
    monkeypatch.setattr(row_reads, 'WHOLE', small.nbytes)
    loaded(small, shuffle=True)
    assert calls == []


def test_two_large_caches_as_one(large, calls, data):
    "Each is asked for its own rows."
    other = open_cache(data, ['07.npy', '03.npy'], 'npy(channels=3)', SIDE, quiet)
    both = ConcatCache(large, other, [1])
    both.ask_for(np.array([40, 5]))
    assert [row for _, row in calls] == [5, 1]
    np.testing.assert_array_equal(both[[40, 5, 3]], np.array(large)[[3, 5, 3]])
    for row, same in ((5, 5), (40, 3)):  # none of the other
        np.testing.assert_array_equal(both[[row]], np.array(large)[[same]])


@pytest.mark.parametrize('lazy', [True, False])
def test_a_batch_without_rows_of_the_second_cache(data, names, lazy):
    "Pseudo-labelled rows are few, and most batches have none."
    opened = open_lazily if lazy else open_caches
    first, second = opened(data, [(names, SIDE), (names[:3], SIDE)], 'npy(channels=3)', quiet)
    both = ConcatCache(first, second, [0])
    np.testing.assert_array_equal(both[[2]], np.asarray(first[[2]]))
    np.testing.assert_array_equal(both[[N]], np.asarray(second[[0]]))


def test_prediction_asks_ahead_too(large, calls):
    "Validation rows lie apart in the file."
    dls = fold_loaders(large, one_hot(np.arange(N) % 3, 3), np.arange(N) % 5, k=1, bs=2)
    for _ in dls.valid:
        pass
    assert [row for what, row in calls if what == 'asked'] == [*range(1, N, 5)]


def test_a_file_that_is_cut_short_is_an_error_and_no_dead_process(large):
    "A memory map would end in SIGBUS."
    os.truncate(large.held.name, large.offset + 8 * (large.nbytes // N))
    with pytest.raises(KitError, match=r'\.npy was cut short while it was used'):
        loaded(large)
