"Sweeps: what is run, under which IDs, in which order, and what the commands and the journal say of it."

import json
import multiprocessing
import time
from collections import Counter
import pytest
from kagglekit.cli import main
from kagglekit.core.storage import write_json
from kagglekit.report.journal import journal
from kagglekit.runs.process import environment, heartbeat, this_process
from kagglekit.runs.recipe import RECIPES, Recipe
from kagglekit.runs.run import Run
from kagglekit.sweeps import jobs
from kagglekit.sweeps.plan import reserve
from kagglekit.sweeps.jobs import LocalEngine, OtherJob
from kagglekit.sweeps.record import read_sweeps, record_sweep
from kagglekit.sweeps.search import Screen, Search, open_study
from kagglekit.sweeps.study import STUDIES, Range, Study, add_study
from kagglekit.sweeps.sweep import Sweep

COMP = 'shapes-practice'


class AtOnce:
    "A run that has ended when it begins: done, or failed where its ID says so."

    def __init__(self, run):
        self.run = run
        ok = 'bs8' not in run.exp
        write_json(run.folder / 'status.json', dict(state='done' if ok else 'failed', error='' if ok else 'no memory'))
        if ok:
            write_json(
                run.folder / 'score.json', dict(metric='macro_f1', mean=0.9, sd=0.01, oof=0.9, folds=[], seconds=9)
            )
            (run.folder / 'oof.parquet').touch()

    def ended(self):
        return True

    def place(self):
        return ''


@pytest.fixture
def begun(space, monkeypatch):
    "The IDs of runs in the order in which they began; none of them trains."
    exps = []

    def start(engine, run, recipe):
        exps.append(run.exp)
        run.folder.mkdir(parents=True, exist_ok=True)
        return AtOnce(run)

    monkeypatch.setattr(jobs.LocalEngine, 'start', start)
    return exps


def sweep(*args):
    "The exit status of `kagglekit sweep shapes-practice …`."
    with pytest.raises(SystemExit) as end:
        main(['sweep', COMP, *args])
    return end.value.code


def test_a_grid_with_seeds_is_ordinary_runs_with_a_parent_and_a_difference(begun, capsys):
    line = ('--ids', 'exp0001', '--grid', 'lr=0.01,0.02', '--seeds', '2')
    assert sweep(*line) == 0
    assert begun == ['exp0001-lr0.01', 'exp0001-lr0.01-seed1', 'exp0001-lr0.02', 'exp0001-lr0.02-seed1']
    table = journal(COMP).set_index('exp')
    assert table.loc[begun[3], ['parent', 'difference']].tolist() == ['exp0001-lr0.02', 'seed 1']
    assert table.loc[begun[2], ['parent', 'difference']].tolist() == ['exp0001', 'lr 0.02']
    assert sweep(*line) == 0 and len(begun) == 4
    assert '4 of 4 are done' in capsys.readouterr().out
    assert read_sweeps(COMP)['exp0001: lr × 2, 2 seeds']['runs'] == begun


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(begun, capsys):
    line = ('--ids', 'exp0001', '--grid', 'bs=8,32')
    assert sweep(*line) == 1
    assert begun == ['exp0001-bs8', 'exp0001-bs32']
    assert f'{COMP}/exp0001-bs8 failed: no memory' in capsys.readouterr().out
    assert sweep(*line) == 1 and begun[2:] == ['exp0001-bs8']


def test_rehearse_is_a_sweep_of_the_page(begun):
    with pytest.raises(SystemExit) as end:
        main(['rehearse', COMP, '--jobs', '2'])
    assert end.value.code == 0 and begun == ['exp0001', 'exp0002']


@pytest.mark.parametrize(
    'args, words',
    [
        (['--ids', 'exp0009'], 'has no exp0009'),
        (['--grid', 'lr'], 'needs values'),
        (['--grid', 'epochs=0,1'], 'epochs must be'),
        (['--grid', 'lrr=1'], 'did you mean lr?'),
        (['--ids', 'exp0001', '--grid', 'arch=resnet81'], 'resnet18'),
        (['--seeds', '0'], 'seeds: 1 or more'),
        (['--jobs', '0'], 'jobs: 1 or more'),
        (['--search', 'rate'], 'has no study rate'),
        (['--search', 'rate', '--seeds', '2'], 'leave out'),
        (['--search', 'rate', '--folds', 'apart'], 'leave out --folds'),
    ],
)
def test_a_mistake_is_refused_before_anything_runs(begun, capsys, args, words):
    assert sweep(*args) == 2
    assert words in capsys.readouterr().err
    assert begun == [] and not read_sweeps(COMP)


def test_an_id_that_belongs_to_another_recipe_is_refused(begun, capsys):
    assert sweep('--ids', 'exp0001', '--grid', 'lr=0.01') == 0
    folder = Run(COMP, 'exp0001-lr0.01').folder
    record = (folder / 'params.json').read_text()
    (folder / 'params.json').write_text(record.replace('"bs": 16', '"bs": 64'))
    assert sweep('--ids', 'exp0001', '--grid', 'lr=0.01,0.02') == 2
    assert 'it ran with bs 64' in capsys.readouterr().err
    assert begun == ['exp0001-lr0.01']


@pytest.fixture
def study(space):
    "A study of two trials on the page, judged by the first fold."
    recipes = RECIPES[COMP]
    tiny = recipes['exp0001'].but('tiny', 'one epoch', epochs=1, folds=2)
    reserve(COMP, [tiny])
    add_study(recipes, Study('rate', tiny, dict(lr=Range(1e-3, 1e-2, log=True)), trials=2, value='fold'))
    yield
    STUDIES.pop(COMP)


def test_a_search_continues_what_an_earlier_one_left(begun, study, capsys):
    assert sweep('--search', 'rate') == 1  # a stand-in has no first fold, so each trial fails
    assert begun == ['rate-000', 'rate-001'] and 'none complete yet' in capsys.readouterr().out
    assert sweep('--search', 'rate') == 1 and len(begun) == 2
    assert journal(COMP).set_index('exp').loc['rate-001', 'parent'] == 'tiny'
    assert read_sweeps(COMP)['study rate: lr']['runs'] == begun


RATE = Study('rate', Recipe('exp0001', epochs=1, folds=2), dict(lr=Range(1e-4, 1e-1, log=True)), trials=24)


class Stub(LocalEngine):
    "One run at a time; it ends at once, and a list has its ID."

    def start(self, run, recipe):
        with open(run.folder.parent / 'started.txt', 'a') as f:
            f.write(f'{run.exp}\n')
        write_json(run.folder / 'score.json', dict(mean=0.5, folds=[], sd=0, oof=0.5, seconds=1))
        (run.folder / 'oof.parquet').touch()
        return OtherJob(run)


class Endless(Stub):
    "The run of a process that never ends by itself."

    def start(self, run, recipe):
        job = super().start(run, recipe)
        write_json(run.folder / 'status.json', dict(state='running', **this_process(), heartbeat=heartbeat()))
        return job


def search_alone(together, engine):
    "What a process does that searches."
    together.wait()
    s = Search(COMP, [], engine, Screen(print), study=RATE, opened=open_study(COMP, RATE))
    s.work()
    record_sweep(COMP, 'study', s.exps())


def started(space):
    "How often each run was started."
    return Counter((space / 'started.txt').read_text().split())


def test_searches_that_begin_at_once_share_the_trials_and_one_takes_up_that_of_a_killed_search(space):
    pytest.importorskip('optuna')
    environment()  # imports torch, once for all
    fork, n = multiprocessing.get_context('fork'), 12
    alone, together = fork.Barrier(1), fork.Barrier(n)
    killed = fork.Process(target=search_alone, args=(alone, Endless(1, [])))
    killed.start()
    while not (space / 'rate-000' / 'status.json').exists():
        assert killed.is_alive()
        time.sleep(0.01)
    killed.kill()
    killed.join()
    searches = [fork.Process(target=search_alone, args=(together, Stub(1, []))) for _ in range(n)]
    for process in searches:
        process.start()
    for process in searches:
        process.join(100)
    assert [process.exitcode for process in searches] == [0] * n
    exps = [RATE.exp(number) for number in range(RATE.trials)]
    assert started(space) == Counter([*exps, 'rate-000'])  # once by the killed search, and by one of the others
    trials = open_study(COMP, RATE).trials
    assert [t.state.name for t in trials] == ['COMPLETE'] * RATE.trials
    assert len({t.params['lr'] for t in trials}) == RATE.trials
    assert sorted(read_sweeps(COMP)['study']['runs']) == exps
    assert not list(space.glob('.study-rate-0*.lock'))


def test_a_run_that_another_sweep_began_in_the_same_second_is_waited_for(space, monkeypatch):
    run = Run(COMP, 'exp0001')
    refused = lambda comp, exp, fold=None: ['false']  # as a second process is
    monkeypatch.setattr(jobs, 'run_command', refused)
    s = Sweep(COMP, [Recipe('exp0001')], LocalEngine(1, []), Screen(print))
    s.fill()
    write_json(run.folder / 'status.json', dict(state='running', **this_process(), heartbeat=heartbeat()))
    s.running['exp0001'].wait()
    s.collect()
    assert isinstance(s.running['exp0001'], OtherJob) and not s.failed
    Stub(1, []).start(run, None)
    write_json(run.folder / 'status.json', dict(state='done'))
    s.collect()
    assert s.done == {'exp0001'} and not s.running


@pytest.mark.slow
def test_a_search_stops_its_trials_after_the_fold_that_judges_them(space, study, capsys):
    assert sweep('--search', 'rate') == 0
    for exp in ('rate-000', 'rate-001'):
        run = Run(COMP, exp)
        assert run.state() in ('interrupted', 'done') and json.loads((run.folder / 'fold0/fold.json').read_text())
    assert '2 of 2 · rate-001 · ' in capsys.readouterr().out
