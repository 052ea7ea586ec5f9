"A real Slurm on this machine: pending, running, cancelled, drained, requeued, out of time; skipped without one."

import json
import os
import re
import shutil
import subprocess
import time
import pytest
from running import ROOT, kit, start
from kagglekit.core.paths import workspace
from kagglekit.runs.queue import queued_job, read_queue
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.run import FoldRun, Run

pytest.importorskip('submitit')
DAEMONS = ('munged', 'slurmctld', 'slurmd')
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(name, path=os.environ['PATH'] + ':/usr/sbin') for name in DAEMONS),
    reason='needs root, and apt-get install slurmctld slurmd slurm-client munge',
)
COMP = 'shapes-practice'


def slurm(*line):
    "What a command of Slurm prints."
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def cluster(what, folder):
    "Start or stop the cluster."
    subprocess.run(['bash', str(ROOT / 'tests' / 'slurm_cluster.sh'), what, str(folder)], check=True, timeout=120)


@pytest.fixture(scope='module')
def nodes(tmp_path_factory):
    "Two nodes with a core each; Slurm's commands find them."
    folder = tmp_path_factory.mktemp('slurm')
    before = dict(os.environ)
    os.environ['SLURM_CONF'] = str(folder / 'slurm.conf')
    os.environ['PATH'] += ':/usr/sbin'
    try:
        cluster('start', folder)
    except subprocess.SubprocessError as e:
        if os.environ.get('KAGGLEKIT_SLOW'):
            raise
        pytest.skip(f'the daemons of Slurm do not start on this machine: {e}')
    yield ('kit1', 'kit2')
    cluster('stop', folder)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def home(tmp_path):
    "A workspace, and its page: a list of lines of Python."
    (tmp_path / 'settings.ini').write_text((ROOT / 'settings.ini').read_text() + '\n[DEFAULT]\nslurm_gpus = 0\n')
    (tmp_path / 'nbs' / 'competitions').mkdir(parents=True)

    def write(lines):
        cell = dict(cell_type='code', execution_count=None, id='a', metadata={}, outputs=[], source=lines)
        page = dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)
        (tmp_path / 'nbs' / 'competitions' / 'naps.ipynb').write_text(json.dumps(page))
        return tmp_path

    return write


def wait(condition, seconds=240):
    "Until something holds."
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, slurm('squeue')
        time.sleep(0.5)


def state_of(run):
    "The state of a run's job; '' where it has left the queue."
    read_queue(fresh=True)
    job = queued_job(run.folder)
    return job.state if job else ''


SLEEPS = """#| export
import os, time
from pathlib import Path
if 'SLURM_JOB_ID' in os.environ:
    began = Path(os.environ['KAGGLEKIT_ROOT']) / 'began.txt'
    n = len(began.read_text()) if began.exists() else 0
    began.write_text('x' * (n + 1))
    time.sleep(0 if n else 60)
"""


def test_a_job_is_pending_running_requeued_and_cancelled(nodes, home):
    from kagglekit.sweeps.slurm import SlurmEngine, SlurmOptions

    with workspace(home(SLEEPS)):  # the first time that a job reads its page, it sleeps
        engine = SlurmEngine(SlurmOptions(gpus='0', time='5'))
        for node in nodes:
            slurm('scontrol', 'update', f'nodename={node}', 'state=drain', 'reason=test')
        run = Run(COMP, 'exp0001')
        job = engine.start(run, Recipe('exp0001'))
        assert re.fullmatch(r'pending, .+ \(job \d+\)', job.place()) and not job.ended()
        assert kit('status', COMP).stdout.splitlines()[1].split()[:2] == [f'{COMP}/exp0001', 'pending']
        assert engine.joined(run) == job
        slurm('scontrol', 'update', 'nodename=kit2', 'state=resume')
        began = run.folder.parents[2] / 'began.txt'
        wait(began.exists)
        read_queue(fresh=True)
        assert job.place() == f'running on kit2 (job {job.id})'
        slurm('scancel', '--signal=USR2', job.id)  # as before a time limit, or a preemption
        wait(lambda: began.read_text() == 'xx')
        log = next((run.folder / 'slurm').glob('*.out')).read_text()
        assert 'Requeued job' in log and 'Restarts=1' in slurm('scontrol', 'show', 'job', job.id)
        job.interrupt()
        job.wait()
        assert state_of(run) == '' and job.ended() and run.state() != 'running'
        slurm('scontrol', 'update', 'nodename=kit1', 'state=resume')


def test_the_simulation_of_many_jobs_still_runs(nodes, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / 'bench'))
    import slurm as simulation

    (tmp_path / 'home').mkdir()
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(tmp_path / 'home'))
    with workspace(tmp_path / 'home'), simulation.counted(tmp_path) as asked:
        assert simulation.queue(3, asked) == dict(done=3)
    out = capsys.readouterr().out
    assert "kagglekit status: {'pending': 3}" in out and 'squeue was asked 1 times' in out


NAPS = """#| export
import os, time
from fastai.callback.core import Callback
from kagglekit.competitions.shapes import exp0001, recipes
from kagglekit.training.plugins import CALLBACKS

@CALLBACKS.add
class Nap(Callback):
    def after_epoch(self):
        time.sleep(float(os.environ.get('NAP', 0)))

few = dict(folds=2, callbacks=('Nap',))
recipes.add(exp0001.but('slow', 'longer than a job may take', epochs=12, **few))
for n in range(3):
    recipes.add(exp0001.but(f'tiny{n}', 'soon over', epochs=1, seed=n, **few))
"""
EXPS = ('slow', 'tiny0', 'tiny1', 'tiny2')


@pytest.mark.slow
def test_cancelled_drained_and_out_of_time_all_end_with_the_bytes_of_a_local_run(nodes, home, tmp_path, monkeypatch):
    base, local = home(NAPS), tmp_path / 'local'
    shutil.copytree(base, local, ignore=shutil.ignore_patterns('local'))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    line = ['sweep', COMP, '--ids', *EXPS]
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(base))
    monkeypatch.setenv('NAP', '10')
    with workspace(base):
        runs = {exp: Run(COMP, exp) for exp in EXPS}
    sweep = start(*line, '--on', 'slurm', '--time', '5')
    wait(lambda: all(map(state_of, runs.values())))
    slurm('scancel', queued_job(runs['tiny1'].folder).id)
    slurm('scontrol', 'update', 'nodename=kit2', 'state=drain', 'reason=test')
    wait(lambda: slurm('sinfo', '--noheader', '--Node', '--nodes=kit2', '--format=%T').strip() == 'drained', 400)
    assert 'kit2' not in [job.node for job in read_queue(fresh=True).values()]
    slurm('scontrol', 'update', 'nodename=kit2', 'state=resume')
    out = sweep.communicate(timeout=1200)[0]
    print(out)
    assert sweep.returncode == 1 and f'{COMP}/tiny1 new: it was cancelled before it began' in out
    monkeypatch.setenv('NAP', '0')
    again = kit(*line, '--on', 'slurm', '--time', '5')
    assert again.returncode == 0 and '4 of 4 · tiny1' in again.stdout, again.stdout + again.stderr
    logs = ''.join(path.read_text() for path in (runs['slow'].folder / 'slurm').glob('*.out'))
    print(logs)
    assert 'Requeued job' in logs and 'timed-out' in logs
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(local))
    done = kit(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    names = ('oof.parquet', 'test.parquet', 'submission.csv', 'fold0/model.safetensors', 'fold1/model.safetensors')
    for exp in EXPS:
        for name in names:
            mine = (local / 'outputs' / COMP / exp / name).read_bytes()
            assert mine == (runs[exp].folder / name).read_bytes(), f'{exp}/{name}'


@pytest.mark.slow
def test_folds_are_jobs_of_their_own_and_then_comes_the_one_that_joins_them(nodes, home, tmp_path, monkeypatch):
    base = home(NAPS)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(base))
    monkeypatch.setenv('NAP', '20')
    with workspace(base):
        run = Run(COMP, 'tiny0')
        parts = [FoldRun(run, k) for k in (0, 1)]
    sweep = start('sweep', COMP, '--ids', 'tiny0', '--folds', 'apart', '--on', 'slurm', '--time', '5')
    wait(lambda: [state_of(part) for part in parts] == ['RUNNING', 'RUNNING'])
    assert {queued_job(part.folder).node for part in parts} == set(nodes)
    wait(lambda: all(part.state() == 'running' for part in parts))
    assert kit('run', COMP, 'tiny0').returncode == 2 and 'fold 0, ' in kit('status', COMP).stdout
    assert sweep.wait(600) == 0, sweep.communicate()
    assert run.state() == 'done' and len(list((run.folder / 'slurm').glob('*.out'))) == 3 and run.parts() == []
