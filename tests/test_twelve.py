"Twelve competitions the whole way: practice data, `kagglekit new`, check, two tiny runs, blend, the site's score."

import json
import math
import sys
import pytest
from kagglekit.data.competition import load_pages
from running import ROOT, papermill

sys.path.append(str(ROOT / 'bench'))
from twelve import EDITS, walk  # noqa: E402  EDITS: what is corrected in the page that new writes

QUICK = ('aptos', 'biomass')  # grades, and numbers in the long form
SLOW = pytest.mark.slow


@pytest.fixture(autouse=True)
def home(space, monkeypatch):
    "A workspace of this test's own, whose pages are forgotten after it."
    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    yield space.parent.parent
    for path in (space.parent.parent / 'nbs/competitions').glob('*.ipynb'):
        path.unlink()
    load_pages()


def test_at_most_one_line_is_corrected():
    assert max(map(len, EDITS.values())) == 1


def shown_by_the_page(comp, out):
    "The text that the page of a blend shows, and the kinds of what else it shows."
    params = ['-p', 'comp', comp, '-p', 'exp', 'exp0102', '-p', 'members', '["exp0011", "exp0012"]']
    done = papermill(out, *params, page='blend')
    assert not done.returncode, done.stderr[-2000:]
    outputs = [o for c in json.loads(out.read_text(encoding='utf8'))['cells'] for o in c.get('outputs', [])]
    parts = [''.join(o.get('text', [])) for o in outputs]
    for kind, content in [item for o in outputs for item in o.get('data', {}).items()]:
        parts += [kind, ''.join(content) if kind.startswith('text/') else '']  # a picture's letters may spell anything
    return '\n'.join(parts)


@pytest.mark.parametrize('name', [name if name in QUICK else pytest.param(name, marks=SLOW) for name in EDITS])
def test_from_data_to_a_score(name, home):
    walked = walk(name, epochs=1, folds=2)
    assert walked.lines == len(EDITS[name])
    assert not walked.wrong
    assert len(walked.cv) == 3 and all(math.isfinite(score) for score in walked.cv)
    assert math.isfinite(walked.board['public']) and math.isfinite(walked.board['private'])
    shown = shown_by_the_page(f'{name}-practice', home / 'blend.ipynb')
    assert 'replayed: oof.parquet, test.parquet' in shown and 'private ' in shown and 'rules: none' in shown
    assert 'best member, exp001' in shown and 'blend, nested' in shown and 'image/png' in shown
    assert 'NaN' not in shown and '<NA>' not in shown


@SLOW
@pytest.mark.parametrize('name', ['aptos', 'pawpularity', 'haemorrhage', 'biomass'])
def test_the_written_recipe_learns(name):
    assert walk(name).learnt
