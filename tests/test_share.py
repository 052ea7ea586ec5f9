"Runs that go from one workspace to another, and files that should not be trusted."

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from kagglekit.blend.blend_run import read_table_of, recorded_blend, run_blend
from kagglekit.blend.diagnostics import rules_table
from kagglekit.blend.example_runs import example_of, example_run_of
from kagglekit.blend.members import read_member
from kagglekit.blend.recipe import blend_recipe, recipe_rules
from kagglekit.blend.rules import Rule
from kagglekit.blend.trees import fitted_blend
from kagglekit.cli import main
from kagglekit.cli.show import show_run, status_text
from kagglekit.core.storage import hash_file, write_json
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition, find_comp
from kagglekit.data.folds import make_folds
from kagglekit.handin.fitting import folds_of
from kagglekit.handin.receive import receive, shared_comp
from kagglekit.handin.share import share
from kagglekit.practice.standins import write_practice
from kagglekit.report.compare import compare_text
from kagglekit.report.journal import journal
from kagglekit.report.journal_html import write_page
from kagglekit.report.provenance import reproduction_report
from kagglekit.runs.decision import decide_run
from kagglekit.runs.form import write_submission
from kagglekit.runs.identity import data_hashes
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.results import finish_run, save_fold, write_history
from kagglekit.runs.run import Run, list_runs
from running import python

COMP = 'shapes-practice'
SECRET = 'planted0token1planted2token3'
INI = (Path(__file__).parent.parent / 'settings.ini').read_text()


def enter(monkeypatch, folder):
    "Move into the workspace of one person."
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(folder))
    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    return folder


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "The data of the competition, drawn once."
    folder = tmp_path_factory.mktemp('drawn')
    (folder / 'settings.ini').write_text(INI)
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        write_practice(COMP)
    return folder / 'data'


@pytest.fixture
def people(tmp_path, drawn, monkeypatch):
    "The workspaces of kim and lee, with the same data; kim's first."
    for name in ('lee', 'kim'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'settings.ini').write_text(INI)
        (folder / 'data').symlink_to(drawn)
        enter(monkeypatch, folder)
    return tmp_path


def predicted(codes, k, seed):
    "(n, k) probabilities that are often right."
    g = np.random.default_rng(seed)
    scores = g.normal(size=(len(codes), k))
    scores[np.arange(len(codes)), codes] += 1
    return (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)


def finished(exp='exp0012', seed=0, weights=False, **fields):
    "A run as a training leaves it, but for its predictions, which are invented."
    comp, recipe = find_comp(COMP), Recipe(exp=exp, reason='a baseline', **fields)
    run, folds, k = Run(COMP, exp), make_folds(comp, 3), len(comp.outputs)
    record = dict(comp=COMP, exp=exp, parent='exp0002', diff=dict(lr=0.1), reason='a baseline', commit='c' * 40)
    record |= dict(recipe=recipe.params(), versions=dict(torch='2.14'))
    write_json(run.folder / 'params.json', record | data_hashes(recipe, comp, folds))
    for fold in range(3):
        valid = comp.train[(folds.fold == fold).to_numpy()]
        probs = predicted(valid.target, k, [seed, fold]), predicted(np.zeros(len(comp.test), int), k, [seed, 9, fold])
        save_fold(run, fold, comp, valid.id, probs, seconds=1.0, images=10)
        history = dict(fold=fold, stage=0, epoch=0, train_loss=1.0, valid_loss=1.0, metric=0.5, lr=0.1, seconds=1.0)
        write_history(run, fold, [history])
        if weights:
            from safetensors.numpy import save_file

            save_file(dict(w=np.full(3, fold)), run.fold_folder(fold) / 'model.safetensors')
    finish_run(run, comp, folds)
    write_submission(run, comp)
    run.set_status('done')
    return run


def sent(people, monkeypatch, *runs, **how):
    "A file from kim; afterwards we are at lee's."
    enter(monkeypatch, people / 'kim')
    runs = runs or (finished(),)
    path = share(
        runs, find_comp(COMP), people / f'{len(list(people.glob("*.zip")))}.zip', 'kim', say=lambda line: None, **how
    )
    enter(monkeypatch, people / 'lee')
    return path


def tree(folder):
    "Every file and its content, but for locks."
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file() and p.suffix != '.lock'
    }


def test_a_received_run_is_blended_compared_and_listed_at_once(people, monkeypatch):
    monkeypatch.setenv('KAGGLE_KEY', SECRET)
    enter(monkeypatch, people / 'kim')
    run = finished(weights=True)
    run.note(f'<script>alert(1)</script> 좋다, from {people}/kim/votes.csv and /mnt/kim/x.csv with {SECRET}')
    run.set_leaderboard(public=0.75)
    path = sent(people, monkeypatch, run)
    with zipfile.ZipFile(path) as archive:
        names, content = archive.namelist(), b''.join(map(archive.read, archive.namelist()))
    assert not [word for word in (SECRET, str(people), '/mnt/kim', os.uname().nodename) if word.encode() in content]
    assert not [n for n in names if n.endswith(('.safetensors', '.ipynb', '.txt', 'status.json'))]
    assert len(content) < 1_000_000
    own, said = finished(seed=1), []
    (theirs,) = receive(path, find_comp(shared_comp(path)), say=said.append)
    assert said == [f'{COMP}/kim-exp0012: received from kim']  # and no word of other folds
    params = theirs.read('params.json')
    assert params['received']['sender'] == 'kim' and params['received']['exp'] == 'exp0012'
    assert (params['exp'], params['parent']) == ('kim-exp0012', 'kim-exp0002')
    for name in ('oof.parquet', 'test.parquet', 'test_folds.parquet', 'score.json', 'submission.csv', 'history.csv'):
        assert hash_file(theirs.folder / name) == hash_file(run.folder / name), name
    assert 'from kim' in status_text(COMP) and 'from kim' in show_run('kim-exp0012')
    assert 'error' not in show_run('kim-exp0012')
    row = journal(COMP).set_index('exp').loc['kim-exp0012']
    assert row.state == 'done' and row.public == 0.75 and not row.problem and '좋다' in row.note
    assert '<script>alert' not in Path(write_page(COMP)).read_text()
    assert 'kim-exp0012' in compare_text(own, theirs)
    comp = find_comp(COMP)
    blend = run_blend(blend_recipe(dict(exp='exp0101', members=['exp0012', 'kim-exp0012'])), comp)
    assert blend.read('score.json')['oof'] > min(own.read('score.json')['oof'], theirs.read('score.json')['oof'])
    second = sent(people, monkeypatch, run, weights=True)
    with pytest.raises(KitError, match='fold0/model.safetensors is not there now; move kim-exp0012 away'):
        receive(second, comp)
    receive(second, comp, 'kim2', say=said.append)
    receive(path, comp, 'kim2', say=said.append)
    assert said[-1] == f'{COMP}/kim2-exp0012 is here already'  # with its weights, though this file has none
    assert (Run(COMP, 'kim2-exp0012').fold_folder(2) / 'model.safetensors').is_file()
    # lee's blend goes back to kim, whose own run is a member
    enter(monkeypatch, people / 'lee')
    asked = dict(exp='exp0102', members=['exp0012', 'kim-exp0012'], method='stack_trees', rounds=10)
    grown = run_blend(blend_recipe(asked), comp)
    with_trees = share([grown], comp, people / 'trees.zip', 'lee', say=said.append)
    back = share([blend], comp, people / 'back.zip', 'lee', say=said.append)
    assert 'members are not in the file: exp0012, kim-exp0012' in said[-3]
    enter(monkeypatch, people / 'kim')
    (third,) = receive(back, find_comp(COMP))
    members = [m['exp'] for m in third.read('blend.json')['members']]
    assert members == ['lee-exp0012', 'kim-exp0012'] and read_member('lee-exp0101', comp).oof is not None
    (fourth,) = receive(with_trees, find_comp(COMP))
    assert fitted_blend(fourth)['params']['trees'].hash() == grown.read('blend.json')['params']['trees']


def test_twice_changes_nothing_and_nothing_is_overwritten(people, monkeypatch):
    path, comp, said = sent(people, monkeypatch), find_comp(COMP), []
    (run,) = receive(path, comp)
    run.note('kim says that it is the best')
    before = tree(people / 'lee')
    receive(path, comp, say=said.append)
    assert tree(people / 'lee') == before and said == [f'{COMP}/kim-exp0012 is here already']
    other = sent(people, monkeypatch, *_runs(people, monkeypatch, ('exp0011', 2), ('exp0012', 3)))
    with pytest.raises(KitError, match='another .*kim-exp0012 here, from kim. Keep both: .*--as kim2'):
        receive(other, comp)
    assert tree(people / 'lee') == before


RULES = """
base: blend
rules: [{take: second blend, where: {confidence_below: 0.4}, name: unsure}]
"""


@pytest.mark.parametrize('in_file', [True, False])
def test_a_blend_with_rules_is_shown_and_blended_at_the_other_side(people, monkeypatch, in_file):
    "A file of rules stays at kim's, where it may be gone by now; what it said travels in the records."
    runs = _runs(people, monkeypatch, ('exp0012', 0), ('exp0013', 1))
    comp, rules = find_comp(COMP), people / 'kim' / 'rules.yaml'
    rules.write_text(RULES)
    asked = dict(members=['exp0012', 'exp0013'], rules='rules.yaml' if in_file else RULES)
    blend = run_blend(blend_recipe(dict(exp='exp0101', **asked)), comp)
    rules.unlink()
    (theirs,) = receive(sent(people, monkeypatch, blend), comp)
    effects = rules_table(theirs)
    assert effects.rule.tolist() == ['unsure'] and effects.rows[0] > 0
    assert theirs.read('blend.json')['rules'] == blend.read('blend.json')['rules']
    recipe = recorded_blend(theirs)
    assert recipe_rules(recipe).rules == [Rule('second blend', dict(confidence_below=0.4), 'unsure')]
    assert [m['exp'] for m in recipe.members] == ['kim-exp0012', 'kim-exp0013']
    assert 'rules.yaml' not in (theirs.folder / 'params.json').read_text() + show_run(theirs.exp)
    receive(sent(people, monkeypatch, *runs), comp)
    assert 'rules.yaml' not in reproduction_report(theirs) and 'confidence_below' in reproduction_report(theirs)
    finished()
    both = run_blend(blend_recipe(dict(exp='exp0102', members=['exp0012', 'kim-exp0101'])), comp)
    assert both.state() == 'done'


def _runs(people, monkeypatch, *runs):
    "Runs of kim's, by id and seed."
    enter(monkeypatch, people / 'kim')
    return [finished(exp, seed) for exp, seed in runs]


def test_a_received_run_is_not_trained_here(people, monkeypatch, capsys):
    receive(sent(people, monkeypatch), find_comp(COMP))
    before = tree(people / 'lee')
    for args in (
        ['run', COMP, 'kim-exp0012'],
        ['trial', COMP, 'kim-exp0012'],
        ['run', COMP, 'kim-exp0012', '-p', 'lr', '.2'],
    ):
        with pytest.raises(SystemExit) as e:
            main(args)
        error = capsys.readouterr().err
        assert e.value.code == 2 and ('not trained or resumed here' in error or 'is taken' in error), error
    with pytest.raises(SystemExit) as e:
        main(['share', 'kim-exp0012', '--as', 'lee'])
    assert e.value.code == 2 and 'pass on the file' in capsys.readouterr().err
    assert tree(people / 'lee') == before


def test_as_commands(people, monkeypatch, capsys):
    enter(monkeypatch, people / 'kim')
    finished()
    for args in (['share', f'{COMP}/exp0012', '--out', str(people / 'k.zip'), '--as', 'kim'], None):
        if args is None:
            enter(monkeypatch, people / 'lee')
            args = ['receive', str(people / 'k.zip')]
        with pytest.raises(SystemExit) as e:
            main(args)
        assert not e.value.code, capsys.readouterr().err
    assert 'kim-exp0012: received from kim' in capsys.readouterr().out


def many_classes():
    "A competition of 2,500 classes, and a run of which the best of each row are kept."
    names = tuple(f'w{i}' for i in range(2500))
    train = pd.DataFrame(dict(id=[f'a{i}' for i in range(200)], file='x.png', target=np.arange(200) % 40))
    test = pd.DataFrame(dict(id=[f't{i}' for i in range(30)], file='x.png', sample_id=[f't{i}' for i in range(30)]))
    sample = pd.DataFrame(dict(id=test.id, whale='w0'))
    comp, run = Competition('toy-many', train, test, sample, names, 'accuracy'), Run('toy-many', 'exp0012')
    folds = pd.DataFrame(dict(id=train.id, fold=np.arange(200) % 3))
    for fold in range(3):
        valid = train[folds.fold == fold]
        p = [predicted(codes, 2500, [fold, i]) for i, codes in enumerate((valid.target, np.zeros(30, int)))]
        save_fold(run, fold, comp, valid.id, p, seconds=1.0, images=10)
    finish_run(run, comp, folds)
    return comp, run


@pytest.mark.parametrize('kind', ['labels', 'numbers', 'grades', 'shares', 'factors', 'many classes'])
def test_a_run_of_any_target_travels(people, monkeypatch, kind):
    enter(monkeypatch, people / 'kim')
    if kind == 'many classes':
        comp, run = many_classes()
    else:
        made = example_of(kind)
        comp, run = made.comp, example_run_of(made, 'exp0012', 2)
    recipe, oof = Recipe(exp='exp0012', reason='a baseline'), pd.read_parquet(run.folder / 'oof.parquet')
    record = dict(comp=comp.name, recipe=recipe.params(), **recipe.about())
    write_json(run.folder / 'params.json', record | data_hashes(recipe, comp, folds_of(oof, comp)))
    decide_run(run, comp, oof, run.read('score.json'))
    if kind == 'grades':
        write_submission(run, comp)
    path = share([run], comp, people / 'kim.zip', 'kim', say=lambda line: None)
    enter(monkeypatch, people / 'lee')
    (theirs,) = receive(path, comp, say=lambda line: None)
    here, there = tree(theirs.folder), tree(run.folder)
    same = [n for n in here if n in there and n not in ('params.json', 'status.json', 'log.txt')]
    assert len(same) >= 4 and all(here[n] == there[n] for n in same)
    members = [dict(exp='kim-exp0012', folds=[0, 2])]
    table = read_table_of(blend_recipe(dict(exp='exp0101', members=members)), comp)
    assert table.names() == ['kim-exp0012[0,2]']


KILLED = """
import os, signal, sys
import kagglekit.handin.receive as module
from kagglekit.data.competition import Competition, find_comp

def kill(*args, **kw):
    os.kill(os.getpid(), signal.SIGKILL)

comp = find_comp(sys.argv[2])
for where, name in ((module, 'extract'), (module, 'check_fit'), (os, 'sync'), (os, 'rename')):
    child = os.fork()
    if not child:
        setattr(where, name, kill)
        module.receive(sys.argv[1], comp)
    print(name, os.waitpid(child, 0)[1], sorted(os.listdir(sys.argv[3])))
"""


def test_a_kill_leaves_nothing_or_all(people, monkeypatch):
    path = sent(people, monkeypatch, *_runs(people, monkeypatch, ('exp0012', 0), ('exp0013', 1)))
    home = people / 'lee' / 'outputs' / COMP
    home.mkdir(parents=True)
    done = python('-c', KILLED, str(path), COMP, str(home))
    left = "9 ['.receive.lock', '.receiving.part']"
    assert done.stdout.splitlines() == [f'{name} {left}' for name in ('extract', 'check_fit', 'sync', 'rename')], done
    assert list_runs(COMP) == []
    assert [r.exp for r in receive(path, find_comp(COMP))] == ['kim-exp0012', 'kim-exp0013']
    assert not list(home.glob('.*.part'))


def test_other_data_and_other_folds(people, monkeypatch):
    path, said = sent(people, monkeypatch), []
    table = people / 'lee' / 'data'
    table.unlink()
    shutil.copytree(people / 'kim' / 'data', table, symlinks=False)
    rows = pd.read_csv(table / COMP / 'train.csv', dtype=str)
    rows.iloc[1:].to_csv(table / COMP / 'train.csv', index=False)
    with pytest.raises(KitError, match='rows'):
        receive(path, find_comp(COMP))
    label = rows.columns[-1]
    edited = rows.copy()
    edited.loc[0, label] = edited[label][edited[label] != edited[label][0]].iloc[0]
    edited.to_csv(table / COMP / 'train.csv', index=False)
    with pytest.raises(KitError, match='the training table has changed between the two workspaces'):
        receive(path, find_comp(COMP))
    assert list_runs(COMP) == []
    rows.to_csv(table / COMP / 'train.csv', index=False)
    own = finished('exp0001')
    write_json(own.folder / 'params.json', own.read('params.json') | dict(fold_hash='0' * 16))
    receive(path, find_comp(COMP), say=said.append)
    assert said[-1].startswith('kim-exp0012: other folds than your runs have')


def rewritten(path, change):
    "A file whose entries a stranger has changed: name → bytes, manifest made to fit."
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop('manifest.json'))
    change(files, manifest)
    runs = manifest.get('runs')
    for name in files if isinstance(runs, dict) else ():
        exp, _, rest = name.partition('/')
        if exp in runs and isinstance(runs[exp], dict):
            scratch = path.with_name('scratch')
            scratch.write_bytes(files[name])
            runs[exp][rest] = [len(files[name]), hash_file(scratch)]
    out = path.with_name('hostile.zip')
    with zipfile.ZipFile(out, 'w') as archive:
        for name, content in {**files, 'manifest.json': json.dumps(manifest).encode()}.items():
            archive.writestr(name, content)
    return out


def edit(name, **fields):
    "Change fields of a JSON file."

    def _edit(files, manifest):
        files[f'exp0012/{name}'] = json.dumps(json.loads(files[f'exp0012/{name}']) | fields).encode()

    return _edit


def put(name, content):
    "Put a file into the zip."
    return lambda files, manifest: files.update({name: content})


def tabled(name, change):
    "Change a table."

    def _change(files, manifest):
        out = io.BytesIO()
        change(pd.read_parquet(io.BytesIO(files[f'exp0012/{name}']))).to_parquet(out, index=False)
        files[f'exp0012/{name}'] = out.getvalue()

    return _change


def told(**fields):
    "Change fields of the manifest."
    return lambda files, manifest: manifest.update(fields)


HOSTILE = {
    'a path that leaves the folder': (put('exp0012/../../../x.txt', b'x'), 'leaves the folder'),
    'an absolute path': (put('/var/x.txt', b'x'), 'absolute path'),
    'a run named as a path': (
        lambda files, manifest: manifest['runs'].update({'../x': manifest['runs']['exp0012']}),
        'exp',
    ),
    'a file that is not in the manifest': (put('x.txt', b'x'), 'not in both'),
    'a pickle among the weights': (put('exp0012/fold0/resume.pt', b'\x80\x04.'), 'is no file of a shared run'),
    'a notebook': (put('exp0012/train.ipynb', b'{}'), 'is no file of a shared run'),
    'weights that are a pickle': (
        put('exp0012/fold0/model.safetensors', b'\x80\x04.' * 99),
        'model.safetensors cannot be read',
    ),
    'a table that is a pickle': (put('exp0012/test.parquet', b'\x80\x04.' * 99), 'cannot be read'),
    'a huge record': (put('exp0012/notes.md', b'x' * (33 << 20)), 'more than 32 MB'),
    'deep JSON': (put('exp0012/score.json', b'[' * 200_000), 'no JSON that can be trusted'),
    'NaN in a score': (put('exp0012/score.json', b'{"mean": NaN}'), 'NaN is no number'),
    'a better score': (edit('score.json', mean=0.999, seal=None), 'edited by hand'),
    'escape sequences in a reason': (edit('params.json', reason='\x1b[2J'), 'control characters'),
    'escape sequences in a note': (put('exp0012/notes.md', b'\x1b[2J'), 'control characters'),
    'escape sequences in a rule': (put('exp0012/rules.csv', b'rule,words,verdict\n\x1b[2J,,\n'), 'control characters'),
    'a table that is none of rules': (put('exp0012/rules.csv', b'rule,words,verdict,html\n'), 'no table of rules'),
    'notes that are not UTF-8': (put('exp0012/notes.md', b'\xff\xfe'), 'not UTF-8'),
    'words in the history': (put('exp0012/history.csv', b'fold,stage,epoch,x\n0,0,0,=cmd()\n'), 'no numbers under x'),
    'text as a leaderboard score': (put('exp0012/leaderboard.json', b'{"public": "<b>1"}'), 'public is no score'),
    'NaN in a prediction': (tabled('test.parquet', lambda t: t.assign(**{t.columns[1]: np.nan})), 'no probabilities'),
    'ids in another order': (tabled('test.parquet', lambda t: t.iloc[::-1]), 'another order'),
    'rows twice': (tabled('test.parquet', lambda t: pd.concat([t, t])), 'rows'),
    'other targets': (tabled('oof.parquet', lambda t: t.assign(target=(t.target + 1) % 2)), 'another target'),
    'other folds': (tabled('oof.parquet', lambda t: t.assign(fold=(t.fold + 1) % 3)), 'the folds have changed'),
    'other predictions': (
        tabled('test_folds.parquet', lambda t: t.assign(**{t.columns[2]: np.float32(0.5)})),
        'instead of',
    ),
    'another data hash': (edit('params.json', data_hash='0' * 16), 'the training table has changed'),
    'another metric': (edit('params.json', metric='auc'), 'the metric has changed'),
    'another run in the record': (edit('params.json', exp='exp0099'), 'not that of a run with this name'),
    'a reason that is a list': (edit('params.json', reason=['x']), 'holds a wrong value under reason'),
    'a trial': (edit('params.json', trial=dict(of='exp0001')), 'not that of a run with this name'),
    'members that are no list': (edit('params.json', blend=dict(members='../x')), 'not that of a run with this name'),
    'labels that are no text': (edit('params.json', recipe=dict(pseudo_labels=[1])), 'pseudo_labels holds'),
    'another competition': (told(comp='anomaly-practice'), 'and not of shapes-practice'),
    'a competition named as a path': (told(comp='../outputs'), 'comp: a name is'),
    'a sender named as a path': (told(sender='../kim'), '--as: a name is'),
    'a sender of many letters': (told(sender='k' * 60), 'at most 64 characters'),
    'a newer format': (told(format=4), 'of the format 4'),
    'no runs': (told(runs={}), 'names no runs'),
    'runs that are a list': (told(runs=['exp0012']), 'names no runs'),
    'lengths that are text': (lambda files, manifest: manifest['runs']['exp0012'].update({'x.md': 'x'}), 'not in both'),
    'no predictions': (
        lambda files, manifest: [
            d.pop(k) for d, k in ((files, 'exp0012/test.parquet'), (manifest['runs']['exp0012'], 'test.parquet'))
        ],
        'has no test.parquet',
    ),
}


@pytest.fixture(scope='module')
def good(tmp_path_factory, drawn):
    "A file of kim's, made once."
    folder = tmp_path_factory.mktemp('good')
    (folder / 'settings.ini').write_text(INI)
    (folder / 'data').symlink_to(drawn)
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        return share([finished()], find_comp(COMP), folder / 'good.zip', 'kim', say=lambda line: None), find_comp(COMP)


@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_file_is_refused(people, monkeypatch, good, name):
    enter(monkeypatch, people / 'lee')
    change, words = HOSTILE[name]
    path, comp = rewritten(good[0], change), good[1]
    before = tree(people)
    with pytest.raises(KitError) as e:
        receive(path, comp)
    assert words in str(e.value), e.value
    assert tree(people) == before and not Path('/var/x.txt').exists()


def test_hostile_zips(people, monkeypatch, good):
    enter(monkeypatch, people / 'lee')
    path, comp = good
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    out = people / 'hostile.zip'

    def refused(words, pack):
        with zipfile.ZipFile(out, 'w') as archive:
            pack(archive)
        with pytest.raises(KitError, match=words):
            receive(out, comp)
        assert list_runs(COMP) == []

    def packed(archive, **how):  # how: name → compression
        for name, content in files.items():
            archive.writestr(name, content, how.get(Path(name).stem))

    def linked(archive):
        packed(archive)
        link = zipfile.ZipInfo('exp0012/notes.md')
        link.external_attr = 0o120777 << 16
        archive.writestr(link, '/etc/passwd')

    refused('is compressed, and must not be', lambda archive: packed(archive, test=zipfile.ZIP_DEFLATED))
    refused('a link', linked)
    with pytest.warns(UserWarning, match='Duplicate name'):
        refused('comes twice', lambda archive: [packed(archive), packed(archive)])
    refused('not written by kagglekit share', lambda archive: archive.writestr('x.txt', 'x'))
    for content in (b'', b'PK', b'<html>not found</html>', path.read_bytes()[: len(path.read_bytes()) // 2]):
        out.write_bytes(content)
        with pytest.raises(KitError, match='no zip that can be read'):
            receive(out, comp)
