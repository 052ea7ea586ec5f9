"""Sweeps on this machine: two runs at a time against one after the other, and a search against a grid of equal budget.

python bench/sweep.py              # both, some minutes
python bench/sweep.py pace         # the first alone
python bench/sweep.py search       # the second alone
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
    chosen = sys.argv[1:] or ['pace', 'search']
    for part in chosen:
        dict(pace=pace, search=compare_search)[part]()
