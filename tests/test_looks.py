"Quick looks: some folds, or a share of the training rows; never taken for a whole run."

import json
import numpy as np
import pandas as pd
import pytest
from running import ROOT, train_here
from kagglekit.blend.members import check_run
from kagglekit.cli.show import show_run, status_text
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit.plots import check_record
from kagglekit.fit.train import load_experiment
from kagglekit.handin.share import check_shared
from kagglekit.handin.upload import submit
from kagglekit.report.journal import journal
from kagglekit.report.ranking import best_run
from kagglekit.runs.recipe import recorded, resolve
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds

load_pages()
COMP = 'shapes-practice'
SMALL = dict(parent='exp0001', arch='test_resnet', pretrained=False, size=32, epochs=1, bs=16, augment=[])


def files(exp, k):
    "The weights and the predictions of a fold, as bytes."
    folder = Run(COMP, exp).fold_folder(k)
    return [(folder / name).read_bytes() for name in ('model.safetensors', 'oof.parquet', 'test.parquet')]


@pytest.fixture(scope='module')
def looked():
    "A workspace with a whole run, a look at its fold 1, and a look at half of the rows."
    with workspace() as home:
        (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
        train_here(COMP, 'whole', **SMALL)
        train_here(COMP, 'fold1', **SMALL | dict(parent='whole'), fit_folds=[1])
        train_here(COMP, 'half', **SMALL | dict(parent='whole'), fit_folds=[0, 2], rows=0.5)
        yield home


def test_a_look_at_a_fold_trains_it_as_the_whole_run_does(looked):
    assert files('fold1', 1) == files('whole', 1)
    whole, look = (Run(COMP, exp).read('score.json') for exp in ('whole', 'fold1'))
    assert look['folds'] == whole['folds'][1:2] and look['sd'] is None and 'look' not in whole
    assert look['look'] == 'fold 1 of 3'
    assert not Run(COMP, 'fold1').fold_folder(0).exists()


def test_its_tables_hold_its_own_fold_alone(looked):
    folder, whole = Run(COMP, 'fold1').folder, Run(COMP, 'whole').folder
    oof, every = (pd.read_parquet(f / 'oof.parquet') for f in (folder, whole))
    pd.testing.assert_frame_equal(oof, every[every.fold == 1].reset_index(drop=True))
    mean, by_fold = (pd.read_parquet(f) for f in (folder / 'test.parquet', whole / 'test_folds.parquet'))
    theirs = by_fold[by_fold.fold == 1].drop(columns='fold').reset_index(drop=True)
    np.testing.assert_array_equal(mean.iloc[:, 1:], theirs.iloc[:, 1:])
    log = (folder / 'log.txt').read_text()
    assert 'fold 1/1 · epoch 1/1' in log and 'submission.csv: it comes from a look (fold 1 of 3)' in log
    comp, recipe = find_comp(COMP), recorded(COMP, 'fold1')
    check_record(Run(COMP, 'fold1'), comp, recipe, Run(COMP, 'fold1').read('score.json'))


def test_half_of_the_rows_are_trained_on_and_all_are_validated(looked):
    comp, run = find_comp(COMP), Run(COMP, 'half')
    split = run_folds(recorded(COMP, 'half'), comp)
    for k in (0, 2):
        train, valid = (split.fold != k).sum(), (split.fold == k).sum()
        assert abs(run.read(f'fold{k}/fold.json')['images'] - train / 2) <= 1
        assert len(pd.read_parquet(run.fold_folder(k) / 'oof.parquet')) == valid
    assert files('half', 0)[0] != files('whole', 0)[0]


def test_no_comparison_takes_it_for_a_whole_run(looked):
    table = journal(COMP)
    kinds = dict(zip(table.exp, table.kind))
    assert kinds == dict(fold1='look', half='look', whole='run')
    assert best_run(table.assign(CV=[2.0, 2.0, 0.1])) == 'whole'
    assert table.set_index('exp').gain.isna().all()
    assert 'fold 1 of 3' in show_run('fold1') and 'a look: folds 0, 2 of 3, 50 %' in status_text(COMP)
    comp = find_comp(COMP)
    for refused in (check_run, check_shared):
        with pytest.raises(KitError, match='is a look'):
            refused(Run(COMP, 'half'), comp)
    said = []
    submit(Run(COMP, 'fold1'), comp, 'local', say=said.append)
    assert 'it is a look (fold 1 of 3)' in ' '.join(said)


def test_the_whole_is_another_run(looked):
    with pytest.raises(KitError, match='fold1 is taken'):
        resolve(COMP, 'fold1', fit_folds=[])
    assert resolve(COMP, 'again', parent='fold1', fit_folds=[]).diff == dict(fit_folds=[])


def test_a_lost_fold_of_a_look_is_trained_again_alone(looked):
    run = Run(COMP, 'half')
    before, kept = files('half', 2), (run.fold_folder(0) / 'fold.json').stat().st_mtime_ns
    for path in (run.fold_folder(2) / 'fold.json', run.folder / 'oof.parquet', run.folder / 'test.parquet'):
        path.unlink()
    train_here(COMP, 'half')
    assert files('half', 2) == before
    assert (run.fold_folder(0) / 'fold.json').stat().st_mtime_ns == kept
    assert 'fold 2/2 · epoch 1/1' in (run.folder / 'log.txt').read_text().splitlines()[-4]


@pytest.mark.parametrize(
    'given, words',
    [
        (dict(fit_folds=[3]), 'the folds are 0, 1, 2; got 3'),
        (dict(fit_folds=[0, 1, 2]), 'got all folds'),
        (dict(fit_folds=[0], train_all=True), 'no folds to choose from'),
        (dict(rows=0), 'rows must be a number above 0'),
        (dict(rows=0.001), 'take a larger share'),
    ],
)
def test_what_is_no_look_is_refused_before_decoding(looked, given, words):
    with pytest.raises(KitError, match=words):
        load_experiment(dict(comp=COMP, exp='other', **SMALL) | given)
    folder = Run(COMP, 'other').folder
    assert not folder.exists() or json.loads((folder / 'status.json').read_text())['state'] == 'failed'
