"float16 and its scale; losses that are looked at in blocks, as on a GPU."

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from timm.models.resnet import ResNet
from torch import nn
from kagglekit.core.paths import workspace
from kagglekit.core.randomness import rng
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.images.loaders import fold_loaders, one_hot
from kagglekit.metrics.registry import find_metric
from kagglekit.models.heads import OutputSpec
from kagglekit.models.losses import find_loss
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.guard import BATCHES
from kagglekit.training.learner import PrepareBatch, fold_learner, pixel_stats, predict
from kagglekit.training.schedules import Stage
from running import write_shapes

N, CPU = 160, torch.device('cpu')
STAGES = [Stage(3, 0.02, 'cosine', 'SGD'), Stage(2, 0.01, 'flat', 'AdamW')]


@pytest.fixture(scope='module')
def images():
    "Pictures with a bright square on the left (0) or on the right (1)."
    g = rng('squares', 0)
    y, x = g.integers(0, 2, N), g.integers(0, 120, (N, 16, 16, 3)).astype(np.uint8)
    for i in range(N):
        x[i, 5:11, (2 if y[i] == 0 else 9) :][:, :5] += 100
    return x, y


def learner(images, half, **scale):
    x, y = images
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(8 * 7 * 7, 2))
    dls = fold_loaders(x, one_hot(y, 2), np.arange(N) % 5, k=0, bs=32, device=CPU)
    learn = fold_learner(dls, net, find_loss('ce'), PrepareBatch(pixel_stats(net, 3, 'uint8')), OutputSpec(2), half)
    if half is torch.float16:
        learn.scaler = torch.amp.GradScaler('cpu', **scale)
    return learn


def fold_fit(folder, **more):
    folder.mkdir(exist_ok=True)
    return FoldFit(folder, STAGES, find_metric('accuracy'), **more)


def train(learn, state, **options):
    fit_stages(learn, state, [*map(str, range(N))], options=options)
    return [p.detach().clone() for p in learn.model.parameters()]


def equal(a, b, **tolerance):
    return all(torch.allclose(p, q, **tolerance) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize('options', [{}, dict(accumulate=2, grad_clip=0.5), dict(callbacks=('sam',)), dict(ema=0.9)])
def test_float16_trains_as_float32_does(images, tmp_path, options):
    single = train(learner(images, None), fold_fit(tmp_path / 'single'), **options)
    learn = learner(images, torch.float16)
    half = train(learn, fold_fit(tmp_path / 'half'), **options)
    assert equal(single, half, atol=0.02) and not equal(single, half, atol=1e-6)
    p = predict(learn, images[0], np.arange(N))
    assert p.dtype == np.float32 and (p.argmax(1) == images[1]).mean() > 0.9


class Stop(Exception):
    pass


@pytest.mark.parametrize('after', [1, 2, 4])
def test_a_resumed_training_goes_on_with_its_scale(images, tmp_path, after):
    scale = dict(init_scale=8.0, growth_interval=3)  # which grows after three steps of five
    whole = train(learner(images, torch.float16, **scale), fold_fit(tmp_path / 'whole'))

    def stop(history):
        if len(history) == after:
            raise Stop

    with pytest.raises(Stop):
        train(learner(images, torch.float16, **scale), fold_fit(tmp_path / 'cut', on_epoch=stop))
    learn = learner(images, torch.float16, **scale)
    assert equal(train(learn, fold_fit(tmp_path / 'cut')), whole, rtol=0, atol=0)
    assert learn.scaler.get_scale() == 8.0 * 2 ** (20 // 3)


class Watch(Callback):
    "Keeps the length of the gradient that the optimizer gets."

    order = 99

    def before_step(self):
        grads = [p.grad for p in self.learn.model.parameters()]
        self.lengths = [*getattr(self, 'lengths', []), float(torch.stack([g.norm() for g in grads]).norm())]


def test_gradients_are_clipped_in_their_own_unit(images, tmp_path):
    learn, watch = learner(images, torch.float16), Watch()
    learn.add_cb(watch)
    train(learn, fold_fit(tmp_path / 'clip'), grad_clip=0.05)
    assert max(watch.lengths) < 0.0501 and len(watch.lengths) == 20


def test_an_overflow_leaves_out_a_step_and_halves_the_scale(images, tmp_path):
    learn = learner(images, torch.float16, init_scale=2.0**26)
    start = [p.detach().clone() for p in learn.model.parameters()]
    states = []

    class Steps(Callback):
        def after_step(self):
            states.append(([p.detach().clone() for p in self.learn.model.parameters()], self.learn.scaler.get_scale()))

    learn.add_cb(Steps())
    trained = train(learn, fold_fit(tmp_path / 'over'))
    assert equal(states[0][0], start, rtol=0, atol=0) and states[0][1] == 2.0**25
    assert not equal(trained, start, atol=1e-4) and all(p.isfinite().all() for p in trained)


@pytest.mark.parametrize('batches', [1, 3, 16])
def test_a_loss_that_is_no_number_names_its_own_batch_however_seldom_losses_are_looked_at(
    images, tmp_path, monkeypatch, batches
):
    monkeypatch.setitem(BATCHES, 'cpu', batches)
    x = images[0].astype(np.float32) / 255
    x[77, 3, 3, 1] = np.inf
    dls = fold_loaders(x, one_hot(images[1], 2), np.arange(N) % 5, k=0, bs=8, device=CPU)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 2))
    learn = fold_learner(dls, net, find_loss('ce'), PrepareBatch(pixel_stats(net, 3, 'float32')), OutputSpec(2))
    with pytest.raises(KitError, match='the inputs of 77 hold NaN or infinity'):
        train(learn, fold_fit(tmp_path / 'nan'))
    assert not (tmp_path / 'nan' / 'resume.pt').exists()  # nothing of the spoilt epoch is kept


def test_a_run_without_memory_names_a_batch_that_fits(tmp_path, monkeypatch):
    "The message is the last word of the run, and its record is interrupted, not lost."
    load_pages()
    monkeypatch.setattr(fit, 'STAND_INS', {})
    full = torch.OutOfMemoryError('CUDA out of memory')
    forward = ResNet.forward
    monkeypatch.setattr(ResNet, 'forward', lambda net, x: forward(net, x) if len(x) < 10 else raise_(full))
    with workspace(tmp_path):
        write_shapes()
        recipe = find_recipe('shapes-practice', 'exp0001').but('a1', 'x', arch='test_resnet', folds=2, bs=32)
        comp = find_comp('shapes-practice')
        with pytest.raises(KitError, match='bs=8 and accumulate=4'):
            fit.train(recipe, comp, run_folds(recipe, comp))
        assert Run('shapes-practice', 'a1').state() != 'done'


def raise_(error):
    raise error
