"A pipeline of albumentations in a recipe: the same images after a resume and with any number of threads."

import numpy as np
import pytest
from safetensors.torch import load_file
from running import write_few_shapes
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.train import train
from kagglekit.images import pipelines
from kagglekit.images.pipelines import PIPELINES, ImagePipeline, check_pipeline
from kagglekit.runs import setup
from kagglekit.runs.page_code import page_code
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds

NAME = 'shapes-practice'


def street(p: float = 0.5):
    "What works on one image at a time."
    A = pytest.importorskip('albumentations')
    return A.Compose(
        [
            A.CLAHE(p=p),
            A.ImageCompression(quality_range=(30, 90), p=p),
            A.RandomBrightnessContrast(p=p),
            A.Affine(rotate=(-30, 30), p=p),
            A.CoarseDropout(p=p),
        ]
    )


def normalised():
    "What a network gets anyway."
    A = pytest.importorskip('albumentations')
    return A.Compose([A.Normalize()])


@pytest.fixture
def registered():
    before = dict(PIPELINES)
    PIPELINES.add(street)
    PIPELINES.add(normalised)
    yield
    PIPELINES.clear()
    PIPELINES.update(before)


@pytest.mark.parametrize('channels, dtype', [(1, np.uint8), (3, np.uint8), (3, np.float32)])
def test_images_depend_on_seed_epoch_and_row_alone(registered, monkeypatch, channels, dtype):
    x = (np.random.default_rng(0).random((12, 32, 32, channels)) * 255).astype(np.uint8)
    x = x if dtype == np.uint8 else (x / 255).astype(dtype)
    names = 'street' if dtype == np.uint8 else 'bright'
    if dtype != np.uint8:
        A = pytest.importorskip('albumentations')
        PIPELINES.add(lambda: A.Compose([A.HorizontalFlip(), A.GaussNoise()]), name='bright')
    rows, whole = np.arange(12), []
    for cores in (1, 3):
        monkeypatch.setattr(pipelines, 'usable_cores', lambda n=cores: n)
        whole.append(ImagePipeline(names)(x, rows, (0, 1, 0, 2)))
    assert (whole[0] == whole[1]).all() and (whole[0] != x).any()
    part = ImagePipeline(names)(x[[7, 3]], rows[[7, 3]], (0, 1, 0, 2))
    assert (part == whole[0][[7, 3]]).all()
    assert (ImagePipeline(names)(x, rows, (0, 1, 0, 3)) != whole[0]).any()


def test_a_pipeline_that_changes_the_type_or_lacks_its_package_is_refused(registered):
    check_pipeline('street(p=1)', (32, 32, 3))
    with pytest.raises(KitError, match='normalised makes .* float32 of an image of .* uint8; it must keep both'):
        check_pipeline('normalised', (32, 32, 3))

    def lost():
        raise ModuleNotFoundError("No module named 'albumentations'", name='albumentations')

    PIPELINES.add(lost)
    with pytest.raises(KitError, match=r"needs albumentations, .* pip install 'kagglekit\[albumentations\]'"):
        check_pipeline('lost', (32, 32, 3))


class Stop(Exception):
    pass


@pytest.fixture
def small(tmp_path, monkeypatch, registered):
    "A workspace with 60 drawn shapes."
    load_pages()
    monkeypatch.setattr(fit, 'STAND_INS', {})
    with workspace(tmp_path):
        write_few_shapes()
        yield


def go(exp, **changes):
    comp = find_comp(NAME)
    r = find_recipe(NAME, 'exp0001').but(exp, 'two folds', arch='test_resnet', folds=2, epochs=2, bs=16, **changes)
    train(r, comp, run_folds(r, comp))
    return load_file(Run(NAME, exp).fold_folder(1) / 'model.safetensors')


def same(a, b):
    return all((a[k] == b[k]).all() for k in a)


def test_a_run_resumes_to_the_same_weights(small, monkeypatch):
    whole, plain = go('whole', pipeline='street'), go('plain')
    assert not same(whole, plain)
    saved = fit.FoldProgress.epoch

    def stop(progress, history):
        saved(progress, history)
        if progress.k == 1 and len(history) == 1:
            raise Stop

    monkeypatch.setattr(fit.FoldProgress, 'epoch', stop)
    with pytest.raises(Stop):
        go('cut', pipeline='street')
    monkeypatch.setattr(fit.FoldProgress, 'epoch', saved)
    assert same(go('cut', pipeline='street'), whole)
    recipe = find_recipe(NAME, 'exp0001').but('x', 'x', pipeline='street')
    assert [name.split(',')[0] for name in page_code(recipe)] == ['pipeline street']


def test_a_broken_pipeline_is_refused_before_images_are_decoded(small, monkeypatch):
    monkeypatch.setattr(setup, 'open_caches', lambda *a, **k: pytest.fail('images were decoded'))
    with pytest.raises(KitError, match='pipeline: normalised makes'):
        go('broken', pipeline='normalised')
    with pytest.raises(KitError, match='leave one of them out'):
        go('both', pipeline='street', pseudo_labels='itself', pseudo_threshold=(0.1, 0.9))
