"""Time of the EDA checks for 60,000 cadences, from the cache.

    python bench/eda.py                # some minutes; writes a cache of 3 GB into a temporary folder
    python bench/eda.py 4000           # fewer rows, to see that it works

A line for each check, and the sum, which should stay below two minutes. The rows are what `take_sample` keeps of a
cadence, 256 channels by 96 columns of half precision: noise, in which each second row has 64 channels of the row
before it. Not included: decoding, reading whole files (1,000 of each part) for `check_metadata`, and checks that need
a run. Then the same for as many images of 64 × 64; `check_near_duplicates` compares each pair of them: 60,000 are all
that it is given.
"""

import sys
import tempfile
import time
import numpy as np
import pandas as pd
from kagglekit.eda.duplicates import check_duplicates, check_near_duplicates
from kagglekit.eda.groups import check_groups
from kagglekit.eda.windows import check_windows
from kagglekit.data.competition import Competition
from kagglekit.data.folds import make_folds
from kagglekit.eda.samples import Sample
from kagglekit.eda.shift import check_covariate_shift


def draw(path, n, shape, dtype):
    "A cache of noise; cadences overlap in pairs."
    x, g = np.lib.format.open_memmap(path, 'w+', dtype, (n, *shape)), np.random.default_rng(len(str(path)) + n)
    for i in range(0, n, 500):
        block = g.standard_normal((min(500, n - i), *shape), np.float32)
        if dtype == 'float16':
            block[1::2, :64] = block[::2, 192:][: len(block) // 2]
        x[i : i + 500] = block if dtype == 'float16' else (128 + 40 * block).clip(0, 255)
    return np.load(path, mmap_mode='r')


def timed(name, check, *args):
    "Run a check and print a line; seconds by the clock, and of a core."
    clock, core = time.perf_counter(), time.process_time()
    f = check(*args)
    spent = time.perf_counter() - clock, time.process_time() - core
    print(f'{name:24s} {spent[0]:7.1f} s, {spent[1]:6.1f} s of a core   {f.number:,.6g} {f.meaning}', flush=True)
    return spent


def run_all(comp, sample, checks):
    "Time the checks of a sample."
    spent = [timed('check_groups', check_groups, comp, make_folds(comp))]
    spent += [timed(check.__name__, check, sample) for check in checks]
    print('all                      {:7.1f} s, {:6.1f} s of a core\n'.format(*map(sum, zip(*spent))), flush=True)


KINDS = (
    ('cadences', (256, 96, 1), 'float16', (check_duplicates, check_windows, check_covariate_shift)),
    ('images', (64, 64, 3), 'uint8', (check_duplicates, check_near_duplicates, check_covariate_shift)),
)


def main(n=60_000):
    "Print the table."
    ids = [f'r{i}' for i in range(n + 1000)]
    table = pd.DataFrame(dict(id=ids, file='x.npy', target=(np.arange(n + 1000) % 10 == 0).astype(int)))
    train, test = table[:n], table[n:].assign(sample_id=table.id[n:]).reset_index(drop=True)
    comp = Competition('bench', train, test, test[['id']].assign(target=0.5), ('needle',), 'auc', answer='probability')
    for what, shape, dtype, checks in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            x, y = draw(f'{folder}/x.npy', n, shape, dtype), draw(f'{folder}/y.npy', 1000, shape, dtype)
            print(f'{n:,} {what} of {shape}')
            run_all(comp, Sample(comp, train, test, x, y, dtype == 'float16'), checks)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
