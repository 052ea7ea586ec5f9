"""A cache larger than memory: random rows by memory map, read exactly, asked for ahead, and in blocks of neighbours.

    systemd-run --scope -p MemoryMax=600M python bench/large_cache.py          # two minutes, 2 GB of disk
    python bench/large_cache.py --gb 4 --seconds 20

Rows of 224 × 224 × 3 bytes in batches of 64, as training reads them, with nothing else to do: the rate is that of the
disk. The file leaves the page cache before each way begins. Without a limit of memory below its size the whole file
soon lies in memory again, and the ways differ less. `read` is what came from the disk for each byte that was wanted.
Memory is that of the process without mapped files (RssAnon), at the end beyond the beginning.

Ways are tried in turn, twice, and the better try counts. Compare only ratios within one run.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
import numpy as np
from kagglekit.images.cache_file import WHOLE
from kagglekit.images.loaders import on_device
from kagglekit.images.row_reads import read_rows

SIZE, BS = (224, 224, 3), 64


def write_cache(path, n):
    "Rows of noise, on the disk."
    rows = np.random.default_rng(0).integers(0, 256, (500, *SIZE), np.uint8)
    out = np.lib.format.open_memmap(path, 'w+', np.uint8, (n, *SIZE))
    for start in range(0, n, len(rows)):
        out[start : start + len(rows)] = rows[: n - start]
    out.flush()


def opened(path):
    "As a cache is opened, with nothing of it in memory."
    held = open(path, 'rb')
    os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rows = np.load(path, mmap_mode='r')
    rows.held = held
    return rows


def blocks(n, size, chunk, g):
    "All positions: blocks of neighbours in random order, shuffled within chunks."
    starts = g.permutation(np.arange(0, n, size))
    rows = np.concatenate([np.arange(s, min(s + size, n)) for s in starts])
    return np.concatenate([g.permutation(rows[s : s + chunk]) for s in range(0, n, chunk)])


def ways(n):
    "Name → (order of the rows, how a batch is read from a cache, whether rows are asked for ahead)."
    g = np.random.default_rng(1)
    shuffled = g.permutation(n)
    return {
        'memory map': (shuffled, lambda cache, rows: cache[rows], False),
        'memory map, rows sorted in a batch': (shuffled, lambda cache, rows: cache[np.sort(rows)], False),
        'memory map, blocks of 64 in chunks of 4096': (blocks(n, 64, 4096, g), lambda cache, rows: cache[rows], False),
        'read_rows': (shuffled, read_rows, False),
        'read_rows, asked for ahead (kagglekit)': (shuffled, read_rows, True),
        'the same, blocks of 64 in chunks of 4096': (blocks(n, 64, 4096, g), read_rows, True),
        'the same, in the order of the file': (np.arange(n), read_rows, True),
    }


def own(field, file):
    "A number that the system knows of this process, bytes."
    line = next(line for line in Path(f'/proc/self/{file}').read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * (1024 if line.endswith('kB') else 1)


def measure(path, order, read, asked, seconds):
    "Images a second; bytes from the disk for each that was wanted; growth of memory, bytes."
    cache, n = opened(path), 0
    memory, disk, start = own('RssAnon', 'status'), own('read_bytes', 'io'), time.perf_counter()
    parts = [order[s : s + BS] for s in range(0, len(order), BS)]
    batches = on_device(lambda rows: read(cache, rows), cache if asked else None, parts, 'cpu')
    for batch in batches:
        n += len(batch)
        if time.perf_counter() - start > seconds:
            break
    took, row = time.perf_counter() - start, cache.nbytes // len(cache)
    return n / took, (own('read_bytes', 'io') - disk) / (n * row), own('RssAnon', 'status') - memory


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--gb', type=float, default=2, help='size of the cache')
    p.add_argument('--seconds', type=float, default=8, help='for each way and try')
    p.add_argument('--folder', help='on the disk to measure')
    a = p.parse_args()
    n = int(a.gb * 1e9 / np.prod(SIZE))
    assert a.gb * 1e9 > WHOLE, 'a small cache is read in one piece when it is opened'
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        path = Path(folder) / 'rows.npy'
        write_cache(path, n)
        tries = [{name: measure(path, *way, a.seconds) for name, way in ways(n).items()} for _ in range(2)]
    print(f'{a.gb:g} GB, {n:,} rows{"":28s}images/s  × map    read  memory MB')
    best = {name: max(t[name] for t in tries) for name in tries[0]}
    for name, (rate, read, memory) in best.items():
        print(f'{name:44s} {rate:9.0f} {rate / best["memory map"][0]:6.1f} {read:7.2f} {memory / 1e6:10.0f}')


if __name__ == '__main__':
    main()
