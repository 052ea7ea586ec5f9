"Mixup and CutMix: targets are the shares that an image shows, the side table is mixed alike, and a resume is exact."

from types import SimpleNamespace
import numpy as np
import pytest
import torch
from kagglekit.core.randomness import rng
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import Recipe
from kagglekit.training.augment import Mix, draw_mix, mix_batch
from kagglekit.training.learner import PrepareBatch


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (7, 5), (64, 96)])
def test_targets_of_cutmix_are_shares_of_pixels(size):
    images = torch.eye(6)[:, :, None, None].expand(6, 6, *size)
    for seed in range(40):
        mixed, target = mix_batch(images, torch.eye(6), Mix(cutmix=1.0), rng(seed))
        torch.testing.assert_close(target, mixed.mean((2, 3)), atol=1e-6, rtol=0)


def test_the_original_batch_is_left_as_it_was():
    x, y = torch.rand(4, 3, 8, 8), torch.rand(4, 2)
    before = x.clone(), y.clone()
    mix_batch(x, y, Mix(cutmix=1.0), rng(1))
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


def test_shares_of_cutmix_follow_their_distribution():
    "Rectangles that are cut off at the border make λ larger, never smaller."
    lams = [draw_mix(2, (224, 224), Mix(cutmix=1.0), rng(seed)).lam for seed in range(2000)]
    drawn = [float(rng(seed).beta(1, 1)) for seed in range(2000)]
    assert np.all(np.array(lams) > np.array(drawn) - 0.02)
    assert 0.5 < np.mean(lams) < 0.7


def test_mixup_draws_as_it_did_before_there_was_cutmix():
    x, y = torch.rand(5, 1, 4, 4), torch.eye(5)
    g = rng(3)
    lam, other = float(g.beta(0.4, 0.4)), g.permutation(5)
    mixed, target = mix_batch(x, y, Mix(0.4), rng(3))
    assert torch.equal(mixed, lam * x + (1 - lam) * x[other])
    assert torch.equal(target, lam * y + (1 - lam) * y[other])


def test_the_side_table_is_mixed_in_the_proportion_of_the_images():
    prepare = PrepareBatch((torch.zeros(1), torch.ones(1)), mix=Mix(0.4, cutmix=1.0))
    prepare.learn = SimpleNamespace(epoch=0, n_epoch=1, model=None)
    rows = np.arange(4)
    for epoch in range(12):
        key = (0, 0, 0, epoch)
        _, y = prepare.change(torch.rand(4, 3, 16, 16), torch.eye(4), rows, key)
        assert torch.allclose(prepare._mix_side(torch.eye(4), rows, key, (16, 16)), y)


def test_the_end_of_a_stage_is_not_mixed():
    prepare = PrepareBatch((torch.zeros(1), torch.ones(1)), mix=Mix(off=0.5, cutmix=1.0))
    prepare.learn = SimpleNamespace(epoch=5, n_epoch=10)
    assert not prepare._mixes()
    prepare.learn.epoch = 4
    assert prepare._mixes()


def test_a_union_of_labels_does_not_go_with_cutmix():
    with pytest.raises(KitError, match='take linear'):
        Recipe(cutmix=1.0, mixup_label='or')
