"""Many jobs in Slurm's queue: how fast they are submitted, what `kagglekit status` does meanwhile, and that all end.

python bench/slurm.py                     # 500 jobs of a stub, on a cluster of this machine alone; some minutes
python bench/slurm.py --n 20

Needs what tests/slurm_cluster.sh needs, and submitit.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from kagglekit.core.paths import workspace
from kagglekit.runs.process import environment
from kagglekit.runs.queue import read_queue
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.run import Run
from kagglekit.sweeps.slurm import SlurmEngine, SlurmOptions

CLUSTER = Path(__file__).parent.parent / 'tests' / 'slurm_cluster.sh'
COMP = 'shapes-practice'


class Stub(SlurmEngine):
    "Jobs that only say that their run is done."

    def task(self, run):
        (run.folder / 'oof.parquet').touch()
        return partial(Path.write_text, run.folder.resolve() / 'status.json', '{"state": "done"}')


@contextmanager
def counted(folder):
    "A file with a line for each squeue that is asked meanwhile."
    calls, path = folder / 'calls.txt', os.environ['PATH']
    calls.touch()
    script = folder / 'bin' / 'squeue'
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nPATH={path} exec squeue "$@"\n')
    script.chmod(0o755)
    os.environ['PATH'] = f'{script.parent}:{path}'
    try:
        yield lambda: len(calls.read_text().splitlines())
    finally:
        os.environ['PATH'] = path


def slurm(*line):
    "What a command of Slurm prints."
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def cpu():
    "CPU seconds of the commands so far."
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def status():
    "CPU seconds of `kagglekit status`, and how many runs are in which state."
    start = cpu()
    line = [sys.executable, '-c', 'from kagglekit.cli import main; main()', 'status', COMP]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    states = [row.split()[1] for row in done.stdout.splitlines()[1:]]
    return cpu() - start, Counter(states)


def queue(n, asked):
    "The whole way of n jobs in the cluster of the moment."
    slurm('scontrol', 'update', 'nodename=kit[1-2]', 'state=drain', 'reason=bench')
    environment()  # imports torch
    engine, start = Stub(SlurmOptions(gpus='0', time='5')), time.perf_counter()
    runs = [Run(COMP, f'exp{i:04d}') for i in range(1, n + 1)]
    jobs = []
    for run in runs:
        assert engine.joined(run) is None  # as a sweep looks before it starts a run
        jobs.append(engine.start(run, Recipe(run.exp)))
    spent = time.perf_counter() - start
    print(f'submitted: {n} jobs in {spent:.1f} s, {n / spent:.1f} a second; squeue was asked {asked()} times')
    before = asked()
    spent, states = status()
    print(f'kagglekit status: {dict(states)} in {spent:.1f} s of CPU; squeue was asked {asked() - before} times')
    slurm('scontrol', 'update', 'nodename=kit[1-2]', 'state=resume')
    start = time.perf_counter()
    while read_queue(fresh=True):
        time.sleep(1)
    spent = time.perf_counter() - start
    print(f'all jobs left the queue in {spent:.0f} s, {n / spent:.1f} a second, on two nodes of one core')
    assert all(job.ended() for job in jobs)
    spent, states = status()
    print(f'kagglekit status: {dict(states)} in {spent:.1f} s of CPU')
    return states


def bench(n):
    "A cluster, a workspace, and n jobs."
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ |= dict(SLURM_CONF=f'{folder}/slurm.conf', PATH=os.environ['PATH'] + ':/usr/sbin')
        subprocess.run(['bash', CLUSTER, 'start', folder], check=True, timeout=120)
        try:
            with counted(Path(folder)) as asked, workspace() as home:
                os.environ['KAGGLEKIT_ROOT'] = str(home)
                return queue(n, asked)
        finally:
            subprocess.run(['bash', CLUSTER, 'stop', folder], check=True, timeout=120)
            os.environ.clear()
            os.environ.update(before)


if __name__ == '__main__':
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument('--n', type=int, default=500, metavar='JOBS')
    bench(given.parse_args().n)
