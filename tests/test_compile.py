"A network that is trained through torch.compile leaves the files of one that is not."

import numpy as np
import pytest
import torch
from running import write_few_shapes
from safetensors.torch import load_file
from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, find_comp, load_pages
from kagglekit.fit import train as fit
from kagglekit.fit.train import train
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import read_predictions
from kagglekit.runs.setup import run_folds

NAME = 'shapes-practice'
TINY = dict(arch='test_convnext', pretrained=False, size=32, folds=2, epochs=2, lr=1e-3, bs=16, dead_after=0)
GRAPHS = []  # the rows of each batch for which code was made


def as_it_is(graph, inputs):
    "A compiler that makes no code: Dynamo's graph of the network, computed by PyTorch."
    GRAPHS.extend(len(x) for x in inputs if x.dim() == 4 and not isinstance(x, torch.nn.Parameter))
    return graph.forward


@pytest.fixture(scope='module')
def shapes():
    "A workspace with 60 drawn shapes, which have a category that test rows have not; torch.compile makes no code."
    load_pages()
    read, compile_network = READERS[NAME], torch.nn.Module.compile

    def with_column(name):
        comp = read(name)
        comp.train['colour'] = np.where(comp.train.index % 2, 'red', 'blue')
        return comp

    with workspace(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, 'STAND_INS', {})
        patch.setattr(torch.nn.Module, 'compile', lambda net, **how: compile_network(net, backend=as_it_is, **how))
        write_few_shapes()
        patch.setitem(READERS, NAME, with_column)
        yield


def recipe(exp, **changes):
    return find_recipe(NAME, 'exp0001').but(exp, 'tiny', **TINY, **changes)


def go(exp, **changes):
    GRAPHS.clear()
    torch.compiler.reset()  # code of an earlier run is not taken again
    comp, r = find_comp(NAME), recipe(exp, **changes)
    train(r, comp, run_folds(r, comp))
    return Run(NAME, exp)


@pytest.mark.parametrize('more', [{}, dict(auxiliary=('colour',)), dict(ema=0.5, drop_rate=0.2, drop_samples=3)])
def test_a_compiled_run_is_the_plain_run(shapes, more):
    """The same weights by name and predictions to rounding; code for the batches of training and validation alone.

    The validation rows are predicted in a batch of the size that validation had, and without the auxiliary outputs.
    """
    name = '-'.join(map(str, more)) or 'nothing'
    plain = go(f'plain-{name}', **more)
    assert not GRAPHS
    compiled = go(f'compiled-{name}', **more, compile=True)
    assert {16, 14} <= set(GRAPHS) <= {16, 14, 30}  # ema validates a copy, which is not compiled
    states = [load_file(run.fold_folder(0) / 'model.safetensors') for run in (plain, compiled)]
    assert states[0].keys() == states[1].keys()
    for table in ('oof', 'test'):
        a, b = (read_predictions(run.folder / f'{table}.parquet') for run in (plain, compiled))
        assert list(a) == list(b)
        columns = [c for c in a if c.startswith('p_')]
        np.testing.assert_allclose(a[columns], b[columns], atol=1e-4)


def test_several_processes_do_not_compile(shapes):
    with pytest.raises(KitError, match='leave gpus at 1'):
        recipe('two', compile=True, gpus=2)


def test_a_missing_compiler_is_found_before_decoding(shapes, monkeypatch):
    monkeypatch.setattr('kagglekit.training.gradients.which', lambda name: None)
    with pytest.raises(KitError, match='install g'):
        go('none', compile=True)
    assert not (Run(NAME, 'none').folder / 'fold0').exists()
