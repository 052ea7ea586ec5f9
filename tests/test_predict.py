"A finished run or blend on other rows than its own: any kind of target, any folder, any file that may be broken."

import json
import re
import shutil
import signal
import sys
import weakref
from functools import partial

import numpy as np
import pandas as pd
import pytest
from running import ROOT, python, write_shapes
from test_kinds import KINDS, made, train_it  # noqa: F401  made: a fixture
from test_kinds import labels, numbers
from test_oneclass import TINY, write_tiny
from test_table import AGE, PLACE, home, run_it  # noqa: F401  home: a fixture

from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.cli import main
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit.train import load_experiment, train
from kagglekit.predict import batches
from kagglekit.predict import predict as module
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.recipe import RECIPES, Recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds
from kagglekit.targets import top_rows

sys.path.append(str(ROOT / 'bench'))
from twelve import EDITS, walk  # noqa: E402  EDITS: what is corrected in the page that new writes

COMP = 'shapes-practice'
SLOW = pytest.mark.slow


def finished(comp, exp, **changes):
    "A run of the drawn shapes, or of another competition, in seconds."
    view, base = load_experiment(dict(comp=comp, exp='exp0001'))
    recipe = base.but(exp, 'quick', **dict(epochs=1, folds=2) | changes)
    train(recipe, view, run_folds(recipe, view))
    return Run(comp, exp)


@pytest.fixture(scope='module')
def shapes():
    "A workspace with two runs of the drawn shapes, and a blend of them."
    with workspace() as root:
        write_shapes()
        finished(COMP, 'a1', tta=('hflip',), ema=0.9)
        finished(COMP, 'a2', seed=1, infer_size=40)
        parts = ('a1', dict(exp='a2', folds=[1]))
        run_blend(BlendRecipe('b1', members=parts, method='stack', prior='classes'), find_comp(COMP))
        run_blend(BlendRecipe('b4', ('a1', 'a2'), 'stack_trees', dict(rounds=20)), find_comp(COMP))
        yield root


def ask(exp, out='out.csv', comp=COMP, **more):
    return Request(Run(comp, exp), out=out, **more)


def quiet(*args):
    "No lines of progress."


def own_bytes(run):
    return (run.folder / 'submission.csv').read_bytes()


def hidden(root, ids, copies=()):
    "The data as a site has them: these test rows under other names, and no train images."
    known, folder = data_dir(COMP), root / 'hidden'
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'images').mkdir(parents=True)
    names = {f'h{id}': id for id in ids} | dict(copies)
    for new, old in names.items():
        shutil.copy(known / f'images/{old}.png', folder / f'images/{new}.png')
    shutil.copy(known / 'train.csv', folder)
    table = pd.DataFrame(dict(id=list(names)))
    table.to_csv(folder / 'test.csv', index=False)
    table.assign(label='circle').to_csv(folder / 'sample_submission.csv', index=False)
    return folder


def test_ids():
    return pd.read_csv(data_dir(COMP) / 'test.csv', dtype=str).id.tolist()


test_ids.__test__ = False


# Its own rows


@pytest.mark.parametrize('exp', ['a2', 'b1', 'b4'])
def test_its_own_test_set_gives_its_own_bytes(shapes, tmp_path, exp):
    result = predict(ask(exp, tmp_path / 'out.csv'), quiet)
    assert result.path.read_bytes() == own_bytes(Run(COMP, exp))
    assert [p.name for p in tmp_path.iterdir()] == ['out.csv']
    predict(ask(exp, tmp_path / 'out.parquet'), quiet)
    stored = pd.read_parquet(Run(COMP, exp).folder / 'test.parquet')
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / 'out.parquet'), stored, check_exact=True)


QUICK_KINDS = (numbers, labels)
EVERY = [kind if kind in QUICK_KINDS else pytest.param(kind, marks=SLOW) for kind in KINDS]


@pytest.mark.parametrize('made', EVERY, indirect=True)
def test_every_kind_of_target(made, tmp_path):  # noqa: F811
    run = train_it(made)
    assert predict(ask('exp0001', tmp_path / 'out.csv', made.name), quiet).path.read_bytes() == own_bytes(run)
    if (run.folder / 'decision.json').exists() and made.decide in ('thresholds', 'cut_points'):
        (run.folder / 'decision.json').unlink()
        with pytest.raises(KitError, match='decision.json is not there, and .* were fitted'):
            predict(ask('exp0001', tmp_path / 'out.csv', made.name), quiet)


@pytest.mark.parametrize('made', [numbers], indirect=True)
def test_the_scale_of_numbers_is_that_of_the_run(made, tmp_path):  # noqa: F811
    "The train table of today may be another one; the network has learnt the numbers in the old unit."
    run = train_it(made)
    made.train['area'] *= 7
    assert predict(ask('exp0001', tmp_path / 'out.csv', made.name), quiet).path.read_bytes() == own_bytes(run)
    record = run.read('params.json')
    (run.folder / 'params.json').write_text(json.dumps({k: v for k, v in record.items() if k != 'fitted'}))
    with pytest.raises(KitError, match='put the table that it was trained on there'):
        predict(ask('exp0001', tmp_path / 'out.csv', made.name), quiet)


# Other rows


@pytest.mark.parametrize('exp', ['a1', 'b1'])
def test_other_ids_without_train_images(shapes, tmp_path, exp):
    "More rows than before, two equal images, and one row alone: each image has its own prediction."
    ids = test_ids()
    stored = pd.read_parquet(Run(COMP, exp).folder / 'test.parquet').set_index('id')
    for some, copies in ((ids[:3], {}), (ids[:1], {}), (ids[:1], dict(twin=ids[0])), (ids, dict(extra=ids[4]))):
        folder = hidden(shapes, some, copies)
        result = predict(ask(exp, tmp_path / 'out.csv', data=folder), quiet)
        submission = pd.read_csv(result.path, dtype=str)
        assert submission.id.tolist() == [*(f'h{id}' for id in some), *copies]
        expected = stored.loc[[*some, *copies.values()]].to_numpy()
        np.testing.assert_allclose(result.predictions.iloc[:, 1:].to_numpy(), expected, atol=1e-5)


def test_another_batch_size_changes_the_last_bits_alone(shapes, tmp_path):
    stored = pd.read_parquet(Run(COMP, 'a1').folder / 'test.parquet').iloc[:, 1:].to_numpy()
    for batch in (7, 500):
        result = predict(ask('a1', tmp_path / 'out.csv', batch=batch), quiet)
        np.testing.assert_allclose(result.predictions.iloc[:, 1:].to_numpy(), stored, atol=1e-5)


def test_a_broken_file_gets_the_mean_and_every_id_is_answered(shapes, tmp_path):
    ids = test_ids()[:5]
    folder = hidden(shapes, ids)
    (folder / f'images/h{ids[1]}.png').write_bytes(b'')
    (folder / f'images/h{ids[3]}.png').unlink()
    result = predict(ask('a1', tmp_path / 'out.csv', data=folder), quiet)
    p = result.predictions.iloc[:, 1:].to_numpy()
    np.testing.assert_allclose(p[[1, 3]], np.repeat(p[[0, 2, 4]].mean(0)[None], 2, 0), atol=1e-6)
    assert '2 of 5 files cannot be read' in str(result) and f'h{ids[3]}.png is not there' in str(result)
    assert len(pd.read_csv(result.path)) == 5
    with pytest.raises(KitError, match=f'h{ids[1]}.png is empty'):
        predict(ask('a1', tmp_path / 'out.csv', data=folder, broken='stop'), quiet)


def test_weights_parameters_and_the_page_are_enough(shapes, tmp_path):
    "Another machine, whose workspace has no data, no cache, and of the run no more than it needs."
    folder, old = hidden(shapes, test_ids()), Run(COMP, 'a1').folder
    with workspace() as root:
        new = root / 'outputs' / COMP / 'a1'
        for k in (0, 1):
            (new / f'fold{k}').mkdir(parents=True)
            shutil.copy(old / f'fold{k}/model.safetensors', new / f'fold{k}')
        shutil.copy(old / 'params.json', new)
        result = predict(ask('a1', tmp_path / 'out.csv', data=folder), quiet)
        assert sorted(p.name for p in root.iterdir()) == ['outputs']
    stored = pd.read_parquet(old / 'test.parquet')
    assert (result.predictions.iloc[:, 1:].to_numpy() == stored.iloc[:, 1:].to_numpy()).all()


@SLOW
@pytest.mark.parametrize('name', [AGE, PLACE])
def test_the_side_table_is_read_as_the_run_has_learnt_it(home, tmp_path, name):  # noqa: F811
    "A train table without some of its rows and categories changes nothing, for a network or for trees on top of it."
    run, comp = run_it(name), find_comp(name)
    grown = run_blend(BlendRecipe('b1', ('exp0001',), 'stack_trees', dict(table=True, rounds=40)), comp)
    assert own_bytes(grown) != own_bytes(run)
    for one in (run, grown):
        assert predict(ask(one.exp, tmp_path / 'out.csv', name), quiet).path.read_bytes() == own_bytes(one)
    folder = shutil.copytree(data_dir(name), tmp_path / 'data')
    table = pd.read_csv(folder / 'train.csv', dtype=str, keep_default_na=False)
    table[table.place != 'a'].to_csv(folder / 'train.csv', index=False)
    for one in (run, grown):
        again = predict(ask(one.exp, tmp_path / 'out.csv', name, data=folder), quiet)
        assert again.path.read_bytes() == own_bytes(one)


@SLOW
def test_many_classes(shapes, tmp_path, monkeypatch):
    "As if four classes were thousands: the best of each row are kept, also where a file cannot be read."
    monkeypatch.setattr(top_rows, 'MANY', 3)
    runs = [finished(COMP, exp, seed=seed) for exp, seed in (('m1', 0), ('m2', 1))]
    blend = run_blend(BlendRecipe('m3', members=('m1', dict(exp='m2', folds=[0]))), find_comp(COMP))
    for run in (runs[0], blend):
        assert predict(ask(run.exp, tmp_path / 'out.csv'), quiet).path.read_bytes() == own_bytes(run)
    folder = hidden(shapes, test_ids()[:4])
    (folder / f'images/h{test_ids()[2]}.png').unlink()
    result = predict(ask('m3', tmp_path / 'out.csv', data=folder), quiet)
    assert list(result.predictions) == ['id', 'best', 'p', 'rest'] and '1 of 4 files cannot be read' in str(result)


# Refused at once


def test_what_has_no_network_is_refused_by_name(shapes, tmp_path):
    comp = find_comp(COMP)
    theirs = shapes / 'theirs.csv'
    theirs.write_bytes(own_bytes(Run(COMP, 'a1')))
    run_blend(BlendRecipe('b2', members=('b1', dict(file='theirs.csv'))), comp)
    with pytest.raises(KitError, match='theirs is a file of predictions, theirs.csv'):
        predict(ask('b2', tmp_path / 'out.csv'), quiet)
    assert not list(tmp_path.iterdir())


def test_trees_that_are_lost_or_damaged_are_refused(shapes, tmp_path):
    path = Run(COMP, 'b4').folder / 'trees.safetensors'
    whole = path.read_bytes()
    foreign = whole[:-1] + bytes([whole[-1] ^ 1])
    cases = {
        whole[:-9]: 'is damaged',
        foreign: 'holds other trees than blend.json names',
        None: 'is not there; copy it',
    }
    try:
        for content, words in cases.items():
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(KitError, match=f'trees.safetensors {words}'):
                predict(ask('b4', tmp_path / 'out.csv'), quiet)
    finally:
        path.write_bytes(whole)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_missing_are_named(shapes, tmp_path):
    weights = Run(COMP, 'a2').fold_folder(1) / 'model.safetensors'
    kept = weights.rename(tmp_path / 'kept')
    try:
        with pytest.raises(KitError, match='1 of 2 networks have no weights here: .*a2/fold1/model.safetensors'):
            predict(ask('b1', tmp_path / 'out.csv'), quiet)
    finally:
        kept.rename(weights)


@pytest.mark.parametrize(
    'more, message',
    [
        (dict(data='nowhere'), 'nowhere is not there'),
        (dict(batch=0), 'batch'),
        (dict(broken='ignore'), 'broken'),
        (dict(precision='fp8'), 'precision'),
        (dict(out='out.txt'), 'is a submission, .csv, or a table'),
    ],
)
def test_a_mistake_is_told_before_anything_is_read(shapes, more, message):
    with pytest.raises(KitError, match=message):
        predict(ask('a1', **more), quiet)


def test_a_wrong_folder_and_other_classes_are_told(shapes, tmp_path):
    folder = hidden(shapes, test_ids()[:2])
    shutil.rmtree(folder / 'images')
    with pytest.raises(KitError, match='none of 2 files of the test rows is there'):
        predict(ask('a1', tmp_path / 'out.csv', data=folder), quiet)
    table = pd.read_csv(folder / 'train.csv', dtype=str)
    table[table.label != 'circle'].to_csv(folder / 'train.csv', index=False)
    with pytest.raises(KitError, match='trained on 4 classes, and the tables here name 3, such as circle'):
        predict(ask('a1', tmp_path / 'out.csv', data=folder), quiet)


# Killed


KILLED = """
import os, signal, sys
from kagglekit.predict import batches
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.run import Run

old = batches.Store.save


def save(self, job, start, done):
    old(self, job, start, done)
    if start == 64:
        os.kill(os.getpid(), signal.SIGKILL)


batches.Store.save = save
predict(Request(Run('shapes-practice', 'b1'), out=sys.argv[1], batch=32))
"""


def test_a_killed_process_resumes_to_the_same_bytes(shapes, tmp_path, monkeypatch):
    out = tmp_path / 'out.csv'
    dead = python('-c', KILLED, str(out))
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert len(list(tmp_path.glob('out.csv.unfinished/*.npz'))) == 3 and not out.exists()
    starts, save = [], batches.Store.save
    monkeypatch.setattr(
        batches.Store, 'save', lambda self, job, at, done: (starts.append((job, at)), save(self, job, at, done))
    )
    resumed = predict(ask('b1', out, batch=32), quiet).path.read_bytes()
    assert starts[0][1] == 96 and len(set(starts)) == len(starts)
    assert [p.name for p in tmp_path.iterdir()] == ['out.csv']
    assert predict(ask('b1', out, batch=32), quiet).path.read_bytes() == resumed


# Two at once, and too many networks for the memory


def test_a_second_process_for_the_same_file_is_refused(shapes, tmp_path, monkeypatch):
    "Another batch size is another prediction, which would delete the batches of the first."
    out, save, seen = tmp_path / 'out.csv', batches.Store.save, []

    def files(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def meanwhile(self, *args):
        save(self, *args)
        seen.append(files(self.folder))
        for batch in (None, 32):
            with pytest.raises(KitError, match='out.csv.unfinished/batches is held by another process; wait for it'):
                predict(ask('a2', out, batch=batch), quiet)
        assert files(self.folder) == seen[-1]

    monkeypatch.setattr(batches.Store, 'save', meanwhile)
    assert predict(ask('a2', out), quiet).path.read_bytes() == own_bytes(Run(COMP, 'a2'))
    assert len(seen) == 1 and [p.name for p in tmp_path.iterdir()] == ['out.csv']


def test_networks_that_do_not_fit_into_memory_are_taken_in_groups(shapes, tmp_path, monkeypatch):
    "The blend has two networks of one size and one of another; with little room each is alone in memory."
    make, networks, most = module.make_predictors, weakref.WeakSet(), []

    def counted(*args):
        predictors = make(*args)
        networks.update(predictor.learn.model for predictor in predictors.values())
        most.append(len(networks))
        return predictors

    monkeypatch.setattr(module, 'make_predictors', counted)
    words = '3 networks with .* of weights do not fit into memory together: they were taken in 3 groups'
    for room, most_at_once in ((1 << 60, 2), (1, 1)):
        monkeypatch.setattr(module, 'free_memory', partial(int, room))
        most.clear()
        result = predict(ask('b1', tmp_path / 'out.csv'), quiet)
        assert result.path.read_bytes() == own_bytes(Run(COMP, 'b1'))
        assert (max(most), len(most)) == (most_at_once, 3)
        assert bool(re.search(words, str(result))) == (room == 1)


# By command


def by_command(*args):
    "The exit status of a command line."
    with pytest.raises(SystemExit) as end:
        main(['predict', *map(str, args)])
    return end.value.code


def test_the_command_writes_and_says_where(shapes, tmp_path, capsys):
    assert not by_command(f'{COMP}/a1', '--out', tmp_path / 'out.csv')
    shown = capsys.readouterr().out
    assert 'out.csv: 120 rows in' in shown and 'left' in shown
    assert (tmp_path / 'out.csv').read_bytes() == own_bytes(Run(COMP, 'a1'))
    assert by_command(f'{COMP}/a1', '--data', tmp_path / 'nowhere') == 2
    assert 'is not there; --data is a folder in the layout of' in capsys.readouterr().err


# One object, and its votes


@pytest.fixture
def tiles(space):
    load_pages()
    write_tiny(data_dir('anomaly'))
    one = dict(train_all=True, single_object='tile', checkpoint='best', lr=2e-3, scheduler='flat')
    RECIPES['anomaly']['tiles'] = Recipe('tiles', reason='tiles alone', epochs=4, **one, **TINY)
    RECIPES['anomaly']['every'] = Recipe('every', folds=2, epochs=1, **TINY)
    for exp in ('tiles', 'every'):
        comp, recipe = load_experiment(dict(comp='anomaly', exp=exp))
        train(recipe, comp, run_folds(recipe, comp))
    yield find_comp('anomaly')
    for exp in ('tiles', 'every'):
        del RECIPES['anomaly'][exp]


RULE = '{base: blend, rules: [{take: tiles, where: {label_not: ["null"]}, name: tiles}]}'


def test_snapshots_vote_on_other_rows(tiles, tmp_path):
    members = ('every', dict(exp='every', folds=[0], name='half'), dict(votes='tiles'))
    run = run_blend(BlendRecipe('voted', members=members, rules=RULE), tiles)
    assert predict(ask('voted', tmp_path / 'out.csv', 'anomaly'), quiet).path.read_bytes() == own_bytes(run)
    with pytest.raises(KitError, match='states of tile alone, which is no submission'):
        predict(ask('tiles', tmp_path / 'out.csv', 'anomaly'), quiet)
    alone = predict(ask('tiles', tmp_path / 'out.parquet', 'anomaly'), quiet)
    stored = pd.read_parquet(Run('anomaly', 'tiles').folder / 'test.parquet')
    pd.testing.assert_frame_equal(alone.predictions, stored, check_exact=True)
    shutil.rmtree(Run('anomaly', 'tiles').folder / 'snapshots')
    with pytest.raises(KitError, match='tiles votes with snapshots whose weights were not kept'):
        predict(ask('voted', tmp_path / 'out.csv', 'anomaly'), quiet)


# Twelve competitions, as `kagglekit new` reads them


def without_train_images(name, folder):
    "A competition's data as a site has them."
    comp = find_comp(name)
    shutil.copytree(data_dir(name), folder)
    for file in set(comp.train.file) - set(comp.test.file):
        (folder / file).unlink()
        if not any((folder / file).parent.iterdir()):
            (folder / file).parent.rmdir()
    return folder


@SLOW
@pytest.mark.parametrize('name', list(EDITS))
def test_each_practice_competition_is_predicted_without_its_train_images(space, tmp_path, name):
    "DICOM, arrays, sound, parts of files, units, side tables, long forms, strings of labels, thousands of classes."
    try:
        comp = walk(name, epochs=1, folds=2).comp
        folder = without_train_images(comp, tmp_path / 'hidden')
        for exp in ('exp0011', 'exp0101'):
            result = predict(ask(exp, tmp_path / 'out.csv', comp, data=folder), quiet)
            assert result.path.read_bytes() == own_bytes(Run(comp, exp)), exp
    finally:
        for path in (space.parent.parent / 'nbs/competitions').glob('*.ipynb'):
            path.unlink()
        load_pages()
