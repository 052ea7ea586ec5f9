"The picture of the first batch shows what the network will see, and changes nothing of what follows."

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from running import write_few_shapes
from kagglekit.core.paths import workspace
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.plots import _show, _titles, plot_batch, plt, to_image
from kagglekit.fit.train import train
from kagglekit.images.pipelines import PIPELINES
from kagglekit.models.heads import OutputSpec
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import make_learner, open_setup, run_folds
from kagglekit.targets.target import OneOf
from kagglekit.training.learner import PrepareBatch

NAME = 'shapes-practice'


def negative():
    "A pipeline that turns black into white."
    return lambda image, g: 255 - image


@pytest.fixture
def small(tmp_path, monkeypatch):
    "A workspace with 60 drawn shapes, and a recipe that changes them in every way."
    load_pages()
    monkeypatch.setattr(fit, 'STAND_INS', {})
    monkeypatch.setitem(PIPELINES, 'negative', PIPELINES.make('negative', negative))
    changes = dict(pipeline='negative', augment=('affine(20)',), mixup=1.0, cutmix=1.0, inputs='rgb')
    tiny = dict(arch='test_resnet', folds=2, epochs=1, bs=16, **changes)
    with workspace(tmp_path):
        write_few_shapes()
        yield find_comp(NAME), find_recipe(NAME, 'exp0001').but('whole', 'changed in every way', **tiny)


def draw(comp, recipe):
    "The learner of the first fold, and the images and titles of its picture, a row each."
    setup = open_setup(recipe, comp, run_folds(recipe, comp), say=lambda line: None)
    learner = make_learner(setup, 0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    axes = plot_batch(learner, comp, recipe.seed, n=5).axes
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    images = [np.asarray(ax.images[0].get_array()) for ax in axes]
    titles = [' '.join(ax.get_title().split()) for ax in axes]
    return setup, learner, images, titles


def weights(comp, recipe):
    train(recipe, comp, run_folds(recipe, comp))
    return load_file(Run(NAME, recipe.exp).fold_folder(1) / 'model.safetensors')


def test_the_picture_shows_the_first_batch_and_the_run_stays_the_same(small, monkeypatch):
    comp, recipe = small
    seen, prepare = [], PrepareBatch._prepare_training

    def note(callback, x, y, t):
        out = prepare(callback, x, y, t)
        if callback.dls.train.epoch_key == (recipe.seed, 0, 0, 0):
            seen.append((callback.dls.train.rows, *out[:2]))
        return out

    monkeypatch.setattr(PrepareBatch, '_prepare_training', note)
    without = weights(comp, recipe)
    setup, learner, images, titles = draw(comp, recipe)
    again = weights(comp, replace(recipe, exp='after'))
    assert all((without[k] == again[k]).all() for k in without)
    rows, x, y = seen[0]
    np.testing.assert_array_equal(np.stack(images[:5]), setup.train[rows[:5]] / np.float32(255))  # not yet negative
    np.testing.assert_allclose(np.stack(images[5:10]), [to_image(p, learner) for p in x[:5]], atol=1e-6)
    assert titles[:5] == [comp.names[code] for code in comp.train.target[rows[:5]]]
    mixed = [f'{comp.names[t.argmax()]} {t.max():.2f}' if t.max() < 0.999 else comp.names[t.argmax()] for t in y[:5]]
    assert [title.split(' +')[0] for title in titles[5:10]] == mixed and any('+' in title for title in titles)
    assert all((a != b).any() for a, b in zip(images[5:10], images[10:]))  # other numbers in the next epoch


def learner_of(std, channels, answer=None):
    stats = torch.zeros(1, channels, 1, 1), torch.full((1, channels, 1, 1), float(std))
    return SimpleNamespace(prepare_batch=SimpleNamespace(stats=stats), answer=answer)


def test_channels_of_other_kinds_are_side_by_side_in_the_range_of_the_image_as_read():
    ax = plt.figure().subplots()
    read = torch.linspace(-2, 2, 12).reshape(2, 2, 3)
    _show(ax, 10 * read, read, learner_of(1, 2))
    shown = ax.images[0]
    assert shown.get_array().shape == (2, 6) and shown.get_cmap().name == 'magma'
    np.testing.assert_allclose(shown.get_clim(), np.quantile(read.numpy(), (0.01, 0.99)))
    _show(ax, read[:1] / 4, read[:1], learner_of(255, 1))  # grey files: black is 0
    assert ax.images[1].get_cmap().name == 'gray' and ax.images[1].get_clim() == (0, 1)


def test_a_row_of_heads_shows_the_shares_of_each_head():
    heads = ('mask', ('on', 'off')), ('age', ('young', 'middle', 'old'))
    comp = SimpleNamespace(target=OneOf(tuple('abcdef')), heads=heads)
    answer = OutputSpec(6, [2, 3])
    targets = torch.tensor([[1.0, 0, 0, 0, 1], [0.7, 0.3, 1, 0, 0], [float('nan')] * 5])
    titles = [' '.join(t.split()) for t in _titles(learner_of(1, 1, answer), comp, targets)]
    assert titles == ['mask on, age old', 'mask on 0.70 + off 0.30, age young', 'mask ?, age ?']
