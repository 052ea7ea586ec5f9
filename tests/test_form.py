"Submissions in the competition's form, and files that are refused."

import numpy as np
import pandas as pd
import pytest
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition
from kagglekit.runs.form import check_submission, make_submission

TRAIN = pd.DataFrame(dict(id=['a', 'b'], file='x', target=[0, 1]))
TEST = pd.DataFrame(dict(id=['20001', '20000'], file='x', sample_id=['1', '0']))


def competition(sample, classes, metric, **more):
    return Competition('toy', TRAIN, TEST, pd.DataFrame(sample), classes, metric, **more)


LABEL = competition(dict(index=['0', '1'], label='tile-good'), ('bottle-crack', 'tile-good'), 'macro_f1')
BINARY = competition(dict(id=['0', '1'], target='0.5'), ('target',), 'auc', answer='probability')
WIDE = competition(dict(id=['0', '1'], dog='.5', cat='.5'), ('cat', 'dog'), 'log_loss', answer='probability')
GOOD = 'index,label\n0,tile-good\n1,bottle-crack\n'
REFUSED = [  # content of a file, words of the message
    (GOOD.replace('index', 'idx'), "no column 'index'"),
    ('label,index\ntile-good,0\nbottle-crack,1\n', 'in this order'),
    (GOOD[:-15], 'missing'),
    (GOOD[:-15], 'it has 1 rows, and sample_submission has 2'),
    (GOOD + '2,tile-good\n', 'unknown'),
    (GOOD.replace('1,', '0,'), 'more than once'),
    ('index,label\n1,tile-good\n0,tile-good\n', 'another order'),
    ('index,label\n1,tile-good\n0,tile-good\n', 'from row 2 on: 1 instead of 0'),
    (GOOD.replace('0,', '00,'), 'leading zeros'),
    (GOOD.replace('tile-good', '타일').encode('cp949'), 'reads as cp949'),
    (b'\xef\xbb\xbf' + GOOD.encode(), 'byte order mark'),
    (',index,label\n0,0,tile-good\n1,1,bottle-crack\n', 'has no name'),
    ('index,label\n0,0,tile-good\n1,1,bottle-crack\n', 'line 2 has 3 fields'),
    ('index,label\n0,tile-good\n1,bottle-crack,.9\n', 'line 3 has 3 fields'),
    (GOOD.replace('\n', ',\n'), 'has no name'),
    ('', 'is empty'),
    ('index,label\n', 'it has 0 rows'),
    (GOOD.replace('tile-good', 'tile-god'), 'did you mean tile-good'),
    (GOOD.replace('tile-good', ''), "class ''"),
    (GOOD.encode('utf-16'), 'UTF-16'),
]


def check(folder, content, comp):
    path = folder / 'sub.csv'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_submission(path, comp)


def test_a_valid_file_has_no_warning(tmp_path):
    assert check(tmp_path, GOOD, LABEL) == []


@pytest.mark.parametrize('content, words', REFUSED)
def test_an_invalid_file_is_refused(tmp_path, content, words):
    with pytest.raises(KitError) as e:
        check(tmp_path, content, LABEL)
    assert words in str(e.value)


@pytest.mark.parametrize('answer', ['nan', '', '1.2', '-0.1', 'yes', 'inf', '0.5%'])
def test_an_answer_that_is_no_probability_is_refused(tmp_path, answer):
    with pytest.raises(KitError, match='no probability'):
        check(tmp_path, f'id,target\n0,0.1\n1,{answer}\n', BINARY)
    with pytest.raises(KitError, match='no probability'):
        check(tmp_path, f'id,dog,cat\n0,0.1,0.9\n1,0.2,{answer}\n', WIDE)  # the last column, too


def test_a_missing_probability_is_named_by_its_id():
    with pytest.raises(KitError, match='no probabilities, such as id 20000'):
        make_submission(BINARY, pd.DataFrame(dict(id=TEST.id, p_target=[0.25, np.nan])))


def test_a_binary_label_is_decided_at_a_half():
    comp = competition(dict(id=['0', '1'], answer='False'), ('target',), 'accuracy')
    made = make_submission(comp, pd.DataFrame(dict(id=TEST.id, p_target=[0.7, 0.2])))
    assert made.answer.tolist() == ['False', 'True']


def test_columns_of_the_sample_must_be_classes():
    with pytest.raises(KitError, match='asks for bird, dog, and the classes are cat, dog'):
        competition(dict(id=['0', '1'], bird='.5', dog='.5'), ('cat', 'dog'), 'log_loss', answer='probability')
