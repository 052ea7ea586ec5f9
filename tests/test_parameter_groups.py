"Every optimizer trains and resumes to the byte; parts of a network learn at their own rates, as in a plain loop."

from functools import partial
import numpy as np
import pytest
import timm
import torch
from torch import nn
from kagglekit.core.validation import KitError
from kagglekit.fit import train as fit_page
from kagglekit.images.loaders import fold_loaders
from kagglekit.metrics.registry import find_metric
from kagglekit.models.heads import OutputSpec
from kagglekit.models.losses import find_loss
from kagglekit.models.parameter_groups import GroupRates, parameter_groups
from kagglekit.runs.recipe import Recipe
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.learner import PrepareBatch, fold_learner, pixel_stats
from kagglekit.training.optimizers import OPTIMIZERS, find_optimizer
from kagglekit.training.schedules import Stage

CODES = np.arange(48) % 2
PICTURES = (np.random.default_rng(0).integers(0, 99, (48, 16, 16, 3)) + 90 * CODES[:, None, None, None]).astype('uint8')


class Stop(Exception):
    "The training is interrupted."


def small_net():
    "Matrices, a convolution, a norm and biases."
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))


def fold(folder, net, stages, groups=None, on_epoch=None, weight_decay=0.01, callbacks=()):
    "Train a network on the pictures; the learner."
    folder.mkdir(exist_ok=True)
    targets = torch.eye(2)[CODES]
    dls = fold_loaders(PICTURES, targets, np.arange(48) % 3, k=0, bs=8, device='cpu')
    learn = fold_learner(dls, net, find_loss('ce'), PrepareBatch(pixel_stats(net, 3, 'uint8')), OutputSpec(2))
    learn.groups = groups
    fit = FoldFit(folder, stages, find_metric('accuracy'), seed=5)
    fit.on_epoch = on_epoch or fit.on_epoch
    optimizer = partial(find_optimizer, weight_decay=weight_decay)
    fit_stages(learn, fit, np.arange(48).astype(str), optimizer, dict(callbacks=callbacks))
    return learn


def weights(net):
    return torch.cat([v.flatten().float() for v in net.state_dict().values()])


def interrupted(folder, net, stages, **how):
    "Train until the first epoch is saved, and again."

    def stop(history):
        raise Stop

    with pytest.raises(Stop):
        fold(folder, net(), stages, on_epoch=stop, **how)
    return fold(folder, net(), stages, **how)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_trains_and_resumes_to_the_byte(tmp_path, name):
    stages = [Stage(2, 1e-3, 'cosine(warmup=.5)', name)]
    whole = fold(tmp_path / 'whole', small_net(), stages).model
    again = interrupted(tmp_path / 'again', small_net, stages).model
    assert not torch.equal(weights(whole), weights(small_net()))
    assert torch.equal(weights(whole), weights(again))


def small_resnet():
    torch.manual_seed(0)
    return timm.create_model('resnet18', num_classes=2)


def by_hand(net):
    "Groups for a plain loop: blocks from the stem up, the head at ten times the rate, matrices alone with decay."
    names = ['conv1', 'layer1.0', 'layer1.1', 'layer2.0', 'layer2.1', 'layer3.0', 'layer3.1', 'layer4.0', 'layer4.1']
    for name, p in net.named_parameters():
        part = 'conv1' if name.startswith('bn1') else name
        level = next((i for i, prefix in enumerate(names) if part.startswith(prefix)), len(names))
        scale = 0.5 ** (len(names) - level) * (10 if name.startswith('fc') else 1)
        yield dict(params=[p], lr=0.01 * scale, weight_decay=0.1 if p.ndim > 1 else 0.0)


def test_rates_and_decay_are_those_of_a_plain_loop(tmp_path):
    rates = GroupRates(layer_decay=0.5, head_lr=10.0, decay_norms=False)
    groups = partial(parameter_groups, rates=rates, weight_decay=0.1)
    ours = fold(tmp_path / 'ours', small_resnet(), [Stage(1, 0.01, 'flat', 'SGD')], groups, weight_decay=0.1)
    net, train = small_resnet().train(), ours.dls.train
    opt = torch.optim.SGD(list(by_hand(net)), momentum=0.9, nesterov=True)
    train.epoch_key = (5, 0, 0, 0)
    stats = pixel_stats(net, 3, 'uint8')
    for x, y in train:
        nn.functional.cross_entropy(net((x.float() - stats[0]) / stats[1]), y).backward()
        opt.step()
        opt.zero_grad()
    torch.testing.assert_close(weights(ours.model), weights(net), rtol=1e-4, atol=1e-5)


def test_a_fold_with_groups_resumes_to_the_byte(tmp_path):
    groups = partial(parameter_groups, rates=GroupRates(layer_decay=0.5), weight_decay=0.1)
    stages = [Stage(1, 0.01, 'flat', head_only=True), Stage(2, 0.01)]
    whole = fold(tmp_path / 'whole', small_resnet(), stages, groups)
    again = interrupted(tmp_path / 'again', small_resnet, stages, groups=groups)
    assert torch.equal(weights(whole.model), weights(again.model))


def test_the_fields_of_a_recipe_reach_the_network():
    assert fit_page.groups_of(Recipe()) is None
    groups = fit_page.groups_of(Recipe(layer_decay=0.5, weight_decay=0.3, decay_norms=False))(small_resnet())
    assert {group['weight_decay'] for group in groups} == {0.0, 0.3}
    assert min(group['lr_scale'] for group in groups) == 0.5**9


@pytest.mark.parametrize('changes', [dict(layer_decay=0.0), dict(layer_decay=1.1), dict(head_lr=0.0), dict(head_lr=-1)])
def test_a_factor_out_of_its_range_is_refused(changes):
    with pytest.raises(KitError, match=next(iter(changes))):
        Recipe(**changes)


def by_hand_sam(net, loader, stats, rho):
    "One epoch of SAM around plain SGD."
    opt = torch.optim.SGD(net.parameters(), 0.01)

    def loss(x, y):
        return nn.functional.cross_entropy(net((x.float() - stats[0]) / stats[1]), y)

    for batch in loader:
        first = torch.autograd.grad(loss(*batch), list(net.parameters()))
        length = torch.cat([g.flatten() for g in first]).norm()
        moved = [rho * g / length for g in first]
        for sign in (1, -1):
            if sign < 0:
                loss(*batch).backward()
            with torch.no_grad():
                for p, step in zip(net.parameters(), moved):
                    p.add_(sign * step)
        opt.step()
        opt.zero_grad()


def test_sam_is_that_of_a_plain_loop(tmp_path):
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.Tanh(), nn.Linear(16, 2))
    nets = [make() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    stages = [Stage(1, 0.01, 'flat', 'SGD(momentum=0, nesterov=False)')]
    ours = fold(tmp_path / 'ours', nets[0], stages, weight_decay=0.0, callbacks=('sam(rho=.1)',))
    train = ours.dls.train
    train.epoch_key = (5, 0, 0, 0)
    by_hand_sam(nets[1], train, pixel_stats(nets[1], 3, 'uint8'), 0.1)
    torch.testing.assert_close(weights(ours.model), weights(nets[1]), rtol=1e-4, atol=1e-5)


def test_sam_resumes_to_the_byte(tmp_path):
    stages = [Stage(2, 1e-3, 'cosine')]
    whole = fold(tmp_path / 'whole', small_net(), stages, callbacks=('sam',))
    again = interrupted(tmp_path / 'again', small_net, stages, callbacks=('sam',))
    plain = fold(tmp_path / 'plain', small_net(), stages)
    assert torch.equal(weights(whole.model), weights(again.model))
    assert not torch.equal(weights(whole.model), weights(plain.model))


def test_checkpointed_gradients_are_those_of_the_whole_pass(tmp_path):
    def small_vit():
        torch.manual_seed(0)
        return timm.create_model('vit_tiny_patch16_224', num_classes=2, img_size=16, depth=2)

    stages = [Stage(1, 1e-3)]
    made = [
        fold(tmp_path / f'vit{i}', small_vit(), stages, callbacks=callbacks)
        for i, callbacks in enumerate([(), ('checkpoint_gradients',)])
    ]
    torch.testing.assert_close(*(weights(learn.model) for learn in made), rtol=1e-4, atol=1e-5)
    assert not made[1].model.grad_checkpointing
