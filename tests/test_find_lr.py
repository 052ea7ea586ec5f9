"The learning-rate finder on the train page: a picture, and not a bit of the run."

import random
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from running import ROOT, train_here
from kagglekit.core.paths import workspace
from kagglekit.data.competition import load_pages
from kagglekit.fit import learning_rate
from kagglekit.fit.learning_rate import find_rates, plot_rates
from kagglekit.fit.train import load_experiment, train
from kagglekit.runs.recipe import resolve
from kagglekit.runs.run import Run
from kagglekit.runs.setup import open_setup, run_folds

load_pages()
COMP = 'shapes-practice'
SMALL = dict(parent='exp0001', arch='test_resnet', pretrained=False, size=32, bs=16, epochs=1, fit_folds=[1])
RANDOM = SMALL | dict(drop_rate=0.3, mixup=0.4, mixup_off=0.5, augment=['hflip', 'affine(45)'], accumulate=2)


@pytest.fixture(scope='module')
def home():
    "A workspace with a run that nothing was found for."
    with workspace() as folder:
        (folder / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
        train_here(COMP, 'bare', **RANDOM)
        yield folder


def test_the_finder_changes_no_bit_of_the_run(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comp, recipe = load_experiment(dict(comp=COMP, exp='found', **RANDOM, find_lr=True))
    folds = run_folds(recipe, comp)
    job = open_setup(recipe, comp, folds)
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    found = find_rates(job, 30)
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == states[2]
    assert list(tmp_path.iterdir()) == []  # fastai keeps the weights of its finder in a file
    assert len(found.rates) > 10 and found.rates == sorted(found.rates)
    score = train(recipe, comp, folds)
    assert score['folds'] == Run(COMP, 'bare').read('score.json')['folds']
    for name in ('model.safetensors', 'oof.parquet', 'test.parquet'):
        assert (Run(COMP, 'found').folder / 'fold1' / name).read_bytes() == (
            Run(COMP, 'bare').folder / 'fold1' / name
        ).read_bytes()


def test_the_picture_marks_the_suggestion_and_the_rates_of_the_recipe(home):
    comp, recipe = load_experiment(dict(comp=COMP, exp='marked', **RANDOM | dict(lr=(1e-3, 1e-4), epochs=(1, 1))))
    found = find_rates(open_setup(recipe, comp, run_folds(recipe, comp)), 60)
    ax = plot_rates(found._replace(suggested=0.01), recipe)
    marks = {line.get_label(): line.get_xdata()[0] for line in ax.lines[1:]}
    assert marks == {'recipe: 0.0001': 1e-4, 'recipe: 0.001': 1e-3, 'suggested: 0.01': 0.01}
    assert len(plot_rates(found._replace(suggested=float('nan')), recipe).lines) == 3
    assert Run(COMP, 'marked').read('status.json')['doing'] == 'trying learning rates'


class Moved(Callback):
    "The parameters that the optimizer has changed by the end of a fit."

    def before_fit(self):
        self.before = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def after_batch(self):
        now = dict(self.model.named_parameters())
        self.names = [name for name, p in self.before.items() if not torch.equal(p, now[name])]


@pytest.mark.parametrize(
    'fields, trained, frozen',
    [
        (dict(freeze=0.5), 'layer4', ('layer1.',)),
        (dict(arch='test_vit', lora=2), 'down', ('patch_embed', 'qkv.weight', 'mlp')),
    ],
)
def test_frozen_layers_stay_frozen_while_rates_are_tried(home, monkeypatch, fields, trained, frozen):
    "A rate for the whole network would be found where only its last layers are trained."
    made, moved = learning_rate._finder_learner, Moved()

    def watched(*args):
        learn = made(*args)
        learn.add_cb(moved)
        return learn

    monkeypatch.setattr(learning_rate, '_finder_learner', watched)
    comp, recipe = load_experiment(dict(comp=COMP, exp='part', **SMALL | fields, find_lr=True))
    find_rates(open_setup(recipe, comp, run_folds(recipe, comp)), 12)
    assert any(trained in name for name in moved.names), moved.names
    assert not any(part in name for name in moved.names for part in frozen), moved.names


def test_asking_for_it_makes_no_other_run(home):
    assert resolve(COMP, 'bare', find_lr=True).identity() == resolve(COMP, 'bare').identity()
