"Training starts from a file, or from a run of another competition: the body is taken, the head is new."

import shutil
import pytest
import torch
from safetensors.torch import load_file
from running import write_few_shapes
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.train import train
from kagglekit.models.build import build_model
from kagglekit.predict.predict import Request, predict
from kagglekit.runs import setup
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds

NAME = 'shapes-practice'


def recipe(exp, **changes):
    return find_recipe(NAME, 'exp0001').but(exp, 'two folds', folds=2, epochs=1, lr=1e-9, weight_decay=0.0, **changes)


def go(r):
    comp = find_comp(NAME)
    return train(r, comp, run_folds(r, comp))


@pytest.fixture
def small(tmp_path, monkeypatch):
    "A workspace with 60 drawn shapes, and a file of weights of another task."
    load_pages()
    monkeypatch.setattr(fit, 'STAND_INS', {})
    with workspace(tmp_path):
        folder = write_few_shapes()
        torch.manual_seed(9)
        net = build_model(find_recipe(NAME, 'exp0001').arch, 7, 1, pretrained=False)
        torch.save(dict(state_dict=net.state_dict()), folder / 'theirs.pth')
        yield net.state_dict()


def weights_of(exp, k=0):
    return load_file(Run(NAME, exp).fold_folder(k) / 'model.safetensors')


def body(state):  # weights that a tiny learning rate leaves as they were; running statistics move
    head = ('fc.', 'classifier.', 'head.')
    return {k: v for k, v in state.items() if not k.startswith(head) and 'running' not in k and 'num_batches' not in k}


def same(a, b):
    assert a.keys() == b.keys() and len(a) > 10
    return all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


def test_training_starts_from_a_file_and_knows_it_again(small):
    r = recipe('start', init_from='theirs.pth')
    go(r)
    assert same(body(weights_of('start')), body(small))
    assert not same(body(weights_of('start')), body({k: v + 1 for k, v in small.items()}))
    torch.save(build_model(r.arch, 2, 1, pretrained=False).state_dict(), data_dir(NAME) / 'theirs.pth')
    shutil.rmtree(Run(NAME, 'start').fold_folder(1))
    (Run(NAME, 'start').folder / 'oof.parquet').unlink()
    with pytest.raises(KitError, match='theirs.pth'):
        go(r)


def test_training_starts_from_a_run_of_another_competition(small):
    go(recipe('source', seed=4))
    shutil.copytree(Run(NAME, 'source').folder, Run('isic', 'exp0003').folder)
    go(recipe('taught', init_from='isic/exp0003'))
    assert same(body(weights_of('taught', 1)), body(weights_of('source', 1)))
    head = [k for k in weights_of('taught') if k not in body(weights_of('taught')) and k.endswith('weight')]
    assert head and not same_head(head)


def same_head(names):
    return all(torch.allclose(weights_of('taught')[k], weights_of('source')[k], atol=1e-5) for k in names)


@pytest.fixture
def undecoded(small, monkeypatch):
    "Decoding is a failure of the test."
    torch.save(build_model('resnet34', 2, 1, pretrained=False).state_dict(), data_dir(NAME) / 'wrong.pth')
    monkeypatch.setattr(setup, 'open_caches', lambda *a, **k: pytest.fail('images were decoded'))


@pytest.mark.parametrize(
    'init_from, words',
    [
        ('lost.pth', 'is not there'),
        ('isic/exp0009', 'is new; finish it first'),
        ('../theirs.pth', 'leads out of'),
        ('wrong.pth', 'weights of another network'),
        ('train.csv/theirs.bin', 'is not there'),
    ],
)
def test_what_cannot_be_taken_is_refused_before_images_are_decoded(undecoded, init_from, words):
    with pytest.raises(KitError, match=words):
        go(recipe('start', init_from=init_from))


def test_a_run_of_another_network_is_no_start(small, monkeypatch):
    go(recipe('source'))
    monkeypatch.setattr(setup, 'open_caches', lambda *a, **k: pytest.fail('images were decoded'))
    with pytest.raises(KitError, match='weights of another network'):
        go(recipe('start', init_from='source', arch='test_resnet'))


def test_low_rank_updates_start_from_a_probe_and_end_in_the_weights(small, tmp_path):
    "All but attention and head is the probe's; the updates have their rank; the file is that of a plain network."
    base = find_recipe(NAME, 'exp0001')
    probe = base.but('probed', 'frozen', probe='logistic', arch='test_vit', size=32, folds=2, pretrained=False)
    go(probe)
    go(probe.but('tuned', 'low rank', probe='', init_from='probed', lora=2, epochs=1, lr=1e-2))
    before, after = weights_of('probed', 1), weights_of('tuned', 1)
    assert before.keys() == after.keys()
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    updates = [after[k] - before[k] for k in moved if k.endswith(('attn.qkv.weight', 'attn.proj.weight'))]
    assert len(moved) == len(updates) + len(moved & {'head.weight', 'head.bias'})
    assert [torch.linalg.matrix_rank(u, rtol=1e-3).item() for u in updates] == [2] * 12
    run = Run(NAME, 'tuned')
    result = predict(Request(run, out=tmp_path / 'out.csv'), lambda *args: None)
    assert result.path.read_bytes() == (run.folder / 'submission.csv').read_bytes()


@pytest.mark.parametrize('changes', [dict(size=100), dict(size=160, infer_size=200)])
def test_a_size_that_a_network_does_not_take_is_refused_before_images_are_decoded(undecoded, changes):
    with pytest.raises(KitError, match='size or infer_size: .* does not take images'):
        go(recipe('start', arch='test_vit', **changes))
