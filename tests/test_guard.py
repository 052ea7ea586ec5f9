"Which folds are stopped because they do not learn, and which are not."

from dataclasses import replace
from types import SimpleNamespace as Some
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
from kagglekit.training.guard import TrainingGuard
from kagglekit.metrics.registry import find_metric
from kagglekit.practice.standins import write_practice
from kagglekit.runs.run import Run
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.schedules import Stage


def verdict(losses, values, metric='auc', steps=30, error=0.01, dead_after=2, stages=None, classes=2):
    "What the guard says of a fold with this history, an epoch each."
    stages = stages or [Stage(len(losses), 1e-3)]
    fold = FoldFit(None, stages, find_metric(metric))
    where = [(i, e) for i, s in enumerate(stages) for e in range(s.epochs)]
    fold.history = [dict(stage=i, epoch=e, train_loss=loss, metric=v) for (i, e), loss, v in zip(where, losses, values)]
    fold.noise = [[steps, error]] * len(losses)
    guard = TrainingGuard(fold, np.array([]), dead_after)
    codes = np.arange(40) % classes
    valid = Some(y=torch.zeros(40, 1), all_rows=np.arange(40))
    guard.learn = Some(answer=Some(codes=lambda y: codes, columns=classes), dls=Some(valid=valid))
    return guard.verdict()


FLAT = [0.693, 0.691, 0.694, 0.692, 0.693, 0.690, 0.692, 0.693]
ALIVE = dict(
    rising_macro_f1=dict(losses=[1.42, 1.40], values=[0.14, 0.32], metric='macro_f1', classes=4),
    still_below_a_constant_but_rising=dict(losses=FLAT[:2], values=[0.14, 0.32], metric='macro_f1'),
    loss_falls_first=dict(losses=[0.69, 0.60, 0.52], values=[0.50, 0.50, 0.51]),
    loss_falls_slowly_over_many_steps=dict(
        losses=[0.6931, 0.6925, 0.6917], values=[0.50] * 3, error=0.0001, steps=8000
    ),
    few_easy_rows=dict(losses=FLAT, values=[0.5] * 8, steps=3),
    first_epochs_of_a_cycle=dict(losses=FLAT[:3], values=[0.5] * 3, stages=[Stage(10, 1e-3, 'onecycle')]),
    linear_warm_up=dict(losses=FLAT[:3], values=[0.5] * 3, stages=[Stage(10, 1e-3, 'warmup_restarts(T_0=10, T_up=3)')]),
    head_alone=dict(losses=FLAT[:4], values=[0.5] * 4, stages=[Stage(3, 1e-3, 'flat', head_only=True), Stage(5, 1e-3)]),
    one_good_epoch=dict(losses=FLAT[:4], values=[0.5, 0.56, 0.5, 0.5]),
    turned_off=dict(losses=FLAT, values=[0.5] * 8, dead_after=0),
    patient=dict(losses=FLAT[:4], values=[0.5] * 4, dead_after=5),
    undefined=dict(losses=FLAT, values=[float('nan')] * 8),
)
DEAD = dict(
    flat_from_the_start=dict(losses=FLAT[:2], values=[0.5, 0.51]),
    flat_after_the_first_fall=dict(losses=[0.9, 0.34, 0.341, 0.339], values=[0.49, 0.5, 0.51, 0.5]),
    getting_worse=dict(losses=[0.69, 0.75, 0.8], values=[0.5, 0.48, 0.47]),
    flat_after_the_rise=dict(losses=FLAT, values=[0.5] * 8, stages=[Stage(10, 1e-3, 'onecycle')]),
    flat_after_the_head=dict(
        losses=FLAT, values=[0.5] * 8, stages=[Stage(3, 1e-3, 'flat', head_only=True), Stage(5, 1e-3)]
    ),
    few_steps_an_epoch=dict(losses=FLAT, values=[0.5] * 8, steps=6),
    less_is_better=dict(losses=FLAT[:3], values=[0.70, 0.694, 0.6932], metric='log_loss'),
)


@pytest.mark.parametrize('case', ALIVE)
def test_a_fold_that_may_learn_is_not_stopped(case):
    assert verdict(**ALIVE[case]) == ''


@pytest.mark.parametrize('case', DEAD)
def test_a_fold_that_does_not_learn_is_stopped(case):
    assert 'has learnt nothing' in verdict(**DEAD[case])


def deaf(learn):
    "A learner whose head is zero and whose loss has no gradient."
    loss = learn.loss_func
    for p in learn.model.get_classifier().parameters():
        p.data.zero_()
    learn.loss_func = lambda z, y: loss(z.detach(), y) + 0 * z.sum()
    return learn


@pytest.fixture
def train_shapes(tmp_path, monkeypatch):
    "A function that trains two folds of the drawn shapes, some of which cannot learn."
    with workspace(tmp_path):
        load_pages()
        write_practice('shapes-practice', say=lambda line: None)
        comp, make = find_comp('shapes-practice'), fit.make_learner

        def _train(exp, cannot=(), **changes):
            parent = find_recipe('shapes-practice', 'exp0001')
            r = parent.but(exp, 'a guard at work', folds=2, bs=4, epochs=4, scheduler='flat')
            monkeypatch.setattr(fit, 'make_learner', lambda job, k: deaf(make(job, k)) if k in cannot else make(job, k))
            return train(replace(r, **changes), comp, run_folds(r, comp))

        yield _train


def test_a_stopped_fold_is_recorded_and_the_others_continue(train_shapes):
    score, run = train_shapes('half', cannot=[0]), Run('shapes-practice', 'half')
    epochs = [len(open(run.folder / 'history.csv').read().split(f'\n{k},')) - 1 for k in (0, 1)]
    assert epochs == [2, 4]
    assert list(score['dead']) == ['0'] and 'has learnt nothing in 2 epochs' in score['dead']['0']
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
