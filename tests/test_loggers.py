"Loggers: a function of an epoch's row, which cannot harm a training; trackers by name, each on this machine."

import sqlite3
from types import SimpleNamespace
import pandas as pd
import pytest
from fastai.callback.core import Callback
from running import ROOT, train_here
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import load_pages
from kagglekit.fit.train import load_experiment
from kagglekit.runs.run import Run
from kagglekit.training.plugins import LOGGERS, check_loggers, make_loggers

load_pages()
COMP = 'shapes-practice'
BRIEF = dict(parent='exp0001', arch='test_resnet', pretrained=False, size=32, bs=16, augment=[], fit_folds=[0, 2])
STOPS = BRIEF | dict(epochs=6, lr=1e-9, patience=1)  # no epoch is better than the first
ROWS: list[dict] = []


def collect(row):
    "Keeps the rows, and then spoils its copy."
    ROWS.append(dict(row))
    row.clear()


def broken(row):
    "A tracker whose server does not answer."
    raise ConnectionError('no route to host')


class Unfit(Callback):
    "A logger that is a callback, and fails before the first batch."

    def __init__(self, fit, folder):
        pass

    def before_fit(self):
        "Fail."
        raise OSError('the disk is full')


def refuses(fit, folder):
    "A logger that cannot be made."
    raise ValueError('no token')


@pytest.fixture(scope='module')
def home():
    "A workspace; the loggers above are registered while it is there."
    mine = dict(collect=collect, broken=broken, unfit=Unfit, refuses=refuses)
    with workspace() as folder:
        (folder / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
        for name, make in mine.items():
            LOGGERS.add(make, name=name)
        LOGGERS.add(broken, name='far', needs='a_package_of_nobody', pip='kagglekit[far]')
        yield folder
        for name in (*mine, 'far'):
            del LOGGERS[name]


@pytest.fixture(scope='module')
def logged(home):
    "The folders of a run without loggers, and of one with all of them."
    train_here(COMP, 'bare', **STOPS)
    train_here(COMP, 'logged', **STOPS, loggers=['refuses', 'unfit', 'broken', 'collect'])
    return Run(COMP, 'bare').folder, Run(COMP, 'logged').folder


def test_a_logger_gets_each_epoch_also_the_one_that_ends_a_training(logged):
    history = pd.read_csv(logged[1] / 'history.csv')
    assert len(history) == 4  # two folds, stopped after their second epochs
    table = pd.DataFrame(ROWS)
    assert set(table.comp) == {COMP} and set(table.exp) == {'logged'} and table.step.tolist() == [1, 2, 1, 2]
    pd.testing.assert_frame_equal(table[history.columns], history, check_dtype=False)


def test_a_logger_that_raises_changes_nothing_and_is_reported_once(logged):
    bare, other = logged
    for k in (0, 2):
        assert (bare / f'fold{k}/model.safetensors').read_bytes() == (other / f'fold{k}/model.safetensors').read_bytes()
    lines = [line for line in (other / 'log.txt').read_text().splitlines() if 'failed' in line]
    assert len(lines) == 3
    for line, words in zip(lines, ('refuses failed', 'unfit failed', 'broken failed')):
        assert words in line and 'the training continues without it' in line
    assert 'ConnectionError: no route to host' in lines[2]


def test_a_missing_package_is_refused_before_decoding(home):
    with pytest.raises(KitError, match=r"pip install 'kagglekit\[far\]'"):
        load_experiment(dict(comp=COMP, exp='far', **BRIEF | dict(size=48), loggers=['far']))
    assert not [path for path in (home / '.cache').rglob('*') if '-48x48-' in path.name]
    assert Run(COMP, 'far').read('status.json')['state'] == 'failed'
    assert Run(COMP, 'far').read('status.json')['doing'] == 'reading'


def test_a_folder_of_that_name_is_no_package(home, tmp_path, monkeypatch):
    (tmp_path / 'a_package_of_nobody').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KitError, match='is not installed'):
        check_loggers(['far'])


def log_two(name, tmp_path):
    "Log two epochs of one fold with a tracker, as a training does."
    said, folder = [], tmp_path / 'outputs/toy/exp0001'
    recipe = dict(lr=0.1, augment=['hflip'])
    fit = SimpleNamespace(fold=0, history=[], made_by=dict(recipe=recipe), folder=folder / 'fold0', say=said.append)
    (logger,) = make_loggers([name], fit, folder)
    for epoch in range(2):
        numbers = dict(train_loss=0.5, valid_loss=float('nan'), metric=0.25 + epoch, lr=0.1, seconds=1.0)
        fit.history.append(dict(fold=0, stage=0, epoch=epoch) | numbers)
        logger.after_epoch()
    assert said == []
    return folder


def test_tensorboard_has_the_epochs(tmp_path):
    pytest.importorskip('tensorboard', reason='the extra kagglekit[tensorboard] is not installed')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(log_two('tensorboard', tmp_path) / 'tensorboard/fold0')).Reload()
    assert [(e.step, e.value) for e in events.Scalars('metric')] == [(1, 0.25), (2, 1.25)]


def test_wandb_writes_a_run_offline(tmp_path):
    wandb = pytest.importorskip('wandb', reason='the extra kagglekit[wandb] is not installed')
    folder = log_two('wandb', tmp_path)
    assert (wandb.run.group, wandb.run.name, wandb.run.project) == ('exp0001', 'exp0001 fold 0', 'toy')
    assert wandb.run.config['lr'] == 0.1 and wandb.run.summary['metric'] == 1.25 and wandb.run.offline
    wandb.finish()
    assert len(list(folder.glob('wandb/offline-run-*/run-*.wandb'))) == 1


def test_mlflow_writes_a_file_of_the_competition(tmp_path):
    mlflow = pytest.importorskip('mlflow', reason='the extra kagglekit[mlflow] is not installed')
    client = mlflow.MlflowClient(f'sqlite:///{log_two("mlflow", tmp_path).parent / "mlflow.db"}')
    (run,) = client.search_runs([client.get_experiment_by_name('toy').experiment_id])
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, 'metric')] == [(1, 0.25), (2, 1.25)]
    assert run.data.params == dict(exp='exp0001', lr='0.1', augment="['hflip']")


def test_trackio_writes_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv('TRACKIO_DIR', str(tmp_path / 'tracked'))
    trackio = pytest.importorskip('trackio', reason='the extra kagglekit[trackio] is not installed')
    log_two('trackio', tmp_path)
    trackio.finish()
    (path,) = (tmp_path / 'tracked').glob('*.db')
    with sqlite3.connect(path) as tables:
        rows = tables.execute('select run_name, step from metrics order by step').fetchall()
    assert rows == [('exp0001 fold 0', 1), ('exp0001 fold 0', 2)]
