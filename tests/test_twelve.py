"Twelve competitions the whole way: practice data, `kagglekit new`, check, two tiny runs, blend, the site's score."

import os
import pytest
from running import ROOT

QUICK = ('hms', 'aptos', 'biomass')  # shares, grades, numbers in the long form
EDITED = dict(haemorrhage=1, imet=1, bengali=1, mammography=1, isic=1, birdclef=1, biomass=1)  # lines after new
SLOW = pytest.mark.skipif(not os.environ.get('KAGGLEKIT_SLOW'), reason='KAGGLEKIT_SLOW=1 runs all twelve')


@pytest.fixture
def twelve(space, monkeypatch):
    "The module bench/twelve.py, in a workspace of this test's own."
    from kagglekit.data.competition import load_pages

    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    monkeypatch.syspath_prepend(str(ROOT / 'bench'))
    import twelve

    yield twelve
    for path in (space.parent.parent / 'nbs/competitions').glob('*.ipynb'):
        path.unlink()
    load_pages()


def names():
    "Competitions; those that take long are marked."
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location('twelve', ROOT / 'bench' / 'twelve.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return [name if name in QUICK else pytest.param(name, marks=SLOW) for name in module.EDITS]


@pytest.mark.parametrize('name', names())
def test_from_data_to_a_score(name, twelve):
    walked = twelve.walk(name, epochs=1, folds=2)
    assert walked.lines == EDITED.get(name, 0)
    assert not walked.wrong
    assert all(score == score for score in walked.cv), 'a score is undefined'
    assert set(walked.board) >= {'public', 'private'}
    assert all(isinstance(walked.board[side], float) for side in ('public', 'private'))


@pytest.mark.parametrize('name', [pytest.param('pawpularity', marks=SLOW), pytest.param('aptos', marks=SLOW)])
def test_the_written_recipe_learns(name, twelve):
    assert twelve.walk(name).learnt
