"A fold trained by two processes on the CPU (Gloo)."

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
import numpy as np
import pandas as pd
import psutil
import pytest
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds
from kagglekit.fit.train import train
from running import fork_workers, forked_workers, write_shapes

NAME = 'shapes-practice'


def workers(pid=None):
    "The processes that train: not torchrun, which started them."

    def _trains(p):
        try:
            line = p.cmdline()
        except psutil.Error:
            return False
        return '--no-python' not in line and any(word.endswith('worker_main()') for word in line)

    return [p for p in psutil.Process(pid).children(recursive=True) if _trains(p)]


def kill_one_when(run, ready):
    "Kill one of the processes that train, as soon as the status is ready."

    def _watch():
        while not ready(run.read('status.json')):
            time.sleep(0.05)
        os.kill(forked_workers()[1].pid, signal.SIGKILL)

    threading.Thread(target=_watch, daemon=True).start()


@pytest.fixture(scope='module')
def runs():
    "A run by one process; the same by two, one of which is killed in the second fold; and what was said of that."
    with workspace(), pytest.MonkeyPatch.context() as patch:
        load_pages()
        write_shapes()
        comp = find_comp(NAME)
        alone = find_recipe(NAME, 'exp0001').but(
            'alone', 'two folds', folds=2, epochs=4, augment=('hflip', 'rot90'), mixup=0.2, bs=25
        )
        shared = replace(alone, exp='shared', gpus=2)
        folds = run_folds(alone, comp)
        train(alone, comp, folds)
        run = Run(NAME, 'shared')
        fork_workers(patch)
        kill_one_when(run, lambda status: status.get('fold') == 1 and status.get('epoch', 0) >= 1)
        with pytest.raises(KitError) as told:
            train(shared, comp, folds)
        left, state = (run.folder / 'fold1' / 'resume.pt').exists(), run.read('status.json')
        again = train(shared, comp, folds)
        yield dict(
            alone=Run(NAME, 'alone'),
            shared=run,
            told=str(told.value),
            left=left,
            state=state,
            score=again,
            train=lambda **more: train(replace(shared, **more), comp, folds),
        )


def test_a_killed_process_is_reported_and_the_fold_resumes(runs):
    assert (
        'was killed by signal 9' in runs['told'].splitlines()[0]
        and runs['told'].splitlines()[0] in runs['state']['error']
    )
    assert runs['state']['state'] == 'failed' and runs['left'] and runs['shared'].state() == 'done'
    assert runs['shared'].read('status.json')['pid'] == os.getpid()  # the notebook speaks, whoever trains
    assert not forked_workers()


def test_two_processes_leave_the_same_files_as_one(runs):
    files = [
        sorted(p.relative_to(r.folder).as_posix() for p in r.folder.rglob('*') if p.is_file())
        for r in (runs['alone'], runs['shared'])
    ]
    assert files[0] == files[1]
    for name in ('oof', 'test', 'test_folds'):
        one, two = (pd.read_parquet(r.folder / f'{name}.parquet') for r in (runs['alone'], runs['shared']))
        plain = [c for c in one if not c.startswith('p_')]
        pd.testing.assert_frame_equal(one[plain], two[plain])  # every id once, in its order, folds and targets
        assert list(one) == list(two) and one.dtypes.tolist() == two.dtypes.tolist()


def test_without_batch_norm_the_probabilities_agree(runs):
    "Four epochs with mixup and augmentation, bs 25 of 120 rows: parts of 13 and 12 rows, and of 10 and 10."
    for name in ('oof', 'test_folds'):
        one, two = (
            pd.read_parquet(r.folder / f'{name}.parquet').filter(like='p_').to_numpy()
            for r in (runs['alone'], runs['shared'])
        )
        assert np.abs(one - two).max() < 1e-3
    one, two = (pd.read_csv(r.folder / 'history.csv') for r in (runs['alone'], runs['shared']))
    assert one[['fold', 'stage', 'epoch', 'lr']].equals(two[['fold', 'stage', 'epoch', 'lr']])
    for column in ('train_loss', 'valid_loss'):
        np.testing.assert_allclose(one[column], two[column], rtol=1e-3)


def test_another_number_of_processes_is_another_experiment(runs):
    with pytest.raises(KitError, match='it ran with gpus 2, and now gpus 4'):
        runs['train'](gpus=4)


def test_worker_processes_end_with_their_parent():
    wait = (
        'from kagglekit.runs.workers import launch_workers; '
        "launch_workers('multiprocessing.connection:wait', dict(object_list=[], timeout=100), 2, {})"
    )
    parent = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', wait], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.time() + 180
        while len(workers(parent.pid)) < 2:
            assert parent.poll() is None and time.time() < end
            time.sleep(0.1)
        every = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()
    assert len(every) == 3 and not psutil.wait_procs(every, timeout=90)[1]  # torchrun and its two
