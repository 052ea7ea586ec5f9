"""Sweeps on this machine: two runs, or two folds, at a time against one after the other; a search against a grid.

python bench/sweep.py              # all, some minutes
python bench/sweep.py pace         # runs alone
python bench/sweep.py folds        # the folds of one run alone
python bench/sweep.py search       # the search alone, against a grid of equal budget
"""

import os
import sys
import time
from kagglekit.core.paths import workspace
from kagglekit.core.threads import usable_cores
from kagglekit.data.competition import load_pages
from kagglekit.practice.standins import write_practice
from kagglekit.report.journal import journal
from kagglekit.runs.recipe import RECIPES
from kagglekit.sweeps.folds import FoldsEngine
from kagglekit.sweeps.jobs import LocalEngine
from kagglekit.sweeps.plan import reserve
from kagglekit.sweeps.search import search
from kagglekit.sweeps.study import Range, Study, add_study
from kagglekit.sweeps.sweep import sweep

COMP = 'shapes-practice'
SMALL = dict(epochs=3, folds=2)
RATES, SIZES = (1e-4, 1e-1), (8, 64)  # ends of the search


def say(line):
    "Nothing: the table at the end is what counts."


def small(exp, **changes):
    "A recipe of a few seconds, on record."
    recipe = RECIPES[COMP]['exp0001'].but(exp, 'small', **SMALL, **changes)
    reserve(COMP, [recipe])
    return recipe


def seconds(jobs, runs):
    "Wall-clock time of some runs, so many at a time; each with its share of the cores, as a sweep deals them."
    with workspace():
        write_practice(COMP, say=say)
        small('small')
        since = time.time()
        assert not sweep(COMP, ['small'], seeds=runs, engine=LocalEngine(jobs, []), say=say)
        return time.time() - since


def pace(runs=4, rounds=2):
    "Two at a time against one after the other, in turns, since other work on the machine comes and goes."
    times = [(seconds(2, runs), seconds(1, runs)) for _ in range(rounds)]
    for two, one in times:
        print(f'{runs} runs on {usable_cores()} cores: two at a time {two:.0f} s, one after the other {one:.0f} s')
    two, one = map(min, zip(*times))
    print(f'ratio of the shortest {one / two:.2f}')


def fold_seconds(apart, epochs):
    "Wall-clock and CPU time of one run of four folds: two at a time, or in a row with all cores."
    with workspace():
        write_practice(COMP, say=say)
        reserve(COMP, [RECIPES[COMP]['exp0001'].but('four', 'four folds', folds=4, epochs=epochs)])
        engine = FoldsEngine(LocalEngine(2, [])) if apart else LocalEngine(1, [])
        since, cpu = time.time(), sum(os.times()[2:4])
        assert not sweep(COMP, ['four'], engine=engine, say=say)
        return time.time() - since, sum(os.times()[2:4]) - cpu


def folds(epochs=12, rounds=2):
    "Folds apart against folds in a row, in turns; each fold pays for a process of its own."
    times = [(fold_seconds(True, epochs), fold_seconds(False, epochs)) for _ in range(rounds)]
    for (apart, more), (row, cpu) in times:
        print(
            f'4 folds of {epochs} epochs on {usable_cores()} cores: apart {apart:.0f} s ({more:.0f} of CPU), ', end=''
        )
        print(f'in a row {row:.0f} s ({cpu:.0f} of CPU)')
    apart, row = (min(seconds for seconds, _ in column) for column in zip(*times))
    print(f'ratio of the shortest {row / apart:.2f}; load {os.getloadavg()[0]:.1f} at the end')


def grid_best():
    "CVs of six runs on a grid over the same ranges."
    with workspace():
        write_practice(COMP, say=say)
        small('small')
        grid = dict(lr=[1e-4, 3.2e-3, 1e-1], bs=[8, 64])
        sweep(COMP, ['small'], grid, engine=LocalEngine(2, []), say=say)
        return journal(COMP).CV.dropna()


def search_best(seed):
    "CVs of six trials of a search."
    with workspace():
        write_practice(COMP, say=say)
        space = dict(lr=Range(*RATES, log=True), bs=Range(*SIZES, log=True))
        study = Study(f'seed{seed}', small('small'), space, 6, sampler=f'TPESampler(seed={seed})', pruner='NopPruner')
        add_study(RECIPES[COMP], study)
        search(COMP, study.name, LocalEngine(2, []), say=say)
        return journal(COMP).CV.dropna()


def compare_search(seeds=3):
    "The best of six runs: grid and search, and the mean of all six."
    rows = [('grid 3 × 2', grid_best())]
    rows += [(f'TPE, seed {seed}', search_best(seed)) for seed in range(seeds)]
    print(f'{"":14s} {"runs":>5s} {"best":>7s} {"mean":>7s}')
    for name, scores in rows:
        print(f'{name:14s} {len(scores):5d} {scores.max():7.4f} {scores.mean():7.4f}')


if __name__ == '__main__':
    os.environ['OMP_NUM_THREADS'] = str(usable_cores())
    load_pages()
    chosen = sys.argv[1:] or ['pace', 'folds', 'search']
    for part in chosen:
        dict(pace=pace, folds=folds, search=compare_search)[part]()
