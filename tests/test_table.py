"Numbers and categories beside the images: learnt, resumed, shared, and refused where they do not fit."

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit.page_check import inspect_comp
from kagglekit.fit.preflight import check_columns
from kagglekit.fit.train import load_experiment, train
from kagglekit.fit.trial import trial
from kagglekit.models.build import load_weights
from kagglekit.runs.distributed import predict_shared
from kagglekit.runs.identity import data_hashes
from kagglekit.runs.recipe import Recipe, find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import make_learner, open_setup, run_folds
from running import python

TRAIN, TEST, SIDE = 200, 40, 32
AGE, PLACE, BARE = 'lesions-age', 'lesions-place', 'lesions-bare'
PAGE = """
import pandas as pd
from kagglekit.core.paths import data_dir
from kagglekit.data.competition import Competition, competition
from kagglekit.core.tables import read_table
from kagglekit.runs.recipe import Recipe, Recipes

COLUMNS = {
    'lesions-age': dict(numbers=('age', 'noise')),
    'lesions-place': dict(categories=('place',)),
    'lesions-bare': {},
}


@competition(*COLUMNS)
def read_lesions(name):
    "Noise; the age or the place of a lesion tells whether it is malignant."
    train, test, sample = (read_table(data_dir(name) / f'{t}.csv', ['id']) for t in ('train', 'test', 'sample'))
    for table in (train, test):
        table['age'], table['noise'] = pd.to_numeric(table.age), pd.to_numeric(table.noise)
    train['target'] = train.target.astype(int)
    more = dict(metric='auc', answer='probability') | COLUMNS[name]
    return Competition(name, train, test.assign(sample_id=test.id), sample, ('malignant',), **more)


for name in COLUMNS:
    recipe = Recipe(
        'exp0001', reason='the side table', arch='test_convnext', pretrained=False, size=32, epochs=5, lr=5e-3,
        bs=16, loss='bce', folds=2, table=name != 'lesions-bare',
    )
    Recipes(name).add(recipe)
"""


def write_page(root):
    "The page of the drawn competitions, a notebook of the workspace."
    page = root / 'nbs' / 'competitions' / 'lesions.ipynb'
    page.parent.mkdir(parents=True, exist_ok=True)
    cells = [dict(cell_type='code', source=[PAGE], outputs=[], metadata={})]
    page.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))


def draw(name):
    "Noise images; an age of which some are missing, and a place; the age tells the class, or the place."
    g, n = np.random.default_rng(1), TRAIN + TEST
    folder = data_dir(name)
    folder.mkdir(parents=True)
    rows = pd.DataFrame(dict(id=[f'{i:03}' for i in range(n)]))
    rows['file'] = rows.id + '.png'
    rows['age'] = g.integers(20, 80, n).astype(float)
    rows['noise'] = g.normal(1e6, 1e3, n)
    rows['place'] = g.choice(list('abcdefgh'), n)
    known = g.random(n) > 0.1
    rows['target'] = (rows.place.isin(list('bdeg')) if name == PLACE else (rows.age > 50) & known).astype(int)
    rows.loc[~known, 'age'] = np.nan
    rows.loc[TRAIN, 'place'] = 'never in train'
    for file in rows.file:
        Image.fromarray(g.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(folder / file)
    rows[:TRAIN].to_csv(folder / 'train.csv', index=False)
    test = rows[TRAIN:][::-1]
    test.drop(columns='target').to_csv(folder / 'test.csv', index=False)
    pd.DataFrame(dict(id=test.id, malignant='0.5')).to_csv(folder / 'sample.csv', index=False)
    test.to_csv(folder / 'truth.csv', index=False)


@pytest.fixture(scope='module')
def home():
    "A workspace with the drawn competitions."
    with workspace() as root:
        write_page(root)
        for name in (AGE, PLACE, BARE):
            draw(name)
        assert load_pages() == {}
        yield root
        shutil.rmtree(root / 'nbs')
    load_pages()  # the page is forgotten


def recipe_of(name, exp='exp0001', **changes):
    base = find_recipe(name, 'exp0001')
    return base.but(exp, 'a change', **changes) if changes else replace(base, exp=exp)


def run_it(name, exp='exp0001', **changes):
    "A run of a drawn competition, finished."
    comp, recipe = find_comp(name), recipe_of(name, exp, **changes)
    train(recipe, comp, run_folds(recipe, comp))
    return Run(name, exp)


def aucs(run):
    "Of the validation rows, and of the test rows, whose truth was drawn."
    oof, test = (pd.read_parquet(run.folder / f'{part}.parquet') for part in ('oof', 'test'))
    truth = pd.read_csv(data_dir(run.comp) / 'truth.csv', dtype=dict(id=str))
    assert test.id.tolist() == truth.id.tolist()
    return roc_auc_score(oof.target, oof.p_malignant), roc_auc_score(truth.target, test.p_malignant)


def check_validation(run):
    "What was measured after the last epoch is the score of the fold's predictions: validation saw its own table."
    oof, history = pd.read_parquet(run.folder / 'oof.parquet'), pd.read_csv(run.folder / 'history.csv')
    for k, last in history.groupby('fold').metric.last().items():
        rows = oof[oof.fold == k]
        assert abs(last - roc_auc_score(rows.target, rows.p_malignant)) < 1e-3


def results(run):
    "The bytes of predictions and weights."
    names = ('oof.parquet', 'test.parquet', 'fold0/model.safetensors', 'fold1/model.safetensors')
    return [(run.folder / name).read_bytes() for name in names]


@pytest.mark.parametrize('name', [AGE, PLACE])
def test_what_only_a_column_tells_is_learnt(home, name):
    assert not [line for line in inspect_comp(name) if line.mark == '✗']
    run = run_it(name)
    assert min(aucs(run)) > 0.9
    check_validation(run)


def test_without_the_table_there_is_nothing_to_learn(home):
    oof, test = aucs(run_it(AGE, 'exp0002', table=False))
    assert 0.3 < oof < 0.7 and 0.2 < test < 0.8


def test_mixup_mixes_the_table_too(home):
    "A mixed target with an unmixed table would be a riddle; the inputs are mixed with the λ of their images."
    assert min(aucs(run_it(AGE, 'exp0003', mixup=0.4))) > 0.9
    comp, recipe = find_comp(AGE), recipe_of(AGE, 'exp0003', mixup=0.4)
    learn = make_learner(open_setup(recipe, comp, run_folds(recipe, comp)), 0)
    prepare, key, rows = learn.prepare_batch, (0, 0, 0, 0), np.arange(8)
    learn.epoch, learn.n_epoch = 0, 1
    x, y = torch.arange(8.0).reshape(8, 1, 1, 1), torch.eye(8)
    mixed, targets = prepare.change(x, y, rows, key)
    t = prepare._mix_side(torch.eye(8), rows, key, (4, 4))
    torch.testing.assert_close(t, targets)
    torch.testing.assert_close((t @ torch.arange(8.0)), mixed.flatten())


@pytest.mark.slow
def test_averages_a_frozen_start_and_the_best_epoch_work(home):
    run = run_it(PLACE, 'exp0004', ema=0.9, freeze_epochs=1, checkpoint='best', feature_norm=16.0, epochs=8)
    assert min(aucs(run)) > 0.9
    assert min(aucs(run_it(PLACE, 'exp0005', swa=True, epochs=8))) > 0.9


def test_the_weights_predict_elsewhere(home):
    "Statistics come from the file: a network built from other rows predicts as the run did."
    run, comp, recipe = run_it(AGE), find_comp(AGE), recipe_of(AGE)
    shifted = replace(comp, train=comp.train.assign(age=comp.train.age * 3 + 100))
    setup = open_setup(recipe, shifted, run_folds(recipe, shifted))
    learn = make_learner(setup, 0)
    load_weights(learn.model, run.fold_folder(0) / 'model.safetensors')
    p = predict_shared(learn, setup.shown[1], np.arange(TEST), table=setup.table.test)
    recorded = pd.read_parquet(run.folder / 'test_folds.parquet')
    np.testing.assert_allclose(p[:, 0], recorded[recorded.fold == 0].p_malignant, atol=1e-6)


KILLED = """
import os, signal
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.setup import run_folds

load_pages()
comp, recipe = find_comp('lesions-age'), find_recipe('lesions-age', 'exp0001').but('exp0007', 'a change', mixup=0.2)
old = fit.FoldProgress.epoch


def epoch(self, rows):
    old(self, rows)
    if self.k == 1 and len(rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


fit.FoldProgress.epoch = epoch
fit.train(recipe, comp, run_folds(recipe, comp))
"""


def test_a_killed_run_resumes_to_the_same_bytes(home):
    whole = results(run_it(AGE, 'exp0006', mixup=0.2))
    done = python('-c', KILLED)
    assert done.returncode == -9, done.stderr
    run = Run(AGE, 'exp0007')
    assert (run.fold_folder(1) / 'resume.pt').exists() and not (run.folder / 'oof.parquet').exists()
    assert results(run_it(AGE, 'exp0007', mixup=0.2)) == whole


@pytest.mark.slow
def test_two_processes_train_as_one(home):
    "bs 15 of 100 rows: parts of 8 and 7 rows, and of 5 and 5."
    alone = run_it(AGE, 'exp0008', bs=15, mixup=0.2, epochs=2)
    shared = run_it(AGE, 'exp0009', bs=15, mixup=0.2, epochs=2, gpus=2)
    check_validation(shared)
    for part in ('oof', 'test_folds'):
        one, two = (pd.read_parquet(run.folder / f'{part}.parquet') for run in (alone, shared))
        assert one.id.equals(two.id) and np.abs(one.p_malignant - two.p_malignant).max() < 1e-3


def first_batches(learn):
    "Rows and side table of the batches of an epoch, as the network gets them."
    learn.dls.train.epoch_key, learn.training, learn.epoch, learn.n_epoch = (0, 0, 0, 0), True, 0, 1
    learn.dl, found = learn.dls.train, []
    for batch in learn.dls.train:
        learn.xb, learn.yb = batch[:1], batch[1:]
        learn.prepare_batch.before_batch()
        found.append((learn.dls.train.rows, learn.xb[1]))
    return found


@pytest.mark.slow
def test_pseudo_labelled_test_rows_bring_their_own_table(home):
    run_it(AGE)
    comp = find_comp(AGE)
    recipe = recipe_of(AGE, 'exp0010', pseudo_labels='exp0001', pseudo_threshold=(0.3, 0.7))
    learn = make_learner(open_setup(recipe, comp, run_folds(recipe, comp)), 0)
    chosen = comp.test.age.to_numpy()[learn.dls.train.cache.rows]
    ages = torch.tensor(np.r_[comp.train.age, chosen])
    encoder, seen = learn.model.encoder, set()
    for rows, t in first_batches(learn):
        age = torch.where(ages[rows].isnan(), encoder.median[0], ages[rows])
        torch.testing.assert_close(t[:, 0], ((age - encoder.mean[0]) * encoder.scale[0]).float())
        torch.testing.assert_close(t[:, 2], ages[rows].isnan().float())
        seen |= set(rows.tolist())
    assert len(chosen) > 10 and set(range(TRAIN, TRAIN + len(chosen))) <= seen
    run = run_it(AGE, 'exp0011', pseudo_labels='itself', pseudo_threshold=(0.1, 0.9))
    assert min(aucs(run)) > 0.9


def test_the_statistics_are_those_of_the_rows_that_are_trained_on(home):
    comp, recipe = find_comp(AGE), recipe_of(AGE)
    folds = run_folds(recipe, comp)
    for k in (0, 1):
        encoder = make_learner(open_setup(recipe, comp, folds), k).model.encoder
        ages = comp.train.age[folds.fold.to_numpy() != k]
        expected = [ages.median(), ages.mean(), 1 / ages.std(ddof=0)]
        np.testing.assert_allclose([encoder.median[0], encoder.mean[0], encoder.scale[0]], expected)


@pytest.mark.slow
def test_a_trial_of_it_runs(home):
    lines = []
    trial(AGE, 'exp0001', lines.append)
    assert any('it runs' in line for line in lines)


def test_naming_columns_leaves_other_runs_as_they_are(home):
    "Only a run that sees the table depends on it, on the values of train and of test."
    comp = find_comp(AGE)
    bare, folds = replace(comp, numbers=()), run_folds(recipe_of(AGE), comp)
    plain, seeing = recipe_of(AGE, 'exp0002', table=False), recipe_of(AGE)
    assert comp.hash() == bare.hash()
    assert data_hashes(plain, comp, folds) == data_hashes(plain, bare, folds)
    before = data_hashes(seeing, comp, folds)
    for side in ('train', 'test'):
        table = getattr(comp, side)
        other = data_hashes(seeing, replace(comp, **{side: table.assign(age=table.age + 1)}), folds)
        assert {name for name in before if before[name] != other[name]} == {'table'}


def test_a_page_without_columns_has_no_table(home):
    with pytest.raises(KitError, match='lesions-bare names no columns for the network; add numbers or categories'):
        check_columns(recipe_of(BARE, 'exp0002', table=True), find_comp(BARE))


def test_a_network_that_the_table_cannot_join_is_refused_before_anything_is_decoded(home):
    given = dict(comp=AGE, exp='exp0012', parent='exp0001', reason='two heads', arch='levit_128', size=224)
    decoded = set(home.rglob('.cache/**'))
    with pytest.raises(KitError, match='the head of levit_128 is no single linear layer; take an EfficientNet'):
        load_experiment(given)
    assert set(home.rglob('.cache/**')) == decoded
    check_columns(recipe_of(AGE, 'exp0012', arch='levit_128', size=224, table=False), find_comp(AGE))


def test_the_table_joins_one_network():
    with pytest.raises(KitError, match='separate_nets trains one per head; leave one of them out'):
        Recipe(table=True, heads=('mask', 'age'), separate_nets=True)


def test_columns_that_do_not_fit_are_refused(home):
    comp = find_comp(BARE)
    for changes, words in [
        (dict(numbers=('target',)), 'test has no column target'),
        (dict(numbers=('place',)), 'train.place is of the type .*convert it in the reader with pd.to_numeric'),
        (dict(categories=('age',)), 'categories are text'),
        (dict(categories=('plaice',)), r'train has no column plaice \(did you mean place\?\)'),
    ]:
        with pytest.raises(KitError, match=words):
            replace(comp, **changes)
