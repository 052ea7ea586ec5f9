"""Peak memory and seconds of a run of 100,000 rows and 5,000 classes, on made-up predictions.

python bench/many_classes.py
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ['KAGGLEKIT_ROOT'] = tempfile.mkdtemp()
shutil.copy(ROOT / 'settings.ini', os.environ['KAGGLEKIT_ROOT'])

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from kagglekit.blend.blend_run import run_blend  # noqa: E402
from kagglekit.blend.recipe import BlendRecipe  # noqa: E402
from kagglekit.images.class_targets import ClassTargets  # noqa: E402
from kagglekit.data.competition import Competition  # noqa: E402
from kagglekit.targets.target import OneOf  # noqa: E402
from kagglekit.targets.top_rows import BEST, TopRows  # noqa: E402
from kagglekit.runs.form import write_submission  # noqa: E402
from kagglekit.runs.results import finish_run, save_fold  # noqa: E402
from kagglekit.runs.run import Run  # noqa: E402
from kagglekit.runs.scores import read_predictions, score_oof  # noqa: E402


def made_up(y, k, g):
    "Predictions as a run keeps them: a hundred classes of each row, the true one often the first."
    n, m = len(y), BEST
    best = (y[:, None] + g.integers(1, k // m, (n, 1)) * np.arange(m)) % k
    moved = g.random(n) < 0.3
    best[moved] = best[moved][:, g.permutation(m)]
    p = np.sort(g.standard_exponential((n, m), np.float32) ** 3, 1)[:, ::-1]
    p /= p.sum(1, keepdims=True) * 1.1
    return TopRows(best.astype(np.int32), np.ascontiguousarray(p), 1 - p.sum(1), k)


def keep_batches(comp):
    "A batch of 256 rows as a network predicts it, of which the best are kept, for a tenth of the rows."
    P = np.random.default_rng(0).dirichlet(np.ones(comp.n_classes), 256).astype(np.float32)
    for _ in range(len(comp.train) // 2560):
        TopRows.of(P)


def competition(n, m, k):
    "n train rows, m test rows, k classes."
    g, names = np.random.default_rng(0), tuple(f'whale{i:05}' for i in range(k))
    train = pd.DataFrame(dict(id=[f'a{i}' for i in range(n)], file='a.jpg', target=np.r_[:k, g.integers(0, k, n - k)]))
    test = pd.DataFrame(dict(id=[f'b{i}' for i in range(m)], file='b.jpg'))
    test['sample_id'] = test.id
    sample = pd.DataFrame(dict(image=test.id, predictions=' '.join(names[:5])))
    return Competition('whales', train, test, sample, target=OneOf(names), metric='map_at(5)', answer='top')


def peak():
    "The highest memory of this process so far, MB."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what, f):
    "Do it; print its seconds, and the peak of memory after it."
    start = time.perf_counter()
    result = f()
    print(f'{what:42s} {time.perf_counter() - start:8.1f} s {peak():8,.0f} MB', flush=True)
    return result


def save_folds(run, comp, fold, seed):
    "Five folds of made-up predictions."
    g, y, m = np.random.default_rng(seed), comp.y, len(comp.test)
    for k in np.unique(fold):
        test = made_up(g.integers(0, comp.n_classes, m), comp.n_classes, g)
        valid = made_up(y[fold == k], comp.n_classes, g)
        save_fold(run, k, comp, comp.train.id[fold == k], [valid, test], seconds=1, images=1)


def epoch_of_targets(comp):
    "The targets of an epoch, batch by batch."
    y = ClassTargets(comp.y, comp.n_classes)
    for rows in np.array_split(np.random.default_rng(0).permutation(len(y)), len(y) // 64):
        y[rows]


def main():
    "Each step in turn, as a table."
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument('--rows', type=int, default=100_000)
    ask.add_argument('--test', type=int, default=20_000)
    ask.add_argument('--classes', type=int, default=5_000)
    given = ask.parse_args()
    print(f'{given.rows:,} train rows, {given.test:,} test rows, {given.classes:,} classes, five folds')
    comp = timed('the competition', lambda: competition(given.rows, given.test, given.classes))
    fold, runs = np.arange(given.rows) % 5, [Run('whales', f'exp000{i}') for i in (1, 2)]
    folds = pd.DataFrame(dict(id=comp.train.id, fold=fold))
    timed('targets of an epoch, in batches of 64', lambda: epoch_of_targets(comp))
    timed('the best of 10,000 whole rows', lambda: keep_batches(comp))
    for i, run in enumerate(runs):
        timed(f'{run.exp}: predictions made up and saved', partial(save_folds, run, comp, fold, i))
    for run in runs:
        timed(f'{run.exp}: finish_run', partial(finish_run, run, comp, folds))
    oof = timed('oof.parquet read', lambda: read_predictions(runs[0].folder / 'oof.parquet'))
    timed('score_oof', lambda: score_oof(oof, comp))
    timed('submission of the five best', lambda: write_submission(runs[0], comp))
    mean = BlendRecipe('exp0101', tuple(run.exp for run in runs))
    timed('mean blend of two runs, scored and written', lambda: run_blend(mean, comp))
    print(f'oof.parquet: {(runs[0].folder / "oof.parquet").stat().st_size / 1e6:,.0f} MB')


if __name__ == '__main__':
    main()
