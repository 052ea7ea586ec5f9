"""Many workers on one study: Optuna's journal file as the package opens it, and trials that end at once.

python bench/search.py                    # 100 workers, 500 trials, in a temporary workspace
python bench/search.py --n 10 --trials 50
python bench/search.py --at DIR           # in a workspace below DIR, such as a network disk
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
import numpy as np
from kagglekit.core.paths import workspace
from kagglekit.core.storage import write_json
from kagglekit.core.threads import usable_cores
from kagglekit.runs.process import environment
from kagglekit.runs.recipe import Recipe
from kagglekit.sweeps.jobs import LocalEngine, OtherJob
from kagglekit.sweeps.progress import Screen
from kagglekit.sweeps.search import Search, import_optuna, open_study
from kagglekit.sweeps.study import Range, Study

PARTS = ('open', 'next', 'propose', 'report', 'tell')  # what a worker waits for


class Stub(LocalEngine):
    "Runs of three epochs that end at once."

    def start(self, run, recipe):
        metric = 1 / (1 + abs(np.log10(recipe.lr) + 2))
        rows = [f'0,0,{epoch},{metric * (epoch + 1) / 3}' for epoch in range(3)]
        (run.folder / 'history.csv').write_text('\n'.join(['fold,stage,epoch,metric', *rows]))
        write_json(run.folder / 'score.json', dict(mean=metric))
        (run.folder / 'oof.parquet').touch()
        return OtherJob(run)


class Timed(Search):
    "A search that notes what it waits for, and which trials it has had."

    def __post_init__(self):
        super().__post_init__()
        self.spent, self.exps_had = {part: [] for part in PARTS}, []

    @contextmanager
    def timed(self, part):
        "Note the time of a block."
        start = time.perf_counter()
        yield
        self.spent[part].append(time.perf_counter() - start)

    def _next(self):
        with self.timed('next'):
            return super()._next()

    def _take(self, trial):
        with self.timed('propose'):
            super()._take(trial)
        self.exps_had.append(self.study.exp(trial.number))

    def _report(self, exp):
        with self.timed('report'):
            return super()._report(exp)

    def _tell(self, exp):
        with self.timed('tell'):
            return super()._tell(exp)

    def work_fast(self):
        "As `work`, without its pauses."
        self.fill()
        while self.running:
            self.collect()
            self.fill()


def worker(n, study, together, answers):
    "One process: its own storage, trials until none is left."
    together.wait()
    start, error, s = time.perf_counter(), '', None
    try:
        opened = open_study('toy', study)
        s = Timed('toy', [], Stub(1, []), Screen(lambda line: None), study=study, opened=opened)
        s.spent['open'].append(time.perf_counter() - start)
        s.work_fast()
    except Exception as e:
        error = f'{type(e).__name__}: {e}'
    write_json(answers / f'{n}.json', dict(error=error, spent=s and s.spent, exps=s and s.exps_had))


def search(study, workers):
    "Wall-clock seconds of a search, and what each worker says."
    import_optuna()
    environment()  # imports torch, once for all, as the line above does Optuna
    fork = multiprocessing.get_context('fork')
    together = fork.Barrier(workers + 1)
    with tempfile.TemporaryDirectory() as folder:
        args = [(n, study, together, Path(folder)) for n in range(workers)]
        processes = [fork.Process(target=worker, args=each) for each in args]
        for process in processes:
            process.start()
        together.wait()
        start = time.perf_counter()
        for process in processes:
            process.join()
        seconds = time.perf_counter() - start
        return seconds, [json.loads(path.read_text()) for path in Path(folder).iterdir()]


def show(study, seconds, said):
    "Trials a second, errors, doubles, and what the workers waited for."
    had = Counter(exp for one in said for exp in one['exps'] or [])
    errors = Counter(one['error'] for one in said if one['error'])
    trials = open_study('toy', study).get_trials(deepcopy=False)
    complete = sum(trial.state.name == 'COMPLETE' for trial in trials)
    doubles = sum(n > 1 for n in had.values())
    print(f'{len(said)} workers, {usable_cores()} cores: {complete} of {study.trials} trials in {seconds:.1f} s')
    print(f'{complete / seconds:.1f} trials a second; doubles: {doubles}; errors: {sum(errors.values())}', *errors)
    print(f'{"":10}{"times":>8}{"median":>10}{"95 %":>10}{"longest":>10}   ms')
    for part in PARTS:
        spent = 1000 * np.array([ms for one in said if one['spent'] for ms in one['spent'][part]])
        middle, most, longest = np.quantile(spent, [0.5, 0.95, 1])
        print(f'{part:10}{len(spent):8d}{middle:10.1f}{most:10.1f}{longest:10.1f}')
    return had, errors


def bench(workers, trials):
    "A search in the workspace of the moment."
    parent = Recipe('exp0001', epochs=3, folds=2)
    study = Study('rate', parent, dict(lr=Range(1e-4, 1e-1, log=True)), trials)
    return show(study, *search(study, workers))


if __name__ == '__main__':
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument('--n', type=int, default=100, metavar='WORKERS')
    given.add_argument('--trials', type=int, default=500)
    given.add_argument('--at', type=Path, metavar='DIR', help='a folder on the disk to be tried')
    a = given.parse_args()
    with tempfile.TemporaryDirectory(dir=a.at) as home, workspace(home):
        bench(a.n, a.trials)
