"Every augmentation: a row depends on its own random numbers alone, shapes and labels hold, nothing is undefined."

import subprocess
import sys
import numpy as np
import pytest
import torch
from kagglekit.core.randomness import uniforms
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import Recipe
from kagglekit.training import policies
from kagglekit.training.augment import AUGMENTS, N_UNIFORMS, augment_batch
from running import ROOT

PLAIN = [name for name, a in AUGMENTS.items() if not a.cadence and a.amount is not None]
SHAPES = [(3, 32, 32), (3, 24, 40), (1, 33, 17)]


def batch(shape, n=6):
    g = torch.Generator().manual_seed(7)
    return torch.randn(n, *shape, generator=g), torch.eye(n)[:, :2]


def fits(name, shape):
    square = shape[1] == shape[2]
    return (square or not AUGMENTS[name].square) and (shape[0] == 3 or name != 'colour')


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('name', PLAIN)
def test_a_row_depends_on_its_own_numbers_alone(name, shape):
    if not fits(name, shape):
        pytest.skip(f'{name} does not take {shape}')
    x, y = batch(shape)
    before = x.clone()
    whole, targets = augment_batch(x, y, (name,), range(6), 1)
    part, _ = augment_batch(x[4:], y[4:], (name,), range(4, 6), 1)
    assert whole.shape == x.shape and whole.isfinite().all()
    torch.testing.assert_close(whole[4:], part, atol=1e-5, rtol=1e-5)
    assert torch.equal(x, before)
    assert AUGMENTS[name].label == 'changed' or torch.equal(targets, y)


@pytest.mark.parametrize('name', ['trivial', 'rand'])
@pytest.mark.parametrize('value', [0.0, 5.0])
def test_images_of_one_value_stay_finite(name, value):
    x, y = torch.full((40, 3, 16, 16), value), torch.zeros(40, 1)
    made, _ = augment_batch(x, y, (name,), range(40), 2)
    assert made.isfinite().all()


def test_a_gpu_would_give_what_a_cpu_gives(monkeypatch):
    "A GPU computes every distortion for every image; the results are the same."
    x, y = batch((3, 24, 24), 60)
    u = torch.tensor(uniforms(range(60), N_UNIFORMS, 'all')).float()
    chosen = policies.rand(x, y, u, 0.7)[0]

    def for_all(x, chosen, f, *values):
        return torch.where(chosen[:, None, None, None], f(x, *values), x)

    monkeypatch.setattr(policies, '_for_some', for_all)
    torch.testing.assert_close(chosen, policies.rand(x, y, u, 0.7)[0], atol=1e-5, rtol=1e-5)


def test_every_distortion_is_drawn_about_equally_often():
    u = uniforms(range(13_000), N_UNIFORMS, 'kinds')[:, 0]
    counts = np.bincount((u * len(policies.KINDS)).astype(int))
    assert len(counts) == len(policies.KINDS) == 13
    assert counts.min() > 880 and counts.max() < 1120


@pytest.mark.parametrize(
    'text, short',
    [
        ('resized_crop(.08)', 'resized_crop .08'),
        ('colour(.4, hue=.1)', 'colour(amount=.4, hue=.1)'),
        ('rand(.5, times=3)', 'rand(amount=.5, times=3)'),
        ('trivial(1)', 'trivial'),
    ],
)
def test_a_recipe_has_one_spelling(text, short):
    assert Recipe(augment=(text,)).augment == (short,)


@pytest.mark.parametrize(
    'text',
    [
        'resized_crop(0)',
        'resized_crop(1.1)',
        'colour(.3, hue=.6)',
        'rand(.5, times=9)',
        'rand(.5, times=0)',
        'blur(-1)',
    ],
)
def test_an_amount_out_of_its_range_is_refused(text):
    with pytest.raises(KitError, match='augment'):
        Recipe(augment=(text,))


def test_names_and_ranges_are_known_without_torch():
    names = 'from kagglekit.training.augment import augment_text; augment_text("rand .5")'
    code = f'import sys; {names}; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
