"Folds side by side, each in a process of its own: the bytes of a run in a row, whatever happens on the way."

import os
import shutil
import signal
import pandas as pd
import pytest
from kagglekit.cli import main
from kagglekit.cli.show import show_run, status_text
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.data.competition import load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.one_fold import train_fold
from kagglekit.launch.runner import check_run
from kagglekit.runs.claim import Busy, Clash, claim, claim_fold, release
from kagglekit.runs.queue import QueuedJob
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.results import read_fold
from kagglekit.runs.run import FoldRun, Run
from kagglekit.runs.setup import run_folds
from kagglekit.sweeps.plan import reserve
from running import kit, start, status, until, write_few_shapes

NAME, EXP = 'shapes-practice', 'tiny'
SMALL = dict(parent='exp0001', reason='two folds', folds=2, epochs=6)
FOLD_FILES = ('model.safetensors', 'oof.parquet', 'test.parquet')
RESULTS = ('oof.parquet', 'test.parquet', 'test_folds.parquet', 'submission.csv', 'leaderboard.json')
FILES = (*RESULTS[:-1], *(f'fold{k}/{name}' for k in (0, 1) for name in FOLD_FILES))


@pytest.fixture(scope='module')
def in_a_row(tmp_path_factory):
    "A workspace with a run whose folds were trained one after the other, in this process."
    load_pages()
    home = tmp_path_factory.mktemp('row')
    with workspace(home):
        write_few_shapes(tests=24)
        go()
    return home


@pytest.fixture
def home(in_a_row, tmp_path):
    "Another workspace, with the same data and nothing else."
    shutil.copytree(in_a_row / 'data', tmp_path / 'data')
    with workspace(tmp_path):
        yield tmp_path


def go(**changes):
    "Train the whole run, as the page does."
    comp, recipe = fit.load_experiment(dict(comp=NAME, exp=EXP) | SMALL | changes)
    return fit.train(recipe, comp, run_folds(recipe, comp))


def go_fold(k, **changes):
    "Train one fold, in this process."
    train_fold(NAME, EXP, k, **SMALL | changes)


def check_same(home, in_a_row):
    "The run is done, with the files and the bytes of the one in a row."
    mine, theirs = (place / 'outputs' / NAME / EXP for place in (home, in_a_row))
    assert Run(NAME, EXP).state() == 'done'
    assert [name for name in FILES if (mine / name).read_bytes() != (theirs / name).read_bytes()] == []
    later = {'papermill.txt', 'train.ipynb'}
    assert {p.name for p in mine.iterdir()} - later == {p.name for p in theirs.iterdir()}
    columns = ['fold', 'stage', 'epoch', 'train_loss', 'metric']
    tables = [pd.read_csv(folder / 'history.csv')[columns] for folder in (mine, theirs)]
    pd.testing.assert_frame_equal(*tables)


def interrupted_after(k, epochs, patch):
    "Train a fold, and press Ctrl-C after some epochs."

    def epoch(self, rows, old=fit.FoldProgress.epoch):
        old(self, rows)
        if len(rows) == epochs:
            raise KeyboardInterrupt

    with patch.context() as p:
        p.setattr(fit.FoldProgress, 'epoch', epoch)
        with pytest.raises(KeyboardInterrupt):
            go_fold(k)


def test_folds_apart_have_the_bytes_of_folds_in_a_row(home, in_a_row, monkeypatch):
    run = Run(NAME, EXP)
    go_fold(1)
    interrupted_after(0, 2, monkeypatch)
    assert status_text(NAME).splitlines()[1].split()[:3] == [str(run), 'interrupted', '1']
    assert '1 trained; stopped at: fold 0, epoch 1' in show_run(str(run)) and 'fold 0: KeyboardInterrupt' in show_run(
        EXP
    )
    go_fold(0)
    assert len(pd.read_csv(run.folder / 'apart/fold0/history.csv')) == 6
    assert (run.state(), '2 trained' in status_text(NAME)) == ('interrupted', True)
    go()
    check_same(home, in_a_row)
    assert 'resumed' in run.read('params.json') and 'fold 0 is trained' in (run.folder / 'log.txt').read_text()


def test_a_whole_run_trains_the_folds_that_nobody_finished(home, in_a_row, monkeypatch):
    interrupted_after(1, 3, monkeypatch)
    go()
    check_same(home, in_a_row)


def test_another_recipe_or_another_table_is_refused(home):
    go_fold(1, epochs=1)
    with pytest.raises(Clash, match='it ran with epochs 1, and now epochs 2'):
        go_fold(0, epochs=2)
    table = data_dir(NAME) / 'train.csv'
    pd.read_csv(table, dtype=str)[::-1].to_csv(table, index=False)
    with pytest.raises(Clash, match='has changed|have changed'):
        go_fold(0, epochs=1)
    assert [part.fold for part in Run(NAME, EXP).parts()] == [1]


def test_a_job_in_the_queue_does_not_stand_in_its_own_way(home, monkeypatch):
    run, recipe = Run(NAME, 'exp0001'), find_recipe(NAME, 'exp0001')
    queue = {'fold1': QueuedJob('7', 'RUNNING', 'kit1', 'None')}
    for name in ('run', 'claim'):
        monkeypatch.setattr(f'kagglekit.runs.{name}.queued_job', lambda folder: queue.get(folder.name))
    FoldRun(run, 1).log('what the job prints')
    check_run(NAME, 'exp0001', [], 1)
    release(claim_fold(NAME, recipe, 1))
    with pytest.raises(KitError, match=r'exp0001 is being run, fold 1 running on kit1 \(job 7\)'):
        check_run(NAME, 'exp0001', [])
    with pytest.raises(Busy):  # also on a disk whose locks the other node does not see
        claim(NAME, recipe)
    assert (run.state(), [part.fold for part in run.parts()]) == ('running', [1])


def test_a_dead_fold_is_named_and_is_trained_again_without_the_check(home, monkeypatch):
    run = Run(NAME, EXP)

    def dead(setup, progress):
        record = dict(seconds=1, images=1, peak_memory_mb=1, made_by=progress.run.read('params.json') and made)
        write_json(progress.run.fold_folder(progress.k) / 'fold.json', record | dict(dead='fold 0 learns nothing'))

    go_fold(1, epochs=1)
    made = read_fold(run, 1)['made_by']
    with monkeypatch.context() as patch:
        patch.setattr('kagglekit.fit.train.fit_fold', dead)
        go_fold(0, epochs=1)
    assert 'fold 0 learns nothing' in (FoldRun(run, 0).folder / 'log.txt').read_text()
    go_fold(0, epochs=1)
    assert read_fold(run, 0)['dead']  # finished, if not well
    go_fold(0, epochs=1, dead_after=0)
    assert 'dead' not in read_fold(run, 0)


SWEEP = ('sweep', NAME, '--ids', EXP, '--folds', 'apart', '--jobs', '2')


def test_a_kill_ctrl_c_and_a_race_for_the_cache(home, in_a_row):
    reserve(NAME, [find_recipe(NAME, 'exp0001').but(EXP, 'two folds', folds=2, epochs=6)])
    run = Run(NAME, EXP)
    first, second = (FoldRun(run, k) for k in (0, 1))
    sweep = start(*SWEEP)
    until((first.folder / 'history.csv').exists, sweep)
    with pytest.raises(KitError, match='tiny is being run, fold 0 by process'):
        check_run(NAME, EXP, [])
    assert run.state() == 'running' and 'fold 0, epoch ' in status_text(NAME)
    os.kill(status(first.folder)['pid'], signal.SIGKILL)
    assert sweep.wait() == 1
    out = sweep.communicate()[0]
    assert 'tiny fold 0 interrupted: ' in out and 'tiny fold 1 is trained' in out
    assert f'{run} interrupted: fold 0: interrupted' in out
    logs = ''.join((part.folder / 'log.txt').read_text() for part in (first, second))
    assert logs.count('decoding 60 of 60 files once') == logs.count('decoding 24 of 24 files once') == 1
    sweep = start(*SWEEP)
    until(lambda: status(first.folder).get('epoch', 0) >= 2, sweep)
    sweep.signal(signal.SIGINT)
    assert sweep.wait() == 130 and first.state() == 'interrupted'
    done = kit(*SWEEP, spares=3)
    assert done.returncode == 0, done.stdout + done.stderr
    check_same(home, in_a_row)


def decoded(folder):
    "The caches in a folder."
    return sorted(path.name.partition('-')[0] for path in folder.rglob('*.npy'))


def test_each_node_decodes_on_its_own_disk_and_the_one_that_joins_decodes_nothing(home, tmp_path, monkeypatch):
    (home / 'settings.ini').write_text(f'[{NAME}]\nscratch = $KIT_DISK\n')
    for k, node in enumerate(('one', 'two')):
        monkeypatch.setenv('KIT_DISK', str(tmp_path / node))
        go_fold(k, epochs=1)
        assert decoded(tmp_path / node / 'kagglekit-cache') == ['grey', 'grey']
    monkeypatch.setenv('KIT_DISK', str(tmp_path / 'three'))
    go(epochs=1)
    assert Run(NAME, EXP).state() == 'done'
    assert decoded(tmp_path / 'three') == decoded(home / '.cache') == []


@pytest.mark.parametrize('value, words', [('/proc/kit', 'cannot be written'), ('$NO_KIT_DISK', 'has no value')])
def test_a_scratch_disk_that_cannot_be_used_is_refused_before_anything_is_written(home, capsys, value, words):
    (home / 'settings.ini').write_text(f'[{NAME}]\nscratch = {value}\n')
    for more in ([], ['--fold', '0']):
        with pytest.raises(SystemExit) as end:
            main(['run', NAME, 'exp0001', *more])
        assert end.value.code == 2 and words in capsys.readouterr().err
    assert not Run(NAME, 'exp0001').folder.exists()


@pytest.mark.slow
def test_two_processes_may_share_a_fold_that_is_trained_apart(home):
    gpus = dict(gpus=2, epochs=1)
    for k in (0, 1):
        go_fold(k, **gpus)
    mine = {k: (Run(NAME, EXP).fold_folder(k) / 'model.safetensors').read_bytes() for k in (0, 1)}
    shutil.rmtree(home / 'outputs')
    go(**gpus)
    assert mine == {k: (Run(NAME, EXP).fold_folder(k) / 'model.safetensors').read_bytes() for k in (0, 1)}
