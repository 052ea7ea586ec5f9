"Which folds are stopped because they do not learn, and which are not."

from dataclasses import replace
import numpy as np
import pytest
import torch
from kagglekit.fit import train as fit
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.setup import run_folds
from kagglekit.fit.train import train
from kagglekit.images.loaders import fold_loaders
from kagglekit.metrics.registry import constant_score, find_metric
from kagglekit.models.heads import OutputSpec
from kagglekit.models.losses import find_loss
from kagglekit.models.outputs import make_loss, make_output
from kagglekit.runs.run import Run
from kagglekit.targets.target import Grades, Numbers
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.fold_fit import EpochSigns, FoldFit
from kagglekit.training.guard import TrainingGuard, is_flat
from kagglekit.training.learner import PrepareBatch, fold_learner, pixel_stats
from kagglekit.training.schedules import Stage
from running import write_few_shapes


def verdict(losses, related, steps=60, error=0.01, dead_after=2, stages=None):
    "What the guard says of a fold with this history, an epoch each."
    stages = stages or [Stage(len(losses), 1e-3)]
    fold = FoldFit(None, stages, find_metric('auc'))
    where = [(i, e) for i, s in enumerate(stages) for e in range(s.epochs)]
    fold.history = [dict(stage=i, epoch=e, train_loss=loss, metric=0.5) for (i, e), loss in zip(where, losses)]
    fold.signs = [EpochSigns(steps, error, r) for r in related]
    return TrainingGuard(fold, np.array([]), dead_after).verdict()


FLAT = [0.693, 0.691, 0.694, 0.692, 0.693, 0.690, 0.692, 0.693]
NEVER = [False] * 8
HEAD_FIRST = [Stage(3, 1e-3, 'flat', head_only=True), Stage(5, 1e-3)]
ALIVE = dict(
    related_at_once=dict(losses=FLAT, related=[True] * 8),
    one_related_epoch=dict(losses=FLAT[:4], related=[False, True, False, False]),
    loss_falls_first=dict(losses=[0.69, 0.60, 0.52], related=NEVER),
    loss_falls_slowly_over_many_steps=dict(losses=[0.6931, 0.6925, 0.6917], related=NEVER, error=0.0001, steps=8000),
    few_easy_rows=dict(losses=FLAT, related=NEVER, steps=3),
    first_epochs_of_a_cycle=dict(losses=FLAT[:3], related=NEVER, stages=[Stage(10, 1e-3, 'onecycle')]),
    linear_warm_up=dict(losses=FLAT[:3], related=NEVER, stages=[Stage(10, 1e-3, 'warmup_restarts(T_0=10, T_up=3)')]),
    head_alone=dict(losses=FLAT[:4], related=NEVER, stages=HEAD_FIRST),
    turned_off=dict(losses=FLAT, related=NEVER, dead_after=0),
    patient=dict(losses=FLAT[:4], related=NEVER, dead_after=5),
    undefined=dict(losses=FLAT, related=[None] * 8),
)
DEAD = dict(
    flat_from_the_start=dict(losses=FLAT[:2], related=NEVER),
    flat_after_the_first_fall=dict(losses=[0.9, 0.34, 0.341, 0.339], related=NEVER),
    getting_worse=dict(losses=[0.69, 0.75, 0.8], related=NEVER),
    flat_after_the_rise=dict(losses=FLAT, related=NEVER, stages=[Stage(10, 1e-3, 'onecycle')]),
    flat_after_the_head=dict(losses=FLAT, related=NEVER, stages=HEAD_FIRST),
    lost_after_the_head=dict(losses=FLAT, related=[True] * 3 + [False] * 5, stages=HEAD_FIRST),
    few_steps_an_epoch=dict(losses=FLAT, related=NEVER, steps=15),
    resumed_from_an_earlier_version=dict(losses=FLAT, related=[None] * 4 + [False] * 4),
)


@pytest.mark.parametrize('case', ALIVE)
def test_a_fold_that_may_learn_is_not_stopped(case):
    assert verdict(**ALIVE[case]) == ''


@pytest.mark.parametrize('case', DEAD)
def test_a_fold_that_does_not_learn_is_stopped(case):
    assert 'has learnt nothing' in verdict(**DEAD[case])


N, WIDTH = 480, 36  # rows, and pixels of their images


def kind_of(name):
    "Codes, targets, output and loss of a kind of target, whose truth depends on the first pixels of an image."
    g = np.random.default_rng(0)
    x = g.normal(size=(N, 6, 6, 1)).astype(np.float32)
    signal = x.reshape(N, WIDTH)[:, :6].sum(1) / 6**0.5 + g.normal(size=N)
    if name == 'class':
        y = (signal > np.quantile(signal, 0.75)).astype(int)  # a quarter is positive
        return x, y, OutputSpec(1), find_loss('bce')
    target = Numbers(('weight',)) if name == 'numbers' else Grades(('none', 'mild', 'severe'))
    y = signal[:, None] if name == 'numbers' else np.digitize(signal, [-0.6, 1.2])
    output = make_output(target, 'mse', y)
    return x, y, output, make_loss(output, 'mse')


class Score:
    "The metric of rows, as a run gives it."

    def __init__(self, metric, truth):
        self.metric, self.truth = metric, truth

    def __call__(self, rows, P):
        return self.metric(self.truth[rows], P)


class Net(torch.nn.Module):
    "A linear network whose outputs begin at the class frequencies, or at the mean."

    def __init__(self, start, deaf):
        super().__init__()
        self.head, self.deaf = torch.nn.Linear(WIDTH, 1), deaf
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.constant_(self.head.bias, start)

    def forward(self, x):
        return self.head(0 * x.flatten(1) if self.deaf else x.flatten(1))


def trained(folder, metric, kind, state):
    "A fold that learns slowly, one whose outputs do not depend on the image, or one that meets a NaN."
    x, y, output, loss = kind_of(kind)
    if state == 'nan':
        x[7] = np.nan
    start = -1.1 if kind == 'class' else 0.0
    dls = fold_loaders(x, output.targets(y), np.arange(N) % 4, k=0, bs=24, device='cpu')
    net = Net(start, deaf=state == 'collapsed')
    learn = fold_learner(dls, net, loss, PrepareBatch(pixel_stats(net, 1, 'float32')), output)
    m = find_metric(metric)
    lr = 1e-4 if kind == 'class' else 1e-5
    fold = FoldFit(folder, [Stage(8, lr, 'flat', 'SGD')], m, scorer=Score(m, y))
    fit_stages(learn, fold, [f'row{i}' for i in range(N)], options=dict(dead_after=2))
    return fold


METRICS = {
    'pfbeta(beta=1)': 'class',
    'fbeta(beta=2)': 'class',
    'auc': 'class',
    'log_loss': 'class',
    'rmse': 'numbers',
    'qwk': 'grades',
}


@pytest.mark.parametrize('metric', METRICS)
def test_a_fold_is_judged_alike_whatever_its_metric(metric, tmp_path):
    learns = trained(tmp_path, metric, METRICS[metric], 'learns')
    losses = [row['train_loss'] for row in learns.history]
    assert is_flat(losses, [s.error for s in learns.signs])  # only the outputs tell that it learns
    assert not learns.dead and len(learns.history) == 8
    (tmp_path / 'resume.pt').unlink()
    dead = trained(tmp_path, metric, METRICS[metric], 'collapsed')
    assert 'no better than shuffled ones' in dead.dead and len(dead.history) == 7
    (tmp_path / 'resume.pt').unlink()
    with pytest.raises(KitError, match='the inputs of row7 hold NaN'):
        trained(tmp_path, metric, METRICS[metric], 'nan')


def test_a_constant_beats_a_fold_that_learns_in_some_metrics(tmp_path):
    "Which is why the guard does not ask the metric."
    fold = trained(tmp_path, 'pfbeta(beta=1)', 'class', 'learns')
    y = kind_of('class')[1][::4]
    constant = constant_score(find_metric('pfbeta(beta=1)'), y, 2)
    assert max(row['metric'] for row in fold.history) < constant - 0.1


def test_many_classes_are_judged_too(monkeypatch, tmp_path):
    monkeypatch.setattr('kagglekit.targets.top_rows.MANY', 0)
    x, y, output, loss = kind_of('class')
    output = OutputSpec(2)
    for deaf, related in ((False, True), (True, False)):
        dls = fold_loaders(x, output.targets(y), np.arange(N) % 4, k=0, bs=24, device='cpu')
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(WIDTH, 2))
        if deaf:
            torch.nn.init.zeros_(net[1].weight)
        learn = fold_learner(dls, net, find_loss('ce'), PrepareBatch(pixel_stats(net, 1, 'float32')), output)
        m = find_metric('accuracy')
        fold = FoldFit(tmp_path / str(deaf), [Stage(3, 0 if deaf else 2e-2)], m, scorer=Score(m, y))
        fold.folder.mkdir()
        fit_stages(learn, fold, [f'row{i}' for i in range(N)])
        assert fold.signs[-1].related is related


def deaf(learn):
    "A learner whose head is zero and whose loss has no gradient."
    loss = learn.loss_func
    for p in learn.model.get_classifier().parameters():
        p.data.zero_()
    learn.loss_func = lambda z, y: loss(z.detach(), y) + 0 * z.sum()
    return learn


@pytest.fixture
def train_shapes(tmp_path, monkeypatch):
    "A function that trains two folds of half the drawn shapes, some of which cannot learn."
    monkeypatch.setattr('kagglekit.training.guard.MIN_STEPS', 50)  # for half the rows
    with workspace(tmp_path):
        load_pages()
        write_few_shapes(rows=120)
        comp, make = find_comp('shapes-practice'), fit.make_learner

        def _train(exp, cannot=(), **changes):
            parent = find_recipe('shapes-practice', 'exp0001')
            r = parent.but(exp, 'a guard at work', folds=2, bs=4, epochs=6, scheduler='flat')
            monkeypatch.setattr(fit, 'make_learner', lambda job, k: deaf(make(job, k)) if k in cannot else make(job, k))
            return train(replace(r, **changes), comp, run_folds(r, comp))

        yield _train


def test_a_stopped_fold_is_recorded_and_the_others_continue(train_shapes):
    score, run = train_shapes('half', cannot=[0]), Run('shapes-practice', 'half')
    epochs = [len(open(run.folder / 'history.csv').read().split(f'\n{k},')) - 1 for k in (0, 1)]
    assert epochs == [4, 6]
    assert list(score['dead']) == ['0'] and 'has learnt nothing in 4 epochs' in score['dead']['0']
    assert run.state() == 'done' and run.read('status.json')['dead'] == score['dead']
    assert '(fold 0 learnt nothing)' in (run.folder / 'log.txt').read_text()


def test_a_run_fails_if_all_folds_are_stopped_and_resumes_without_the_guard(train_shapes):
    run = Run('shapes-practice', 'none')
    for _ in range(2):  # asked again, it says the same at once
        with pytest.raises(KitError, match='no fold of 2 learnt anything'):
            train_shapes('none', cannot=[0, 1])
    assert run.state() == 'failed' and 'take another lr' in run.read('status.json')['error']
    score = train_shapes('none', dead_after=0)  # the same id: a guard is no part of it
    assert run.state() == 'done' and 'dead' not in score and score['mean'] > 0.25
