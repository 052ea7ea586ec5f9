"A stranger's page: one of each thing that may be added, in a file outside the package, in real trainings."

import json
import os
import pandas as pd
import pytest
from running import ROOT, python

PAGE = """
import numpy as np, pandas as pd, torch
from dataclasses import replace
from fastai.callback.core import Callback
from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from kagglekit.blend.methods import weights_method
from kagglekit.competitions.shapes import read_shapes
from kagglekit.data.competition import competition
from kagglekit.images.formats import input_format, read_image
from kagglekit.metrics.registry import metric
from kagglekit.models.losses import loss
from kagglekit.runs.recipe import RECIPES, Recipe, Recipes
from kagglekit.training.augment import augmentation
from kagglekit.training.optimizers import OPTIMIZERS
from kagglekit.training.plugins import CALLBACKS, LOGGERS
from kagglekit.training.schedules import schedule
from kagglekit.training.tta import view

@metric('own_accuracy', values='labels')
def own_accuracy(y, labels):
    return (y == labels).mean()

def never_circle(p):  # a decision: class 0 is never answered
    return p[:, 1:].argmax(1) + 1

def with_capitals(ids, answers):  # a form: the same table, otherwise ordered and spelt
    return pd.DataFrame(dict(id=ids, label=[a.upper() for a in answers]))

@competition('shapes-stranger')
def read_own(name):
    comp = read_shapes(name)
    return replace(comp, metric='own_accuracy', decide=never_circle, form=with_capitals)

@loss(between=(0, 10))
def poly1(z, t, epsilon=1.0):
    p = (z.softmax(1) * t).sum(1)
    return -(t * z.log_softmax(1)).sum(1) + epsilon * (1 - p)

@augmentation('kept', 0.5, between=(0, 1))
def invert(x, y, u, amount, strength: float = 1.0):
    chosen = (u[:, 0] < amount)[:, None, None, None]
    return x.where(~chosen, -strength * x), y

view('transpose', lambda x, panels: x.transpose(2, 3), mirrors=True)

@OPTIMIZERS.add
def signed(params, lr, weight_decay=0.0, momentum=0.0):
    return torch.optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum)

@schedule
def linear(at, epochs, losses, floor=0.0):
    return 1 - (1 - floor) * at / epochs

@register_model
def resnet10_narrow(pretrained=False, **kwargs):
    shape = dict(block=BasicBlock, layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))
    return build_model_with_cfg(ResNet, 'resnet10_narrow', pretrained, **shape, **kwargs)

@CALLBACKS.add
class Shrink(Callback):
    "Multiplies the weights after each step; counts the steps, over restarts too."
    def __init__(self, by: float = 0.999):
        self.by, self.steps = by, 0
    def after_step(self):
        self.steps += 1
        with torch.no_grad():
            for p in self.learn.model.parameters():
                p.mul_(self.by)
    def state_dict(self):
        return dict(steps=self.steps)
    def load_state_dict(self, state):
        self.steps = state['steps']

@input_format('edges', 1)
def edges(path, size):
    x = read_image(path, size, 'L')
    return np.abs(np.diff(x.astype(int), axis=0, prepend=0)).clip(0, 255).astype(np.uint8)

@LOGGERS.add
class lines(Callback):
    "A line an epoch, in a text file."
    order = 66
    def __init__(self, fit, folder, sep=' '):
        folder.mkdir(exist_ok=True)
        self.fit, self.path, self.sep = fit, folder / f'fold{fit.fold}.txt', sep
    def after_epoch(self):
        row = self.fit.history[-1]
        with open(self.path, 'a') as f:
            f.write(self.sep.join([str(row['epoch']), f"{row['metric']:.4f}"]) + chr(10))

@weights_method('above_worst')
def above_worst(S, y, goal):
    scores = goal(S)
    return scores - scores.min() + 1e-9

base = Recipe('exp0001', arch='resnet10_narrow', pretrained=False, inputs='edges', size=32, folds=2, epochs=2, bs=32,
              loss='poly1(epsilon=.5)', augment=('invert(.3, strength=.9)', "invert(on='cross')"), tta=('transpose',),
              optimizer='signed(momentum=.9)', scheduler='linear(floor=.1)', callbacks=('Shrink(by=.9999)',),
              loggers=("lines(sep=';')",), lr=.05)
for name in ('shapes-practice', 'shapes-stranger'):
    page = RECIPES.get(name) or Recipes(name)
    page.pop('exp0001', None)
    page.add(base)
"""

RUN = """
import sys
import page
from kagglekit.fit.train import load_experiment, run_folds, train
given = dict(comp=sys.argv[1], exp=sys.argv[2])
comp, recipe = load_experiment(given)
train(recipe, comp, run_folds(recipe, comp))
"""


@pytest.fixture(scope='module')
def stranger(tmp_path_factory):
    "A workspace with the page, the drawn shapes under two names, and a function that runs Python in it."
    home = tmp_path_factory.mktemp('stranger')
    (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text(encoding='utf8'), encoding='utf8')
    (home / 'page.py').write_text(PAGE, encoding='utf8')
    (home / 'run.py').write_text(RUN, encoding='utf8')

    def run(*args):
        env = os.environ | dict(KAGGLEKIT_ROOT=str(home), KAGGLEKIT_DATA='')
        return python(*args, cwd=home, env=env)

    written = run('-c', "from kagglekit.practice.standins import write_practice as w; w('shapes-practice')")
    assert written.returncode == 0, written.stderr
    (home / 'data/shapes-stranger').symlink_to(home / 'data/shapes-practice', target_is_directory=True)
    done = run('run.py', 'shapes-practice', 'exp0001')
    assert done.returncode == 0, done.stderr[-3000:]
    return home, run


def read(folder, name):
    return json.loads((folder / name).read_text(encoding='utf8'))


def test_a_page_trains_with_its_own_things(stranger):
    folder = stranger[0] / 'outputs/shapes-practice/exp0001'
    params = read(folder, 'params.json')
    assert params['recipe']['callbacks'] == ['Shrink(by=.9999)']
    assert params['recipe']['augment'] == ['invert(amount=.3, strength=.9)', 'invert on cross']
    assert params['recipe']['loss'] == 'poly1 .5' and params['recipe']['optimizer'] == 'signed(momentum=.9)'
    assert read(folder, 'status.json')['state'] == 'done'
    history = pd.read_csv(folder / 'history.csv')
    assert history.lr.iloc[-1] < history.lr.iloc[0]


def test_a_logger_of_a_page_writes_its_own_file(stranger):
    folder = stranger[0] / 'outputs/shapes-practice/exp0001'
    rows = (folder / 'lines/fold1.txt').read_text().splitlines()
    metric = pd.read_csv(folder / 'history.csv').query('fold == 1').metric
    assert rows == [f'{i};{value:.4f}' for i, value in enumerate(metric)]


def test_the_code_of_the_page_is_recorded(stranger):
    code = read(stranger[0] / 'outputs/shapes-practice/exp0001', 'params.json')['code']
    kinds = sorted(name.split(',')[0] for name in code)
    assert kinds == [
        'augmentation invert',
        'callback Shrink',
        'loss poly1',
        'optimizer signed',
        'scheduler linear',
        'view transpose',
    ]


def test_a_competition_brings_its_metric_decision_and_form(stranger):
    home, run = stranger
    done = run('run.py', 'shapes-stranger', 'exp0001')
    assert done.returncode == 0, done.stderr[-3000:]
    folder = home / 'outputs/shapes-stranger/exp0001'
    sub = pd.read_csv(folder / 'submission.csv', dtype=str)
    assert read(folder, 'score.json')['metric'] == 'own_accuracy'
    assert set(sub.label) <= {'CROSS', 'SQUARE', 'TRIANGLE'}
    assert sub.id.tolist() == pd.read_csv(home / 'data/shapes-practice/sample_submission.csv', dtype=str).id.tolist()


def test_a_logger_is_no_part_of_an_identity_and_a_callback_is(stranger):
    home, run = stranger
    same = "import page; from kagglekit.runs.recipe import resolve; print(resolve('shapes-practice', 'exp0001', {}))"
    assert run('-c', same.format('loggers=()')).returncode == 0
    other = run('-c', same.format("callbacks=('Shrink',)"))
    assert other.returncode and 'another experiment' in other.stderr


WRONG = [
    ('callbacks', "('Shrimk',)", 'did you mean Shrink'),
    ('callbacks', "('Shrink(bye=.9)',)", 'did you mean by'),
    ('callbacks', "('Shrink(by=much)',)", 'must be a number'),
    ('loggers', "('linse',)", 'did you mean lines'),
    ('loggers', "('lines(fit=3)',)", "has no 'fit'"),
    ('optimizer', "'sighned'", 'did you mean signed'),
    ('optimizer', "'signed(nesterov=True)'", "has no 'nesterov'"),
    ('augment', "('invert(strenght=.5)',)", 'did you mean strength'),
    ('tta', "('transpos',)", 'did you mean transpose'),
    ('scheduler', "'linear(flor=.1)'", 'did you mean floor'),
    ('inputs', "'edge'", 'did you mean edges'),
]


def test_what_a_page_does_not_have_is_refused_with_the_nearest_name(stranger):
    tries = [f'(dict({field}={value}), {words!r})' for field, value, words in WRONG]
    code = f"""
import page
from kagglekit.core.validation import KitError
for i, (change, words) in enumerate([{', '.join(tries)}]):
    try:
        page.base.but('exp0002', **change)
    except KitError as e:
        assert words in str(e), (change, str(e))
    else:
        raise AssertionError(change)
"""
    done = stranger[1]('-c', code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_changed_callback_is_another_run(stranger):
    home, run = stranger
    (home / 'other').mkdir()
    text = (home / 'page.py').read_text(encoding='utf8').replace('p.mul_(self.by)', 'p.mul_(self.by ** 2)')
    (home / 'other/page.py').write_text(text, encoding='utf8')
    (home / 'other/run.py').write_text(RUN, encoding='utf8')
    done = run('other/run.py', 'shapes-practice', 'exp0001')
    assert done.returncode and 'the code of the callback Shrink has changed since' in done.stderr


RESUME = """
import page
from kagglekit.fit import train as fit
from kagglekit.training.callbacks import Checkpoint, read_state
from kagglekit.runs.run import Run

real = Checkpoint.after_epoch
def once(self):
    real(self)
    if STOP:
        raise KeyboardInterrupt
Checkpoint.after_epoch = once
comp, recipe = fit.load_experiment(dict(comp='shapes-practice', exp='exp0003', parent='exp0001', seed=5, loggers=[]))
try:
    fit.train(recipe, comp, fit.run_folds(recipe, comp))
except KeyboardInterrupt:
    print(read_state(Run('shapes-practice', 'exp0003').folder / 'fold0')['callbacks'])
"""


def test_a_callback_with_a_state_resumes(stranger):
    home, run = stranger
    first = run('-c', f'STOP = True\n{RESUME}')
    state = first.stdout.splitlines()[-1]
    assert "'steps':" in state and "'steps': 0" not in state, first.stderr[-2000:]
    assert run('-c', f'STOP = False\n{RESUME}').returncode == 0
    assert read(home / 'outputs/shapes-practice/exp0003', 'status.json')['state'] == 'done'


def test_a_blending_method_of_a_page_blends(stranger):
    home, run = stranger
    code = """
import page
from kagglekit.blend.build import BlendRecipe
from kagglekit.blend.blend_run import run_blend
from kagglekit.data.competition import find_comp
run_blend(BlendRecipe('exp0101', ('exp0001', 'exp0003'), 'above_worst'), find_comp('shapes-practice'))
"""
    done = run('-c', code)
    assert done.returncode == 0, done.stderr[-2000:]
    weights = read(home / 'outputs/shapes-practice/exp0101', 'blend.json')['params']['weights']
    assert sum(weights) == pytest.approx(1)
