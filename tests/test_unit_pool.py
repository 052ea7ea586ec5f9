"Attention over the rows of a unit: whole units in batches, one loss and one prediction each, whatever the batches are."

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.randomness import rng
from kagglekit.data.competition import READERS, Competition, find_comp
from kagglekit.fit.train import train
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import read_predictions
from kagglekit.runs.setup import run_folds

NAME = 'cases'
TINY = dict(arch='test_resnet', pretrained=False, size=32, folds=2, epochs=2, lr=3e-3, bs=8, dead_after=0)


def write_cases(folder, n=24, most=6):
    "Cases of one to `most` pictures of noise; in one of them a bright square is on the left, or on the right."
    g, rows = rng('cases'), []
    for case in range(n):
        pictures = 1 + case % most
        shown = int(g.integers(pictures))
        for i in range(pictures):
            pixels = g.integers(0, 100, (32, 32, 3))
            if i == shown:
                pixels[8:24, 4 + 16 * (case % 2) :][:, :8] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{case}_{i}.png')
            rows.append(dict(id=f'{case}_{i}', file=f'{case}_{i}.png', case=f'c{case}', target=case % 2))
    return pd.DataFrame(rows)


def read_cases(name):
    "Two thirds of the cases are train rows."
    rows = pd.read_csv(data_dir(name) / 'rows.csv', dtype=dict(id=str))
    number = rows.case.str[1:].astype(int)
    train, test = rows[number % 3 > 0].reset_index(drop=True), rows[number % 3 == 0].reset_index(drop=True)
    test = test.rename(columns=dict(case='sample_id'))[['id', 'file', 'sample_id']]
    sample = pd.DataFrame(dict(case=test.sample_id.unique(), right='0.5'))
    how = dict(metric='auc', answer='probability', unit='case')
    return Competition(name, train, test, sample, ('right',), **how)


@pytest.fixture(scope='module')
def cases():
    "A workspace with cases of pictures."
    with workspace(), pytest.MonkeyPatch.context() as patch:
        folder = data_dir(NAME)
        folder.mkdir(parents=True)
        write_cases(folder).to_csv(folder / 'rows.csv', index=False)
        patch.setitem(READERS, NAME, read_cases)
        yield find_comp(NAME)


def recipe(exp, **changes):
    return Recipe(exp, reason='a test', **TINY | dict(unit_pool='attention') | changes)


def go(exp, comp, **changes):
    r = recipe(exp, **changes)
    train(r, comp, run_folds(r, comp))
    return Run(NAME, exp)


def test_a_run(cases):
    run = go('whole', cases)
    oof = read_predictions(run.folder / 'oof.parquet')
    print(oof.assign(case=cases.train.case).head(12))
    print(run.read('score.json'))
    again = run.folder.parent / 'again.csv'
    predict(Request(run, out=again))
    assert again.read_bytes() == (run.folder / 'submission.csv').read_bytes()
