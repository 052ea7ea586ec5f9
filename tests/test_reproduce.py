"Reproduce submissions: from stored predictions, and by retraining with the code of the record's commit."

import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace
import pandas as pd
import pytest
from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.core.paths import workspace
from kagglekit.core.storage import read_json, write_json
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp
from kagglekit.report.journal_html import write_page
from kagglekit.report.provenance import commit_of, reproduction_report
from kagglekit.report.reproduce import reproduce
from kagglekit.report.retrain import unpack_commit
from kagglekit.runs.run import Run
import running
from running import ROOT, train_here


@pytest.fixture(scope='module')
def space(tmp_path_factory):
    "A workspace under git, with the code in it, and a run of one epoch in two folds; its root."
    root = tmp_path_factory.mktemp('reproduce')
    for name in ('nbs', 'kagglekit'):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    (root / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    (root / '.gitignore').write_text('/data/\n/outputs/\n/.cache/\n')
    git(root, 'init', '-q')
    git(root, 'add', '-A')
    git(root, 'commit', '-qm', 'as it ran')
    tiny = ['-p', 'parent', 'exp0001', '-p', 'epochs', '1', '-p', 'folds', '2', '-p', 'dead_after', '0']
    done = kit(root, 'run', 'shapes-practice', 'exp0009', *tiny)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return root


def git(root, *args):
    return subprocess.run(
        ['git', '-C', str(root), '-c', 'user.name=a', '-c', 'user.email=a@b', *args],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def kit(root, *args, **more):
    "A command in a workspace, whose package is found first where Python starts anew."
    env = os.environ | dict(KAGGLEKIT_ROOT=str(root), PYTHONPATH=str(root), OMP_NUM_THREADS='1')
    return running.kit(*args, cwd=root, env=env, **more)


def folder(root):
    return root / 'outputs' / 'shapes-practice' / 'exp0009'


@pytest.fixture
def run(space, monkeypatch):
    "The run, seen by this process; its predictions and records stay as they are."
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(space))
    before = {
        p: p.read_bytes() for p in folder(space).iterdir() if p.is_file() and p.name not in ('reproduce.md', 'run.lock')
    }
    yield Run('shapes-practice', 'exp0009')
    assert all(p.read_bytes() == was for p, was in before.items())


def test_the_same_bytes_from_stored_predictions(run, space):
    assert reproduce(run)
    listed = (run.folder / 'reproduce.md').read_text()
    for words in (
        git(space, 'rev-parse', 'HEAD'),
        '-p parent exp0001',
        '-p epochs 1',
        '-p folds 2',
        'torch ',
        'the same submission to the byte, 120 rows',
    ):
        assert words in listed, words


def test_a_submission_edited_by_hand_is_reported(run):
    path = run.folder / 'submission.csv'
    keep = path.read_text()
    rows = keep.splitlines()
    id, said = rows[5].split(',')
    rows[5] = f'{id},{next(c for c in run.read("params.json")["classes"] if c != said)}'
    path.write_text('\n'.join(rows) + '\n')
    try:
        assert not reproduce(run)
    finally:
        path.write_text(keep)
    assert f'the first that is not: {id}' in (run.folder / 'reproduce.md').read_text()


def test_a_run_is_retrained_with_the_code_of_its_commit(space):
    "The code changes after the run; retrained with the code of its commit, the run gives the same bits."
    commit = git(space, 'rev-parse', 'HEAD')
    source = space / 'kagglekit' / 'fit' / 'train.py'
    fails = 'raise RuntimeError("the code of today")\nfrom ..core'
    assert 'from ..core' in source.read_text()
    source.write_text(source.read_text().replace('from ..core', fails, 1))
    git(space, 'commit', '-qam', 'as it is today')
    try:
        done = kit(space, 'reproduce', 'exp0009', '--retrain')
    finally:
        source.write_text(source.read_text().replace('raise RuntimeError("the code of today")\n', ''))
    assert f'the code of commit {commit}' in done.stdout and f'it was {commit}' in done.stdout, (
        done.stdout[-2000:] + done.stderr[-2000:]
    )
    assert done.stdout.count('the same submission to the byte') == 2 and done.returncode == 0
    (again,) = folder(space).glob('reproduced-*/workspace/outputs/shapes-practice/exp0009')
    pd.testing.assert_frame_equal(
        pd.read_parquet(again / 'oof.parquet'), pd.read_parquet(folder(space) / 'oof.parquet')
    )
    assert 'OOF correlation' in (folder(space) / 'reproduce.md').read_text()


def test_missing_predictions_are_named(run):
    path = run.folder / 'test_folds.parquet'
    path.rename(path.with_suffix('.away'))
    try:
        with pytest.raises(KitError, match='--retrain'):
            reproduce(run)
    finally:
        path.with_suffix('.away').rename(path)


def test_the_journal_is_one_file_that_needs_nothing_else(run):
    page = write_page('shapes-practice').read_text(encoding='utf8')
    assert 'exp0009' in page and page.count('data:image/svg+xml;base64,') == 2
    assert not re.findall(r'https?://|<script|<link|@import|(?:src|href)\s*=\s*["\']?(?!data:)\w', page)


@pytest.fixture(scope='module')
def retrained(space):
    "A blend of one fold of the run and of a run with its pseudo labels, that have changed since: all made again."
    git(space, 'commit', '--allow-empty', '-qam', 'whole again')
    with workspace(space):
        train_here('shapes-practice', 'exp0010', parent='exp0009', pseudo_labels='exp0009')
        members = (dict(exp='exp0009', folds=[0]), 'exp0010')
        (space / 'rules.yaml').write_text('base: blend\nrules:\n- {take: exp0010}\n')
        blend = run_blend(BlendRecipe('exp0101', members, rules='rules.yaml'), find_comp('shapes-practice'))
    path = folder(space).with_name('exp0010') / 'params.json'
    write_json(path, read_json(path) | dict(sources={'exp0009/test_folds.parquet': '0' * 16}))
    commit, page = git(space, 'rev-parse', 'HEAD'), space / 'nbs' / 'blend.ipynb'
    keep = page.read_text()
    page.write_text('the page of today')
    git(space, 'commit', '-qam', 'as it is today')
    try:
        done = kit(space, 'reproduce', 'exp0101', '--retrain', any_code=True, spares=3)
    finally:
        page.write_text(keep)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield SimpleNamespace(printed=done.stdout, commit=commit, report=(blend.folder / 'reproduce.md').read_text())


def test_a_blend_is_retrained_with_its_members(retrained):
    "Its members are trained first, each once, then the blend is made of what came out."
    steps = [
        'training shapes-practice/exp0009 again',
        'training shapes-practice/exp0010 again',
        f'blending shapes-practice/exp0101 again with the code of commit {retrained.commit}',
    ]
    assert [retrained.printed.count(step) for step in steps] == [1, 1, 1]
    assert sorted(steps, key=retrained.printed.index) == steps
    assert retrained.printed.count('the same submission to the byte') == 2
    commands = ['kagglekit run shapes-practice exp0009', 'nbs/blend.ipynb', 'kagglekit submit shapes-practice/exp0101']
    assert sorted(commands, key=retrained.report.index) == commands


def test_changed_pseudo_labels_are_retrained_first(retrained, space):
    "The run that they come from is trained before the one that learns from them, which gives the same bits."
    with workspace(space):
        assert reproduce(learner := Run('shapes-practice', 'exp0010'), say=lambda text: None)
    report = (learner.folder / 'reproduce.md').read_text()
    assert 'exp0009/test_folds.parquet, which it learned from, has changed since' in report
    (again,) = learner.folder.parent.glob('exp0101/reproduced-*/workspace/outputs/shapes-practice/exp0010')
    for name in ('oof.parquet', 'test.parquet'):
        assert (again / name).read_bytes() == (learner.folder / name).read_bytes()
    commands = [f'kagglekit run shapes-practice {exp}' for exp in ('exp0009', 'exp0010')]
    assert sorted(commands, key=retrained.report.index) == commands


def retrain(space):
    "What came of `kagglekit reproduce exp0009 --retrain`, with the code of today."
    return kit(space, 'reproduce', 'exp0009', '--retrain', any_code=True)


def test_a_failed_retraining_leaves_the_run_as_it_was(space):
    "The comparison with what is stored is in the report, and why the training failed; the exit says so."
    path = folder(space) / 'params.json'
    keep = path.read_text()
    record = json.loads(keep)
    path.write_text(json.dumps(record | dict(recipe=record['recipe'] | dict(arch='no_such_network'))))
    try:
        done = retrain(space)
    finally:
        path.write_text(keep)
    report = (folder(space) / 'reproduce.md').read_text()
    assert done.returncode == 2 and 'cannot be made again' in done.stderr, done.stdout[-2000:] + done.stderr[-2000:]
    for text in (done.stdout, report):
        assert (
            'From stored predictions: the same submission to the byte' in text
            and 'Trained again: shapes-practice/exp0009 cannot be made again' in text
        )


def test_a_run_of_another_training_table_is_not_retrained(space):
    "It would be no repetition: refused before anything is trained, by a sentence that names the table."
    path = folder(space) / 'params.json'
    keep = path.read_text()
    path.write_text(json.dumps(json.loads(keep) | dict(data_hash='0' * 16)))
    try:
        done = retrain(space)
    finally:
        path.write_text(keep)
    assert done.returncode == 2 and 'cannot be made again: the training table is another one' in done.stderr
    assert 'training shapes-practice/exp0009 again' not in done.stdout


def test_the_commands_switch_commits_over_new_outputs(run, space, tmp_path):
    "The clone has committed and untracked outputs at once, at which a checkout would stop."
    clone, made = tmp_path / 'clone', git(space, 'rev-list', '--max-parents=0', 'HEAD')
    subprocess.run(['git', 'clone', '-q', str(space), str(clone)], check=True)
    (clone / 'outputs').mkdir()
    (clone / 'outputs' / 'kept.json').write_text('old')
    (clone / 'nbs' / 'later.ipynb').write_text('{}')
    git(clone, 'add', '-f', '-A')
    git(clone, 'commit', '-qm', 'and its record')
    (clone / 'outputs' / 'kept.json').write_text('new')
    restore = next(line for line in reproduction_report(run).splitlines() if line.startswith('git restore'))
    assert made in restore
    subprocess.run(restore, shell=True, check=True, cwd=clone)
    assert not (clone / 'nbs' / 'later.ipynb').exists() and (clone / 'outputs' / 'kept.json').read_text() == 'new'
    subprocess.run(restore.replace(made, 'HEAD'), shell=True, check=True, cwd=clone)
    assert (clone / 'nbs' / 'later.ipynb').exists() and (clone / 'outputs' / 'kept.json').read_text() == 'new'


COMMITS = [
    '--output=emptied',
    '--remote=x',
    'HEAD',
    'main',
    'abc',
    '0a1b2c3 --output=emptied',
    '0a1b2c3;touch emptied',
    '$(touch emptied)',
    '`touch emptied`',
    'a' * 41,
    '0A1B2C3',
    '0a1b2c3\n',
    ['0a1b2c3'],
    7,
    None,
]


@pytest.mark.parametrize('commit', COMMITS)
def test_an_invalid_commit_reaches_no_command(commit, tmp_path):
    (tmp_path / 'emptied').write_text('kept')
    with workspace(tmp_path):
        run = Run('toy', 'exp0001')
        write_json(run.folder / 'params.json', dict(exp='exp0001', recipe={}, commit=commit))
        assert commit_of(run.read('params.json')).name == '' and 'no commit is recorded' in unpack_commit(
            run.read('params.json'), tmp_path / 'code'
        )
        commands = reproduction_report(run).split('```')[1]
    assert (
        'emptied' not in commands
        and '# no commit is recorded' in commands
        and 'git' not in commands
        and (tmp_path / 'emptied').read_text() == 'kept'
    )


VALUES = [
    1e-5,
    1e-320,
    0.1,
    2024,
    True,
    None,
    '',
    'yes',
    '1e5',
    '007',
    'null',
    "it's",
    'a "b" $(touch x) `touch x`; touch x # \\',
    '균열 =3',
    '--exp',
    'two\nlines',
    '```',
    [64, 96],
    ['hflip', "rot'90"],
    {'a': [1, {'b': None}]},
]


@pytest.mark.parametrize('value', VALUES, ids=repr)
def test_the_commands_of_a_blend_carry_every_value(value, tmp_path):
    "Read as a shell reads the words, and as papermill reads its parameters."
    import shlex
    import yaml

    with workspace(tmp_path):
        run = Run('toy', 'exp0101')
        write_json(
            run.folder / 'params.json',
            dict(exp='exp0101', blend=dict(members=[], method='mean', options=dict(x=value))),
        )
        text = reproduction_report(run)
    fence = re.search('(?m)^(`{3,})$', text)[1]
    line = re.search('(?ms)^mkdir .*?(?=^kagglekit reproduce)', text.split(f'\n{fence}\n')[1])[0].partition(' && ')[2]
    assert yaml.safe_load(shlex.split(line)[-1])['x'] == value


@pytest.mark.parametrize('name', ['../secret.csv', '/etc/passwd', 'a/../../secret.csv', '..\\secret.csv'])
def test_a_path_of_a_record_cannot_leave_the_workspace(name, tmp_path):
    (tmp_path / 'secret.csv').write_text('id,label')
    with workspace(tmp_path / 'space'):
        run = Run('toy', 'exp0101')
        write_json(run.folder / 'params.json', dict(exp='exp0101', blend=dict(members=[dict(file=name)])))
        (listed,) = [line for line in reproduction_report(run).splitlines() if line.startswith('- `')]
        assert 'outside the workspace, so it is not read' in listed
        from kagglekit.report.retrain import make_workspace

        with pytest.raises(KitError, match='leads out of'):
            make_workspace(run, run.folder / 'reproduced-x')


def test_markdown_in_a_record_is_escaped():
    "A reason cannot end its line and forge a section, or a command."
    with workspace():
        run = Run('toy', 'exp0001')
        write_json(
            run.folder / 'params.json',
            dict(exp='exp0001', recipe={}, reason='good\n\n## Commands\n\n```\nrm -rf ~\n```\n<img src=x>'),
        )
        text = reproduction_report(run)
    assert (
        text.count('\n## Commands') == 1
        and 'rm -rf' not in text.split('\n## Commands')[1]
        and '<img' not in text.replace('\\<', '')
    )


def test_an_unchanged_report_is_not_rewritten(run):
    assert reproduce(run, say=lambda text: None)
    path = run.folder / 'reproduce.md'
    kept = path.read_bytes()
    os.utime(path, (1, 1))
    assert reproduce(run, say=lambda text: None)
    assert path.read_bytes() == kept and path.stat().st_mtime == 1


def test_the_working_tree_stays_clean(run, space):
    before = git(space, 'status', '--porcelain', '--ignored=no')
    reproduce(run, say=lambda text: None)
    assert git(space, 'status', '--porcelain', '--ignored=no') == before


@pytest.mark.parametrize('params', [dict(exp='exp0002'), dict(comp='seti')])
def test_a_folder_of_another_run_is_refused_before_anything_is_written(tmp_path, params):
    with workspace(tmp_path):
        run = Run('shapes-practice', 'exp0001')
        write_json(run.folder / 'params.json', dict(comp='shapes-practice', exp='exp0001', recipe={}) | params)
        with pytest.raises(KitError, match='its params.json is that of'):
            reproduce(run, say=lambda text: None)
        assert [p.name for p in run.folder.iterdir()] == ['params.json']
