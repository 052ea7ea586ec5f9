"""Seconds that the checks of an EDA take for 60,000 cadences, from the cache.

    python bench/eda.py                # some minutes; writes a cache of 3 GB into a temporary folder; give a number for fewer rows

The rows are what `take_sample` keeps of a cadence, 256 channels by 96 columns of half precision: noise, in which each second row has
64 channels of the row before it. Reading whole files (1,000 of each part) and decoding are not in it. The check of near copies of
pictures is timed with as many pictures of 64 × 64.
"""
import sys, tempfile, time
import numpy as np
import pandas as pd
from kagglekit.checks import check_alike, check_copies, check_windows
from kagglekit.competition import Competition
from kagglekit.looking import Sample
from kagglekit.shifts import check_shift

def draw(path, n, shape, dtype):
    "A cache of noise; cadences overlap in pairs."
    x, g = np.lib.format.open_memmap(path, 'w+', dtype, (n, *shape)), np.random.default_rng(len(str(path)) + n)
    for i in range(0, n, 500):
        block = g.standard_normal((min(500, n - i), *shape), np.float32)
        if dtype == 'float16': block[1::2, :64] = block[::2, 192:][:len(block) // 2]
        x[i:i + 500] = block if dtype == 'float16' else (128 + 40 * block).clip(0, 255)
    return np.load(path, mmap_mode='r')

def main(n=60_000):
    "Print the table."
    table = pd.DataFrame(dict(id=[f'r{i}' for i in range(n + 1000)], file='x.npy', target=np.arange(n + 1000) % 10 == 0)).astype(dict(target=int))
    train, test = table[:n], table[n:].assign(sample_id=table.id[n:]).reset_index(drop=True)
    comp = Competition('bench', train, test, test[['id']].assign(target=.5), ('needle',), 'auc', answer='probability')
    for shape, dtype, checks in (((256, 96, 1), 'float16', (check_copies, check_windows, check_shift)), ((64, 64, 3), 'uint8', (check_copies, check_alike, check_shift))):
        with tempfile.TemporaryDirectory() as folder:
            s = Sample(comp, train, test, draw(f'{folder}/x.npy', n, shape, dtype), draw(f'{folder}/y.npy', 1000, shape, dtype), dtype == 'float16')
            for check in checks: t, c = time.perf_counter(), time.process_time(); f = check(s); print(f'{n:,} of {shape}: {check.__name__:14s} {time.perf_counter() - t:7.1f} s, {time.process_time() - c:6.1f} s of a core   {f.number:,.6g} {f.what}', flush=True)

if __name__ == '__main__': main(*map(int, sys.argv[1:]))
