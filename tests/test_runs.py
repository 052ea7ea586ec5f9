"Runs as processes: papermill and the console script, kills, restarts, two at once, slips of the finger."
import json, os, signal, subprocess, sys, time
from pathlib import Path
import pandas as pd
import psutil
import pytest

ROOT = Path(__file__).parent.parent
KIT = str(Path(sys.executable).with_name('kagglekit'))
ARGS = ['shapes-practice', 'exp0001']

@pytest.fixture
def space(tmp_path, monkeypatch):
    "A workspace of this test's own; its folder of runs."
    (tmp_path/'settings.ini').write_text((ROOT/'settings.ini').read_text())
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(tmp_path))
    return tmp_path/'outputs'/'shapes-practice'

def kit(*args, **kw): return subprocess.run([KIT, *args], cwd=ROOT, capture_output=True, text=True, **kw)

def papermill(out, *params):
    out.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run([sys.executable, '-m', 'papermill', 'nbs/train.ipynb', str(out), '--no-progress-bar', *params], cwd=ROOT, capture_output=True, text=True)

def status(folder): return json.loads((folder/'status.json').read_text()) if (folder/'status.json').exists() else {}

def until(condition, process, seconds=180):
    "Wait for a condition while a process lives."
    end = time.time() + seconds
    while not condition():
        assert process.poll() is None and time.time() < end, process.communicate()
        time.sleep(.2)

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    "The predictions and the history of a run that nothing happened to, by plain papermill."
    root = tmp_path_factory.mktemp('undisturbed')
    (root/'settings.ini').write_text((ROOT/'settings.ini').read_text())
    before, os.environ['KAGGLEKIT_ROOT'] = os.environ.get('KAGGLEKIT_ROOT'), str(root)
    try:
        folder = root/'outputs'/'shapes-practice'/'exp0001'
        done = papermill(folder/'train.ipynb', '-p', 'comp', 'shapes-practice', '-p', 'exp', 'exp0001')
        assert done.returncode == 0, done.stderr[-2000:]
    finally: os.environ.pop('KAGGLEKIT_ROOT') if before is None else os.environ.update(KAGGLEKIT_ROOT=before)
    return folder

def test_plain_papermill_leaves_every_file_of_the_contract(undisturbed):
    for name in ('params.json', 'status.json', 'history.csv', 'oof.parquet', 'test.parquet', 'test_folds.parquet', 'score.json', 'submission.csv', 'train.ipynb', 'log.txt', 'fold2/model.safetensors'):
        assert (undisturbed/name).exists(), name
    assert status(undisturbed)['state'] == 'done' and not list(undisturbed.rglob('*.part')) and not list(undisturbed.rglob('resume.pt'))

@pytest.mark.parametrize('params, words', [(['-p', 'mixpu', '0.4'], 'did you mean mixup'), (['-p', 'lr', 'fast'], "got 'fast'"), (['-p', 'mixup', '-1'], 'greater than or equal to 0')])
def test_papermill_fails_on_a_slip_before_training(space, params, words):
    done = papermill(space/'exp0009'/'train.ipynb', '-p', 'exp', 'exp0009', '-p', 'parent', 'exp0001', *params)
    assert done.returncode != 0 and words in done.stderr
    assert not (space/'exp0009'/'params.json').exists()

def test_papermills_0001_is_not_1(space):
    done = papermill(space/'exp'/'train.ipynb', '-p', 'exp', '0001')
    assert done.returncode != 0 and 'papermill reads -p exp 0001 as the number 1' in done.stderr
    assert not (space/'1').exists()

@pytest.mark.parametrize('params, words', [(['exp0009', '-p', 'parent', 'exp0001', '-p', 'mixpu', '0.4'], 'did you mean mixup'), (['0001'], 'exp0012'),
                                           (['exp0001', '-p', 'lr', '9'], 'is taken'), (['exp0009', '-p', 'parent', 'exp0001', '-p', 'epochs', '2.5'], 'epochs')])
def test_kagglekit_run_refuses_before_a_kernel_starts(space, params, words):
    done = kit('run', 'shapes-practice', *params)
    assert done.returncode == 2 and words in done.stderr and 'Traceback' not in done.stderr
    assert not space.exists()

def test_a_killed_kernel_is_told_and_taken_up_with_the_same_result(space, undisturbed):
    run = subprocess.Popen([KIT, 'run', *ARGS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = space/'exp0001'
    until(lambda: status(folder).get('fold') == 1 and status(folder).get('epoch', 0) >= 2, run)
    os.kill(status(folder)['pid'], signal.SIGKILL)
    assert run.wait(60) != 0
    assert status(folder)['state'] == 'interrupted' and (folder/'fold1'/'resume.pt').exists()
    kept = (folder/'fold0'/'model.safetensors').stat().st_mtime_ns
    again = kit('run', *ARGS)
    assert again.returncode == 0, again.stderr[-2000:]
    assert (folder/'fold0'/'model.safetensors').stat().st_mtime_ns == kept
    for name in ('oof', 'test'): pd.testing.assert_frame_equal(pd.read_parquet(folder/f'{name}.parquet'), pd.read_parquet(undisturbed/f'{name}.parquet'))
    rows = [pd.read_csv(f/'history.csv').drop(columns='seconds') for f in (folder, undisturbed)]
    pd.testing.assert_frame_equal(*rows)

def test_ctrl_c_leaves_no_kernel_behind(space):
    run = subprocess.Popen([KIT, 'run', *ARGS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    folder = space/'exp0001'
    until(lambda: status(folder).get('epoch', -1) >= 0, run)
    kernel = status(folder)['pid']
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) != 0
    end = time.time() + 30
    while psutil.pid_exists(kernel) and time.time() < end: time.sleep(.2)
    assert not psutil.pid_exists(kernel)
    assert kit('status', 'shapes-practice').stdout.count('interrupted') == 1

def test_a_run_in_the_background_can_be_stopped(space):
    long = ['-p', 'parent', 'exp0001', '-p', 'epochs', '500']
    run = subprocess.Popen([KIT, 'run', 'shapes-practice', 'exp0009', *long], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))     # as a shell starts `kagglekit run … &`
    try:
        until(lambda: status(space/'exp0009').get('epoch', -1) >= 0, run)
        run.terminate()
        assert run.wait(60) != 0
    finally: run.poll() is not None or os.killpg(run.pid, signal.SIGKILL)
    assert status(space/'exp0009')['state'] == 'interrupted'

def test_two_runs_of_one_id(space):
    long = ['-p', 'parent', 'exp0001', '-p', 'epochs', '500']
    first = subprocess.Popen([KIT, 'run', 'shapes-practice', 'exp0009', *long], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    until(lambda: status(space/'exp0009').get('epoch', -1) >= 0, first)
    second = papermill(space/'second.ipynb', '-p', 'exp', 'exp0009', *long)
    assert second.returncode != 0 and 'is being run, by process' in second.stderr
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(60) != 0

def test_a_record_without_predictions_is_run_again(space, undisturbed):
    import shutil
    folder = space/'exp0001'
    folder.mkdir(parents=True)
    for name in ('params.json', 'score.json', 'history.csv', 'leaderboard.json'): shutil.copy(undisturbed/name, folder)
    assert 'recorded' in kit('status', 'shapes-practice').stdout
    done = kit('run', *ARGS)
    assert done.returncode == 0, done.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(folder/'oof.parquet'), pd.read_parquet(undisturbed/'oof.parquet'))

def test_an_idea_costs_one_line(space):
    done = papermill(space/'exp0009'/'train.ipynb', '-p', 'exp', 'exp0009', '-p', 'parent', 'exp0001', '-p', 'epochs', '2', '-p', 'reason', '짧게')
    assert done.returncode == 0, done.stderr[-2000:]
    params = json.loads((space/'exp0009'/'params.json').read_text())
    assert (params['parent'], params['diff'], params['reason'], params['recipe']['epochs']) == ('exp0001', {'epochs': 2}, '짧게', 2)
    assert 'epochs 2' in kit('journal', 'shapes-practice').stdout

def test_a_rehearsal_can_be_stopped_and_goes_on(space, undisturbed):
    first = subprocess.Popen([KIT, 'rehearse', 'shapes-practice'], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    folder = space/'exp0001'
    until(lambda: status(folder).get('fold') == 1 and status(folder).get('epoch', 0) >= 2, first)
    kernel = status(folder)['pid']
    first.terminate()
    assert first.wait(60) == 130 and 'goes on from here' in first.stdout.read()
    end = time.time() + 30
    while psutil.pid_exists(kernel) and time.time() < end: time.sleep(.2)
    assert not psutil.pid_exists(kernel) and status(folder)['state'] == 'interrupted'
    again = kit('rehearse', 'shapes-practice', '--jobs', '2')
    assert again.returncode == 0 and '2 of 2 · ' in again.stdout, again.stdout[-2000:] + again.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(folder/'oof.parquet'), pd.read_parquet(undisturbed/'oof.parquet'))

def test_a_run_that_learns_from_another_one(space, undisturbed):
    "Weights and soft labels of exp0001, fold by fold; and the mark on one that takes the labels of all folds together."
    import shutil
    shutil.copytree(undisturbed, space/'exp0001')
    shutil.copytree(undisturbed.parent.parent.parent/'data', space.parent.parent/'data')
    taught = ['-p', 'parent', 'exp0001', '-p', 'start', 'exp0001', '-p', 'epochs', '1']
    for exp, source in [('exp0009', 'exp0001'), ('exp0010', 'unsafe exp0001')]:
        done = papermill(space/exp/'train.ipynb', '-p', 'exp', exp, *taught, '-p', 'pseudo', source)
        assert done.returncode == 0, done.stderr[-2000:]
    params = [json.loads((space/exp/'params.json').read_text()) for exp in ('exp0009', 'exp0010')]
    assert list(params[0]['sources']) == ['exp0001/test_folds.parquet'] and 'not_comparable' not in params[0]
    assert 'has seen all rows' in params[1]['not_comparable']
    lines = {line.split()[0]: line for line in kit('journal', 'shapes-practice').stdout.splitlines()[1:]}
    assert 'can not' in lines['exp0010'] and 'can not' not in lines['exp0009']
    assert json.loads((space/'exp0009'/'score.json').read_text())['mean'] > json.loads((space/'exp0001'/'score.json').read_text())['mean'] - .1
    (space/'exp0001'/'test_folds.parquet').write_bytes((space/'exp0010'/'test_folds.parquet').read_bytes())
    changed = papermill(space/'exp0009'/'train.ipynb', '-p', 'exp', 'exp0009', *taught, '-p', 'pseudo', 'exp0001')
    assert changed.returncode != 0 and 'have changed since' in changed.stderr

def test_three_heads_learn_other_labels_than_they_are_scored_by(space):
    "Drawn people: three questions, the oldest class from 58 in training only; and all rows, without a CV."
    from kagglekit.competition import find_comp, load_pages
    from kagglekit.practice import write_practice
    load_pages(); write_practice('mask-practice', rows=210, say=lambda line: None)
    tiny = ['-p', 'comp', 'mask-practice', '-p', 'parent', 'exp0004', '-p', 'arch', 'test_convnext', '-p', 'pretrained', 'False', '-p', 'epochs', '1', '-p', 'dead_after', '0', '-y', 'size: 32']
    folder = space.parent/'mask-practice'
    for exp, more in [('heads', ['-p', 'folds', '2']), ('all', ['-p', 'full', 'True'])]:
        done = papermill(folder/exp/'train.ipynb', '-p', 'exp', exp, *tiny, *more)
        assert done.returncode == 0, done.stderr[-2000:]
    oof, comp, score = pd.read_parquet(folder/'heads'/'oof.parquet'), find_comp('mask-practice'), json.loads((folder/'heads'/'score.json').read_text())
    assert oof.target.tolist() == comp.train.target.tolist() and (comp.train.old58 != comp.train.target).any()     # scored at 60, whatever was learnt
    assert sorted(score['heads']) == ['age', 'gender', 'mask'] and abs(oof.filter(like='p_').sum(axis=1) - 1).max() < 1e-4
    assert 'each of 21 values of person is in one fold' in (folder/'heads'/'log.txt').read_text()
    full = json.loads((folder/'all'/'score.json').read_text())
    assert (full['mean'], full['folds']) == (None, []) and not (folder/'all'/'oof.parquet').exists() and status(folder/'all')['state'] == 'done'
    assert len(pd.read_csv(folder/'all'/'submission.csv')) == len(comp.test)
