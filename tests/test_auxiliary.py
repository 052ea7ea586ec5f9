"Auxiliary targets are learnt beside the target and leave no trace in what a run predicts; several masks of dropout."

from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import torch
from running import quiet, write_few_shapes
from safetensors.torch import load_file
from kagglekit.core.paths import workspace
from kagglekit.core.storage import hash_file
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.auxiliary import with_auxiliary
from kagglekit.fit.fold_progress import FoldProgress
from kagglekit.fit.preflight import preflight
from kagglekit.fit.train import train
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.recipe import Recipe, find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import read_predictions
from kagglekit.runs.setup import make_learner, open_setup, run_folds

NAME = 'shapes-practice'
TINY = dict(arch='test_convnext', pretrained=False, size=32, folds=2, epochs=2, lr=1e-3, dead_after=0)
BOTH = ('corners .5', 'colour')


def recipe(exp, **changes):
    return find_recipe(NAME, 'exp0001').but(exp, 'tiny', **TINY, **changes)


@pytest.fixture(scope='module')
def shapes():
    "A workspace with 60 drawn shapes, which have a number and a category that test rows have not."
    load_pages()
    read = READERS[NAME]

    def with_columns(name):
        comp = read(name)
        corners = comp.train.label.map(dict(circle=0, triangle=3, square=4)).astype(float)
        comp.train['corners'] = corners.where(comp.train.index % 3 > 0)
        comp.train['colour'] = np.where(comp.train.index % 2, 'red', 'blue')
        comp.train['one'] = 1.0
        return comp

    with workspace(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, 'STAND_INS', {})
        write_few_shapes()
        patch.setitem(READERS, NAME, with_columns)
        yield


def go(exp, **changes):
    comp, r = find_comp(NAME), recipe(exp, **changes)
    train(r, comp, run_folds(r, comp))
    return Run(NAME, exp)


def learner_of(r, k=0):
    comp = find_comp(NAME)
    setup = open_setup(r, comp, run_folds(r, comp), quiet)
    return with_auxiliary(setup, k, make_learner(setup, k))


def test_the_weights_and_predictions_of_a_run_hold_no_auxiliary_outputs(shapes):
    "The names and shapes are those without; the run predicts its test rows again; its body has learnt something else."
    plain, more = go('plain'), go('more', auxiliary=BOTH)
    states = [load_file(run.fold_folder(0) / 'model.safetensors') for run in (plain, more)]
    assert {k: v.shape for k, v in states[0].items()} == {k: v.shape for k, v in states[1].items()}
    assert not torch.equal(*(state['stem.0.weight'] for state in states))
    for name in ('oof', 'test', 'test_folds'):
        tables = [read_predictions(run.folder / f'{name}.parquet') for run in (plain, more)]
        assert list(tables[0]) == list(tables[1])
    assert list(pd.read_csv(more.folder / 'submission.csv')) == list(find_comp(NAME).sample)
    again = more.folder.parent / 'again.csv'
    predict(Request(more, out=again))
    assert again.read_bytes() == (more.folder / 'submission.csv').read_bytes()


def test_a_run_with_auxiliary_targets_and_masks_of_dropout_resumes_to_the_same_bytes(shapes, monkeypatch):
    changes = dict(auxiliary=BOTH, drop_rate=0.5, drop_samples=3, mixup=0.4, freeze_epochs=1)
    epoch = FoldProgress.epoch

    def stop(self, rows):  # in the middle of fold 0
        epoch(self, rows)
        if len(rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FoldProgress, 'epoch', stop)
        with pytest.raises(KeyboardInterrupt):
            go('halved', **changes)
    runs = [go('halved', **changes), go('whole', **changes)]
    assert len({hash_file(run.folder / 'oof.parquet') for run in runs}) == 1


def test_a_weight_scales_the_gradient_of_its_column_and_unknown_rows_have_none(shapes):
    rows = np.arange(12)

    def gradient(*auxiliary):
        torch.manual_seed(0)
        learn = learner_of(recipe('toy', auxiliary=auxiliary))
        x = torch.randn(12, 1, 32, 32, generator=torch.Generator().manual_seed(1))
        learn.loss_func(learn.model.train()(x), learn.dls.train.y[rows]).backward()
        return learn.model.stem[0].weight.grad

    with torch.random.fork_rng():
        none, light, double = gradient(), gradient('corners .5'), gradient('corners 1')
    torch.testing.assert_close(double - none, 2 * (light - none), rtol=1e-3, atol=1e-6)
    learn = learner_of(recipe('toy', auxiliary=('corners', 'colour')))
    y, trained = learn.dls.train.y, learn.dls.train.all_rows
    assert y[::3, -3].isnan().all() and not y[trained, -2:].isnan().any()
    known = y[trained, -3][~y[trained, -3].isnan()]
    assert abs(known.mean()) < 1e-5 and abs(known.std(correction=0) - 1) < 1e-5


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(auxiliary=('cornes',)), 'did you mean corners'),
        (dict(auxiliary=('one',)), 'one has 1 known value,'),
    ],
)
def test_a_column_without_anything_to_learn_is_refused_before_training(shapes, changes, words):
    with pytest.raises(KitError, match=words):
        preflight(find_comp(NAME), recipe('toy', **changes))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(auxiliary=('site',), mixup=0.4, mixup_label='or'), 'mixed linearly'),
        (dict(auxiliary=('site',), heads=('a', 'b'), separate_nets=True), 'leave out separate_nets'),
        (dict(auxiliary=('site',), inputs='abacad', augment=('time_reverse',)), 'changes labels'),
        (dict(drop_samples=4), 'drop_rate is 0'),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(KitError, match=words):
        Recipe(**changes)


def test_masks_of_dropout_are_averaged_in_training_alone(shapes):
    learn = learner_of(recipe('toy', drop_rate=0.5, drop_samples=4))
    plain = learner_of(replace(recipe('toy'), drop_rate=0.5))
    assert learn.model.state_dict().keys() == plain.model.state_dict().keys()
    x, t = torch.randn(6, 1, 32, 32), learn.dls.train.y[:6]
    z = learn.model.train()(x)
    assert z.shape[0] == 24 and learn.model.eval()(x).shape[0] == 6
    parts = torch.stack([plain.loss_func(part, t) for part in z.chunk(4)])
    torch.testing.assert_close(learn.loss_func(z, t), parts.mean())
