"""Cadences a second: simulated and written, read into each input format, and gathered from the cache in batches.

    python bench/cadences.py           # a minute; writes 400 cadences, 336 MB, into a temporary folder

Written by all cores at once, as `kagglekit practice seti-practice` does. Read one by one on one core, for each input
format at 512 × 512 and at 96 × 128. From the cache in batches of 64 in random order, as training does.
"""

import statistics
import time
from functools import partial
import numpy as np
import kagglekit.images.cadence  # noqa: F401  registers its input formats
from kagglekit.images.loaders import gather
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.core.paths import workspace
from kagglekit.images.formats import INPUTS, open_cache
from kagglekit.practice.standins import write_practice


def rate(f, n, times=5):
    "n a second, the median of some times."

    def once():
        t = time.perf_counter()
        f()
        return time.perf_counter() - t

    return n / statistics.median(once() for _ in range(times))


def read_all(input_format, files, size):
    "Read files one by one."
    for file in files:
        input_format.read(file, size)


def gather_all(cache, order):
    "Gather rows in batches of 64."
    for i in range(0, len(order), 64):
        gather(cache, order[i : i + 64])


def main(rows=400):
    "Print the table."
    quiet = lambda line: None
    with workspace():
        load_pages()
        t = time.perf_counter()
        folder = write_practice('seti-practice', rows=rows, say=quiet)
        print(f'drawn and written          {rows / (time.perf_counter() - t):8,.0f} cadences/s')
        files = list(find_comp('seti-practice').train.file)
        for name in ('abacad', 'aaa_bcd', 'less_off', 'abacad_max', 'abacad_clean', 'abacad_lines', 'abacad_lines_max'):
            for size in ((512, 512), (96, 128)):
                each = rate(partial(read_all, INPUTS[name], [folder / f for f in files[:16]], size), 16, 3)
                print(f'{name:14s} {size[0]} × {size[1]:<4d} {each:8,.0f} cadences/s, one core')
        cache = open_cache(folder, files, 'abacad', (96, 128), quiet)
        order = np.random.default_rng(0).permutation(len(files))
        each = rate(partial(gather_all, cache, order), len(order))
        print(f'from the cache, 96 × 128   {each:8,.0f} cadences/s')


if __name__ == '__main__':
    main()
