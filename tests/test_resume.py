"Resume: finished parts need a matching record; kills, changed data, copied folders, damaged files, full disks."

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from kagglekit.runs import run as runs
from kagglekit.fit import fold_progress, train as fit
from kagglekit.training.augmentations import AUGMENTS, Augmentation
from kagglekit.cli.show import show_run, status_text
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.storage import read_json, write_json
from kagglekit.core.validation import KitError
from kagglekit.runs.marks import inherited_contamination
from kagglekit.runs.recipe import RECIPES, find_recipe
from kagglekit.runs.setup import open_setup, run_folds
from kagglekit.fit.train import load_experiment, train
from kagglekit.report.journal import journal
from kagglekit.report.journal_text import journal_text
from kagglekit.models.losses import LOSSES, Loss
from kagglekit.runs.run import Run, run_doubts, list_runs
from running import train_here, write_few_shapes

NAME, EXP = 'shapes-practice', 'tiny'
RESULTS = ('oof.parquet', 'test.parquet', 'fold0/model.safetensors', 'fold1/model.safetensors')


class Stop(KeyboardInterrupt):
    "Somebody presses Ctrl-C."


def recipe(**changes):
    base = find_recipe(NAME, 'exp0001').but(EXP, 'two folds, two epochs', folds=2, epochs=2)
    return replace(base, **changes)


def go(r=None):
    "Train, as the page does: the tables are read afresh."
    r, comp = r or recipe(), find_comp(NAME)
    return train(r, comp, run_folds(r, comp))


def go_until(fold, epoch, patch):
    "Train until an epoch of a fold is done, and be interrupted there."

    def epoch_done(self, rows, old=fit.FoldProgress.epoch):
        old(self, rows)
        if (self.k, len(rows)) == (fold, epoch):
            raise Stop

    with patch.context() as p:
        p.setattr(fit.FoldProgress, 'epoch', epoch_done)
        with pytest.raises(Stop):
            go()


@pytest.fixture(scope='module', autouse=True)
def no_hidden_answers():
    "The small competition is nobody's stand-in."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, 'STAND_INS', {})
        yield


@pytest.fixture(scope='module')
def made(tmp_path_factory, no_hidden_answers):
    "Two workspaces with the same data: an undisturbed run, and one interrupted in its second fold."
    load_pages()
    spaces = {name: tmp_path_factory.mktemp(name) for name in ('done', 'interrupted')}
    with workspace(spaces['done']):
        write_few_shapes()
        shutil.copytree(data_dir(NAME), spaces['interrupted'] / 'data' / NAME)
        go()
    with workspace(spaces['interrupted']), pytest.MonkeyPatch.context() as patch:
        go_until(1, 1, patch)
    return spaces


@pytest.fixture
def copy_of(made, tmp_path):
    "A function that opens a copy of one of the two workspaces."
    opened = []

    def _open(name):
        shutil.copytree(made[name], tmp_path / name)
        opened.append(workspace(tmp_path / name))
        opened[-1].__enter__()
        return Run(NAME, EXP)

    yield _open
    for space in opened:
        space.__exit__(None, None, None)


def same_as(run, space):  # the results, to the byte
    whole = space / 'outputs' / NAME / EXP
    return [name for name in RESULTS if (run.folder / name).read_bytes() != (whole / name).read_bytes()]


def refuses(words, patch, r=None):
    "The run is refused before an epoch is trained, and nothing of it is changed."
    run = Run(NAME, (r or recipe()).exp)
    content = lambda: {
        p: p.read_bytes() for p in run.folder.rglob('*') if p.is_file() and p.name not in ('log.txt', 'run.lock')
    }
    before = content()
    with patch.context() as p:
        p.setattr(fit, 'fit_fold', lambda *a: pytest.fail('a fold was trained'))
        with pytest.raises(KitError, match=words):
            go(r)
    assert content() == before


def test_an_interruption_keeps_fold_and_epoch_and_a_resume_gives_the_same_bytes(copy_of, made):
    run = copy_of('interrupted')
    status = run.read('status.json')
    assert (status['state'], status['fold'], status['epoch']) == ('interrupted', 1, 0)
    go()
    assert (
        not same_as(run, made['done'])
        and not list(run.folder.rglob('*.part'))
        and not list(run.folder.rglob('resume.pt'))
    )


def delete_params(run):
    (run.folder / 'params.json').unlink()


def new_picture(which, run):
    folder = data_dir(NAME)
    path = folder / 'images' / f'{pd.read_csv(folder / f"{which}.csv", dtype=str).id[3]}.png'
    stat = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # time is not what tells it


def edit_table(name, change, run):
    path = data_dir(NAME) / name
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def reorder_test(run):
    edit_table('test.csv', lambda t: t[::-1], run)


def shorten_test(run):
    for name in ('test.csv', 'sample_submission.csv'):
        edit_table(name, lambda t: t[:-1], run)


def relabel(run):
    edit_table(
        'train.csv',
        lambda t: t.assign(label=t.label.where(t.index != 5, t.label.iloc[0 if t.label[0] != t.label[5] else 1])),
        run,
    )


@pytest.mark.parametrize(
    'spoil, changes, words',
    [
        (delete_params, dict(lr=1e-2), 'it ran with lr 0.005, and now lr 0.01'),
        (delete_params, dict(seed=1), 'it ran with seed 0'),
        (lambda run: None, dict(bs=8), 'it ran with bs 16, and now bs 8'),
        (lambda run: new_picture('train', run), {}, 'content of the image files has changed'),
        (lambda run: new_picture('test', run), {}, 'content of the image files has changed'),
        (reorder_test, {}, 'test table has changed'),
        (shorten_test, {}, 'test table has changed'),
        (relabel, {}, '(training table|folds) ha(s|ve) changed'),
    ],
    ids=[
        'deleted, other lr',
        'deleted, other seed',
        'other bs',
        'train picture',
        'test picture',
        'test order',
        'test rows',
        'label',
    ],
)
@pytest.mark.parametrize('state', ['interrupted', 'done'])
def test_a_run_with_other_inputs_is_refused_before_the_first_epoch(copy_of, monkeypatch, state, spoil, changes, words):
    spoil(copy_of(state))
    refuses(words, monkeypatch, recipe(**changes))


def test_a_resume_state_knows_its_recipe(copy_of, monkeypatch):
    run = copy_of('interrupted')
    shutil.rmtree(run.folder / 'fold0')  # as if it had been interrupted in its first fold
    delete_params(run)
    refuses('in fold 1, it ran with lr 0.005', monkeypatch, recipe(lr=1e-2))


@pytest.mark.parametrize('spoil', [lambda run: None, delete_params], ids=['whole', 'without params.json'])
def test_a_copied_folder_is_no_run_of_its_own(copy_of, monkeypatch, spoil):
    run = copy_of('interrupted')
    spoil(run)
    shutil.copytree(run.folder, run.folder.with_name('other'))
    refuses('copied folder is no run of its own', monkeypatch, recipe(exp='other'))


def cut(name, run):
    path = run.folder / name
    path.write_bytes(path.read_bytes()[:-40])


def flip(name, run):  # as long as before
    path = run.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_fingerprints(run):  # as an earlier version left it
    for path in run.folder.glob('fold*/fold.json'):
        write_json(path, {k: v for k, v in read_json(path).items() if k not in ('made_by', 'files')})
    path = run.folder / 'fold1' / 'resume.pt'
    state = torch.load(path, weights_only=True)
    torch.save({k: v for k, v in state.items() if k not in ('made_by', 'noise')}, path)


@pytest.mark.parametrize(
    'spoil, said',
    [
        (lambda run: cut('fold0/model.safetensors', run), 'fold 0 is trained again: model.safetensors has'),
        (
            lambda run: flip('fold0/model.safetensors', run),
            'fold 0 is trained again: model.safetensors has other content',
        ),
        (lambda run: cut('fold0/oof.parquet', run), 'fold 0 is trained again: oof.parquet has'),
        (
            lambda run: (run.folder / 'fold0' / 'test.parquet').unlink(),
            'fold 0 is trained again: test.parquet is not there',
        ),
        (lambda run: write_json(run.folder / 'fold0' / 'fold.json', {}), 'fold 0 is trained again'),
        (lambda run: (run.folder / 'fold0' / 'fold.json').write_text('[1'), 'fold 0 is trained again'),
        (
            lambda run: write_json(
                run.folder / 'fold0' / 'fold.json', run.read('fold0/fold.json') | dict(files={'oof.parquet': 7})
            ),
            'oof.parquet has no record',
        ),
        (
            lambda run: shutil.copytree(run.folder / 'fold0', run.folder / 'fold2'),
            'fold 2 is trained again: its files are those of fold 0',
        ),
        (without_fingerprints, 'fold 1 starts afresh'),
    ],
    ids=[
        'model cut',
        'model changed',
        'oof cut',
        'test lost',
        'fold.json empty',
        'fold.json cut',
        'no record of a file',
        'copied fold',
        'earlier version',
    ],
)
def test_an_untrusted_fold_is_retrained(copy_of, made, capsys, spoil, said):
    run = copy_of('interrupted')
    spoil(run)
    go()
    assert said in capsys.readouterr().out and not same_as(run, made['done'])


@pytest.mark.parametrize(
    'name, words',
    [
        ('fold1/model.safetensors', 'is done, but fold1/model.safetensors has'),
        ('oof.parquet', 'is done, but oof.parquet has'),
    ],
)
def test_a_done_run_with_a_truncated_file_is_refused_until_it_is_removed(copy_of, monkeypatch, made, name, words):
    run = copy_of('done')
    cut(name, run)
    refuses(words, monkeypatch)
    for part in ('oof.parquet', 'test.parquet'):
        (run.folder / part).unlink()  # as the message says
    shutil.rmtree(run.folder / 'fold1')
    go()
    assert not same_as(run, made['done'])


def test_a_done_run_gets_its_record_back_from_its_folds(copy_of):
    run = copy_of('done')
    before = run.read('params.json')
    delete_params(run)
    go()
    after = run.read('params.json')
    assert {k: after[k] for k in before if k != 'made'} == {k: before[k] for k in before if k != 'made'}


def test_a_done_run_of_an_earlier_version_stays_done(copy_of, capsys):
    run = copy_of('done')
    write_json(
        run.folder / 'params.json',
        {k: v for k, v in run.read('params.json').items() if k not in ('test_hash', 'pictures')},
    )
    write_json(run.folder / 'score.json', {k: v for k, v in run.read('score.json').items() if k != 'files'})
    for path in run.folder.glob('fold*/fold.json'):
        write_json(path, {k: v for k, v in read_json(path).items() if k not in ('made_by', 'files')})
    go()
    assert 'is done' in capsys.readouterr().out


@pytest.mark.parametrize(
    'name, content, words',
    [
        ('fold1/resume.pt', b'PK half a file', 'resume.pt cannot be read'),
        (
            'fold0/fold.json',
            b'{"seconds": 1, "images": 1, "peak_memory_mb": 1, "made_by": {"recipe": null}}',
            'its record holds no recipe',
        ),
        ('history.csv', b'', 'history.csv cannot be read'),
        ('history.csv', b'fold\n0\n', 'history.csv has no column stage, epoch'),
        ('params.json', b'[]', 'holds a list where an object belongs'),
        ('status.json', b'{"state": "run', 'status.json is not JSON'),
        ('score.json', b'[1, 2]', 'holds a list where an object belongs'),
    ],
)
def test_a_damaged_file_of_the_run_is_named(copy_of, name, content, words):
    run = copy_of('interrupted')
    (run.folder / name).write_bytes(content)
    with pytest.raises(KitError, match=words):
        go()


def test_a_flipped_bit_of_a_resume_state_is_noticed(copy_of):
    run = copy_of('interrupted')
    flip('fold1/resume.pt', run)
    with pytest.raises(KitError, match='resume.pt cannot be read.*delete it, and the fold starts afresh'):
        go()


def interrupt_with_best(patch):
    "A fold that keeps its two best epochs, interrupted after all of its epochs; one of the files with their weights."

    def finish(*args):
        raise Stop

    with patch.context() as p:
        p.setattr(fit, 'predict_shared', finish)
        with pytest.raises(Stop):
            go(recipe(checkpoint='soup(2)'))
    one, other = (Run(NAME, EXP).folder / 'fold0').glob('best*.safetensors')
    return max(one, other)


def test_changed_or_missing_best_weights_are_not_used(made, tmp_path, monkeypatch, capsys):
    found = {}
    for name, spoil in [
        ('changed', lambda kept: flip(kept, Run(NAME, EXP))),
        ('lost', Path.unlink),
        ('whole', lambda kept: None),
    ]:
        shutil.copytree(made['done'] / 'data', tmp_path / name / 'data')
        with workspace(tmp_path / name):
            spoil(interrupt_with_best(monkeypatch))
            go(recipe(checkpoint='soup(2)'))
            found[name] = (Run(NAME, EXP).folder / 'oof.parquet').read_bytes()
    assert found['changed'] == found['lost'] == found['whole']
    assert capsys.readouterr().out.count('fold 0 starts afresh: best') == 2


def test_a_damaged_folder_affects_no_other_run(copy_of):
    run = copy_of('done')
    shutil.copytree(run.folder, run.folder.with_name('tiny copy'))
    for exp, name, content in [('b1', 'params.json', '[]'), ('b2', 'status.json', '{'), ('b3', 'score.json', '3')]:
        shutil.copytree(run.folder, run.folder.with_name(exp))
        (run.folder.with_name(exp) / name).write_text(content)
    (run.folder.parent / 'stray.txt').touch()
    found = {r.exp: r.state() for r in list_runs()}
    assert found == {'tiny': 'done', 'tiny copy': 'broken', 'b1': 'broken', 'b2': 'broken', 'b3': 'broken'}
    assert runs.find_run('tiny').exp == 'tiny' and 'cannot be read' in inherited_contamination(NAME, ['b1'])


@pytest.mark.parametrize('where', ['save_weights', 'resume.pt'])
def test_a_full_disk_is_reported_and_the_same_command_resumes(copy_of, made, monkeypatch, where):
    run = copy_of('interrupted')
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def _limited(f):
        def _call(*a, **kw):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
            try:
                return f(*a, **kw)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)

        return _call

    module, name = (fit, 'save_weights') if where == 'save_weights' else (torch, 'save')
    try:
        with monkeypatch.context() as p:
            p.setattr(module, name, _limited(getattr(module, name)))
            with pytest.raises(KitError, match='the disk is full'):
                go()
    finally:
        signal.signal(signal.SIGXFSZ, handler)
    assert run.read('status.json')['state'] == 'failed' and not list(run.folder.rglob('*.part'))
    go()
    assert not same_as(run, made['done'])


def test_weights_follow_the_umask(copy_of):
    folder = copy_of('done').folder / 'fold0'
    umask = os.umask(0)
    os.umask(umask)
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o666 & ~umask}


def test_a_failure_while_reading_or_decoding_is_in_the_log(copy_of, monkeypatch):
    run = copy_of('interrupted')
    shutil.rmtree(run.folder)
    monkeypatch.setitem(RECIPES[NAME], EXP, recipe())
    table = data_dir(NAME) / 'train.csv'
    rows = table.read_bytes()
    table.write_bytes(b'')
    with pytest.raises(KitError):
        load_experiment(dict(comp=NAME, exp=EXP))
    status = run.read('status.json')
    assert (
        (status['state'], status['doing']) == ('failed', 'reading') and 'train.csv' in status['error'] and run.exists()
    )
    table.write_bytes(rows)
    next((data_dir(NAME) / 'images').glob('*.png')).write_bytes(b'no picture')
    comp, r = load_experiment(dict(comp=NAME, exp=EXP))
    assert run.read('status.json')['state'] == 'running'
    with pytest.raises(KitError):
        open_setup(r, comp, run_folds(r, comp), lambda line: None)
    assert run.state() == 'failed'


def test_decoding_reports_percent(copy_of, monkeypatch):
    run, seen = copy_of('interrupted'), []
    shutil.rmtree(run.folder)
    monkeypatch.setitem(RECIPES[NAME], EXP, recipe())
    comp, r = load_experiment(dict(comp=NAME, exp=EXP))
    monkeypatch.setattr(
        'kagglekit.runs.setup.open_caches',
        lambda folder, wanted, inputs, say, **more: [
            say('decoding 37 %: 3 of 8 files'),
            seen.append(run.read('status.json')['doing']),
        ],
    )
    open_setup(r, comp, run_folds(r, comp))
    assert seen == ['decoding 37 %']


def tilted(z, t):
    "Cross entropy, and half of it."
    return -(t * z.log_softmax(1)).sum(1) * 1.5


def steeper(z, t):
    return -(t * z.log_softmax(1)).sum(1) * 2.5


def tilted_again(z, t):
    "The same in other words."  # and with a comment
    return -(t * z.log_softmax(1)).sum(1) * 1.5


def fainter(x, y, u, amount):
    return x * 0.9, y


def darker(x, y, u, amount):
    return x * 0.5, y


def set_page(patch, f, g):  # a loss and an augmentation, as a competition's page defines them
    patch.setitem(LOSSES, 'own', Loss('own', f))
    patch.setitem(AUGMENTS, 'own', Augmentation('own', 'kept', 0, g, between=None))


def test_the_code_of_a_page_is_a_part_of_what_made_a_fold(made, tmp_path, monkeypatch):
    shutil.copytree(made['done'] / 'data', tmp_path / 'data')
    set_page(monkeypatch, tilted, fainter)
    own = recipe(loss='own', augment=('own',), epochs=1)

    def finish(*args):
        raise Stop

    with workspace(tmp_path):
        with monkeypatch.context() as p:
            p.setattr(fit, 'predict_shared', finish)
            with pytest.raises(Stop):
                go(own)
        set_page(monkeypatch, steeper, fainter)
        refuses('the code of the loss own has changed since', monkeypatch, own)
        set_page(monkeypatch, tilted, darker)
        refuses('the code of the augmentation own has changed since', monkeypatch, own)
        set_page(monkeypatch, tilted_again, fainter)
        go(own)
        run = Run(NAME, EXP)
        assert len(run.read('params.json')['code']) == 2 and run.state() == 'done'


def test_only_code_of_pages_is_recorded(copy_of):
    assert 'code' not in copy_of('done').read('params.json')


@pytest.mark.parametrize(
    'spoil, words',
    [
        (lambda path: path.unlink(), 'is not there'),
        (lambda path: path.write_bytes(b''), 'has 0 bytes instead of'),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), 'bytes instead of'),
    ],
    ids=['lost', 'empty', 'cut'],
)
def test_a_submission_that_was_lost_or_cut_is_named_and_written_anew(copy_of, capsys, spoil, words):
    run = copy_of('done')
    path = run.folder / 'submission.csv'
    whole = path.read_bytes()
    spoil(path)
    for text in (show_run(str(run)), status_text(NAME), journal_text(journal(NAME), 999)):
        assert words in text
    go()
    assert 'was written anew from test.parquet' in capsys.readouterr().out
    assert path.read_bytes() == whole and not run_doubts(run)


def test_a_submission_that_somebody_edited_is_left_alone(copy_of, capsys):
    run = copy_of('done')
    path = run.folder / 'submission.csv'
    path.write_text('mine\n')
    go()
    assert (
        'holds other answers than test.parquet; delete it' in capsys.readouterr().out and path.read_text() == 'mine\n'
    )
    (run.folder / 'test.parquet').unlink()
    path.unlink()
    go()
    assert 'neither is test.parquet' in capsys.readouterr().out


def test_a_score_that_somebody_edited_is_marked(copy_of):
    run = copy_of('done')
    texts = lambda: [show_run(str(run)), status_text(NAME), journal_text(journal(NAME))]
    assert not any('edited' in text for text in texts())
    write_json(run.folder / 'score.json', run.read('score.json') | dict(mean=0.99))
    assert all('score.json was edited by hand' in ' '.join(text.split()) for text in texts())


HOLDERS = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what nohup starts ignores it
from kagglekit.runs.claim import claim
from kagglekit.runs.recipe import Recipe
for exp in sys.argv[1:]:
    if os.fork(): continue
    run = claim('shapes-practice', Recipe(exp))
    run.set_status('running', doing='reading', fold=1, epoch=2)
    (run.folder/'.oof.parquet.12345678.part').touch()
    print('held', flush=True)
    time.sleep(120)
time.sleep(120)
"""


def test_a_kill_by_any_signal_leaves_a_true_status_within_seconds(tmp_path):
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL]
    with workspace(tmp_path):
        parent = subprocess.Popen(
            [sys.executable, '-c', HOLDERS, *(s.name.lower() for s in signals)], stdout=subprocess.PIPE, text=True
        )
        try:
            for _ in signals:
                assert parent.stdout.readline() == 'held\n'
            held = [Run(NAME, s.name.lower()) for s in signals]
            assert [run.state() for run in held] == ['running'] * 4
            for run, s in zip(held, signals):
                os.kill(run.read('status.json')['pid'], s)  # the parent does not collect them
            end = time.time() + 5
            while {run.state() for run in held} != {'interrupted'} and time.time() < end:
                time.sleep(0.1)
            assert [run.state() for run in held] == ['interrupted'] * 4
            assert [run.read('status.json')['epoch'] for run in held] == [2] * 4
        finally:
            parent.kill()


@pytest.mark.parametrize('epochs', [1, 2])
def test_a_kill_between_the_state_of_an_epoch_and_its_row_loses_no_row(tmp_path, monkeypatch, epochs):
    "The resume state of the last epoch is on disk, and the process is killed before history.csv has its row."
    given = dict(comp=NAME, exp='exp0009', parent='exp0001', folds=2, epochs=2)

    def killed(run, k, rows, write=fit.write_history):
        if len(rows) == epochs:
            raise KeyboardInterrupt
        write(run, k, rows)

    with workspace(tmp_path):
        write_few_shapes()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            for module in (fit, fold_progress):
                patch.setattr(module, 'write_history', killed)
            train_here(**given)
        train_here(**given)
        history = pd.read_csv(Run(NAME, 'exp0009').folder / 'history.csv')
    assert list(zip(history.fold, history.epoch)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
