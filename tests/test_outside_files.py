"Files of predictions made elsewhere: what is refused, and how the message names it."

import numpy as np
import pandas as pd
import pytest
import torch

from kagglekit.blend.outside_files import read_logits, read_outside
from kagglekit.blend.rule_sources import Source, build_sources, vote_labels
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition, prob_columns

CLASSES = ('cable-cut', 'cable-good', 'tile-good', 'tile-oil')


@pytest.fixture
def comp():
    "A competition of four classes; it has no files."
    train = pd.DataFrame(dict(id=[f'a{i:02d}' for i in range(40)], file='x.png', target=np.arange(40) % 4))
    ids = [str(i) for i in range(20)]
    test = pd.DataFrame(dict(id=[f't{i:02d}' for i in range(20)], file='x.png', sample_id=ids))
    return Competition('toy', train, test, pd.DataFrame(dict(index=ids, label='tile-good')), CLASSES, 'macro_f1')


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda d: d.rename(columns={'p_tile-oil': 'p_oil'}), 'say "classes": "own"'),
        (lambda d: d.assign(**{'p_tile-oil': ['x', *'0' * 19]}), "such as id 0: p_tile-oil is 'x'"),
        (lambda d: d.assign(**{'p_tile-oil': ['1_0', *'0' * 19]}), "is '1_0'"),
        (lambda d: d.rename(columns=dict(index='nr')), 'no column index'),
        (lambda d: d[1:], 'missing, such as 0'),
    ],
)
def test_a_table_that_does_not_fit_is_refused(comp, tmp_path, change, words):
    p = pd.DataFrame(np.full((20, 4), 0.25), columns=prob_columns(CLASSES)).assign(index=comp.test.sample_id)
    write_table(tmp_path / 'theirs.csv', change(p))
    with pytest.raises(KitError, match=words):
        read_outside(tmp_path / 'theirs.csv', comp, 'test')


def test_ids_that_are_floats_are_refused(comp, tmp_path):
    p = pd.DataFrame(np.full((20, 4), 0.25), columns=prob_columns(CLASSES)).assign(index=np.arange(20) + 0.5)
    write_table(tmp_path / 'theirs.parquet', p)
    with pytest.raises(KitError, match='ids in index are floats'):
        read_outside(tmp_path / 'theirs.parquet', comp, 'test')


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(rows=''), 'names no ids'),
        (dict(classes=''), 'names no classes'),
        (dict(rows='sampel'), 'did you mean sample'),
        (dict(classes='sort'), 'did you mean sorted'),
        (dict(rows=['1', '2']), '20 rows, and its order names 2'),
        (dict(classes=['a', 'b']), 'shape'),
        (dict(classes=['a', 'a', 'b', 'c']), 'twice'),
        (dict(path='objects.npy'), 'not Python objects'),
        (dict(path='nan.npy'), 'NaN or infinite, of id 0'),
        (dict(path='cut.pth'), 'can be read'),
        (dict(rows=[str(i) for i in range(1, 21)]), 'ids of its rows'),
    ],
)
def test_logits_that_do_not_fit_are_refused(comp, tmp_path, wrong, words):
    Z = np.random.default_rng(0).normal(size=(3, 20, 4)).astype(np.float32)
    torch.save(torch.tensor(Z), tmp_path / 'z.pth')
    np.save(tmp_path / 'objects.npy', np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(tmp_path / 'nan.npy', np.where(np.arange(4) == 2, np.nan, Z))
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'z.pth').read_bytes()[:200])
    given = dict(path='z.pth', rows='sample', classes='sorted') | wrong
    with pytest.raises(KitError, match=words):
        read_logits(**given | dict(path=str(tmp_path / given['path'])), comp=comp)


@pytest.mark.parametrize(
    'made, words',
    [
        (dict(mixx=['x']), 'did you mean mix'),
        (dict(mix=['q']), 'unknown member'),
        (dict(mix=[]), 'takes a list'),
        (dict(mix='x'), 'takes a list'),
        ('x', 'write'),
        (dict(mix=['x'], vote=['y']), 'either mix'),
        (dict(vote=['x', 'y'], space='log'), 'either mix'),
        (dict(mix=dict(x='3')), 'a number'),
        (dict(mix=['x', 'y'], space='lgo'), 'did you mean log'),
    ],
)
def test_a_source_that_cannot_be_made_is_refused(made, words):
    members = {name: Source(np.eye(3), ('a', 'b', 'c')) for name in 'xy'}
    with pytest.raises(KitError, match=words):
        build_sources(dict(s=made), members)


def test_votes_for_a_single_label_are_a_source_of_one_class():
    votes = vote_labels(pd.DataFrame(dict(a=['null', 'null'], b=['null', 'null'])))
    assert votes.labels().tolist() == ['null', 'null']
    assert np.isnan(votes.onto(CLASSES)).all()
