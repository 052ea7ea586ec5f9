"Interrupted runs: kills, Ctrl-C, a second run of the same id, a record without predictions."

import os
import shutil
import signal
import time
import pandas as pd
import psutil
from running import ARGS, LONG, kit, papermill, start, start_cold, status, until


def test_a_killed_kernel_is_reported_and_resumes_with_the_same_result(brief, undisturbed):
    run = start_cold('run', *ARGS)
    folder = brief / 'exp0001'
    until(lambda: status(folder).get('fold') == 1 and status(folder).get('epoch', 0) >= 1, run)
    os.kill(status(folder)['pid'], signal.SIGKILL)
    assert run.wait(60) != 0
    assert status(folder)['state'] == 'interrupted' and (folder / 'fold1' / 'resume.pt').exists()
    kept = (folder / 'fold0' / 'model.safetensors').stat().st_mtime_ns
    again = kit('run', *ARGS)
    assert again.returncode == 0, again.stderr[-2000:]
    assert (folder / 'fold0' / 'model.safetensors').stat().st_mtime_ns == kept
    for name in ('oof', 'test'):
        pd.testing.assert_frame_equal(
            pd.read_parquet(folder / f'{name}.parquet'), pd.read_parquet(undisturbed / f'{name}.parquet')
        )
    rows = [pd.read_csv(f / 'history.csv').drop(columns='seconds') for f in (folder, undisturbed)]
    pd.testing.assert_frame_equal(*rows)


def test_ctrl_c_leaves_no_kernel_behind(space):
    run = start('run', *ARGS, session=True)
    folder = space / 'exp0001'
    until(lambda: status(folder).get('epoch', -1) >= 0, run)
    kernel = status(folder)['pid']
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) != 0
    end = time.time() + 30
    while psutil.pid_exists(kernel) and time.time() < end:
        time.sleep(0.2)
    assert not psutil.pid_exists(kernel)
    assert kit('status', 'shapes-practice').stdout.count('interrupted') == 1


def test_a_run_in_the_background_can_be_stopped(space):
    run = start('run', *LONG, session=True, ignore=[signal.SIGINT])  # as a shell starts `kagglekit run … &`
    try:
        until(lambda: status(space / 'exp0009').get('epoch', -1) >= 0, run)
        run.terminate()
        assert run.wait(60) != 0
    finally:
        run.poll() is not None or os.killpg(run.pid, signal.SIGKILL)
    assert status(space / 'exp0009')['state'] == 'interrupted'


def test_a_second_run_of_the_same_id_is_refused(space):
    first = start('run', *LONG, session=True)
    until(lambda: status(space / 'exp0009').get('epoch', -1) >= 0, first)
    second = papermill(space / 'second.ipynb', '-p', 'exp', *LONG[1:])
    assert second.returncode != 0 and 'is being run, by process' in second.stderr
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(60) != 0


def test_a_record_without_predictions_is_run_again(brief, undisturbed):
    folder = brief / 'exp0001'
    folder.mkdir(parents=True)
    for name in ('params.json', 'score.json', 'history.csv', 'leaderboard.json'):
        shutil.copy(undisturbed / name, folder)
    assert 'recorded' in kit('status', 'shapes-practice').stdout
    done = kit('run', *ARGS)
    assert done.returncode == 0, done.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / 'oof.parquet'), pd.read_parquet(undisturbed / 'oof.parquet'))


def test_a_rehearsal_can_be_stopped_and_resumes(brief, undisturbed):
    first = start('rehearse', 'shapes-practice', session=True)
    folder = brief / 'exp0001'
    until(lambda: status(folder).get('fold') == 1 and status(folder).get('epoch', 0) >= 1, first)
    kernel = status(folder)['pid']
    first.terminate()
    assert first.wait(60) == 130 and 'the same command resumes' in first.communicate()[0]
    end = time.time() + 30
    while psutil.pid_exists(kernel) and time.time() < end:
        time.sleep(0.2)
    assert not psutil.pid_exists(kernel) and status(folder)['state'] == 'interrupted'
    again = kit('rehearse', 'shapes-practice', '--jobs', '2')
    assert again.returncode == 0 and '2 of 2 · ' in again.stdout, again.stdout[-2000:] + again.stderr[-2000:]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / 'oof.parquet'), pd.read_parquet(undisturbed / 'oof.parquet'))
