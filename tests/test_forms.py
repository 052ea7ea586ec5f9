"Forms of a submission: found from the sample, written for any ids, read back, checked."

from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from kagglekit.core.validation import KitError
from kagglekit.targets.answer_forms import best_columns, match_names
from kagglekit.targets.forms import (
    check_form,
    check_table,
    find_form,
    make_table,
    order_as_sample,
    read_answers,
    read_submission,
    submission_text,
)
from kagglekit.core.tables import read_headless
from kagglekit.targets.target import Factors, Grades, Labels, Numbers, OneOf, Shares


def comp(target, answer, sample, ids=('7', '8'), **more):
    test = pd.DataFrame(dict(sample_id=list(ids)))
    facts = dict(name='toy', form=None, decide=None, unit=None, header=True) | more
    return SimpleNamespace(target=target, answer=answer, sample=pd.DataFrame(sample), test=test, **facts)


CATS = Labels(('cat', 'dog'))
HEADS = Factors(heads=(('bowel', ('healthy', 'injury')), ('liver', ('healthy', 'low', 'high'))))
KOREAN = OneOf(('정상', '불량 (긁힘)', '기타'))
IDS = dict(id=['8', '7'])  # in another order than the test rows
FORMS = {  # target, answer, sample
    'label': (OneOf(('a b', 'c')), 'label', IDS | dict(y='c')),
    'binary label': (OneOf(('crack',)), 'label', IDS | dict(y=['False', 'True'])),
    'Korean label': (KOREAN, 'label', IDS | dict(판정='정상')),
    'grade': (Grades(('none', 'mild', 'severe')), 'label', IDS | dict(y='none')),
    'label a head': (HEADS, 'label', IDS | dict(pred_liver='low', pred_bowel='healthy')),
    'probability': (OneOf(('a', 'b')), 'probability', IDS | dict(b='.5', a='.5')),
    'one probability': (OneOf(('crack',)), 'probability', IDS | dict(p='.5')),
    'prefix': (CATS, 'probability', IDS | dict(pred_dog='0', pred_cat='0')),
    'shares': (Shares(('seizure', 'other')), 'probability', IDS | dict(seizure_vote='1', other_vote='0')),
    'heads': (HEADS, 'probability', IDS | {f'p_{name}': '0' for name in reversed(HEADS.names)}),
    'one number': (Numbers(('age',)), 'numbers', IDS | dict(value='0')),
    'without a suffix': (Numbers(('X4_mean', 'X11_mean')), 'numbers', IDS | dict(X4='0', X11='0')),
    'expected grade': (Grades(('0', '1', '2')), 'numbers', IDS | dict(y='0')),
    'long': (CATS, 'long', dict(id=['8_dog', '8_cat', '7_dog', '7_cat'], p='0')),
    'long, name first': (CATS, 'long', dict(id=['dog of 7', 'dog of 8', 'cat of 7', 'cat of 8'], p='0')),
    'long, other order': (CATS, 'long', dict(id=['7_dog', '8_cat', '8_dog', '7_cat'], p='0')),
    'long numbers': (
        Numbers(('GDM_g', 'Dry_Clover_g')),
        'long',
        dict(i=['7__Dry_Clover_g', '7__GDM_g', '8__Dry_Clover_g', '8__GDM_g'], t='0'),
    ),
    'long, names beside': (CATS, 'long', dict(id=['7', '7', '8', '8'], p='0', what=['cat', 'dog', 'cat', 'dog'])),
    'long, one label': (Labels(('any',)), 'long', dict(id=['8_any', '7_any'], p='0')),
    'long heads': (HEADS, 'long', dict(id=['7_liver', '7_bowel', '8_liver', '8_bowel'], t='low')),
    'long, text around': (CATS, 'long', dict(id=['<7:cat>', '<7:dog>', '<8:cat>', '<8:dog>'], p='0')),
    'labels': (CATS, 'labels', IDS | dict(y=['cat dog', ''])),
    'labels with a comma': (Labels(('big cat', 'dog')), 'labels', IDS | dict(y=['big cat,dog', 'none'])),
    'Korean labels': (Labels(('긁힘', '얼룩')), 'labels', IDS | dict(y=['긁힘|얼룩', '정상'])),
    'top': (OneOf(tuple('abcd')), 'top', IDS | dict(y='new b c')),
    'top of labels': (Labels(tuple('abc')), 'top', IDS | dict(y='b, a')),
}


def answers_for(c):
    "Answers that the form can tell apart."
    n = len(c.target.outputs)
    P = np.linspace(0.05, 0.9, 2 * n).reshape(2, n)
    P[1] = P[1, ::-1]
    return P / P.sum(1, keepdims=True) if c.target.kind == 'shares' else P


@pytest.mark.parametrize('target, answer, sample', FORMS.values(), ids=FORMS)
def test_what_is_written_reads_back_and_passes_the_check(target, answer, sample):
    c = comp(target, answer, sample)
    check_form(c)
    P = answers_for(c)
    table = order_as_sample(c, make_table(c, c.test.sample_id, P))
    assert list(table.columns) == list(c.sample.columns)
    assert table.iloc[:, 0].tolist() == c.sample.iloc[:, 0].tolist()
    check_table(c, table)
    back = read_answers(c, table)
    assert back.shape == P.shape
    again = order_as_sample(c, make_table(c, c.test.sample_id, back))
    assert again.equals(table)
    if answer in ('probability', 'numbers') or answer == 'long' and target is not HEADS:
        assert np.allclose(back, P, atol=1e-6)


@pytest.mark.parametrize('target, answer, sample', FORMS.values(), ids=FORMS)
def test_made_up_ids_take_the_same_form(target, answer, sample):
    c = comp(target, answer, sample)
    P, ids = answers_for(c), ['row_cat_1', '타일 dog 7']
    table = make_table(c, ids, P, find_form(c))
    assert list(table.columns) == list(c.sample.columns)
    assert len(table) == len(c.sample)
    same = make_table(c, c.test.sample_id, P)
    assert table.iloc[:, -1].tolist() == same.iloc[:, -1].tolist()
    assert np.array_equal(read_answers(c, table[::-1], ids), read_answers(c, same))


AMBIGUOUS = [  # ids, names, rows of the sample, words of the error; none where all is clear
    (['a', 'a_b'], ['c', 'd'], ['a_c', 'a_d', 'a_b_c', 'a_b_d'], ''),
    (['a', 'a_b'], ['c', 'b_c'], ['a_c', 'a_b_c', 'a_b_c', 'a_b_b_c'], 'is not made of'),
    (['cat_1', 'dog_1'], ['cat', 'dog'], ['cat_1_cat', 'cat_1_dog', 'dog_1_cat', 'dog_1_dog'], ''),
    (['cat', 'dog'], ['cat', 'dog'], ['cat_cat', 'cat_dog', 'dog_cat', 'dog_dog'], 'in two ways'),
    (['1', '11'], ['1', '11'], ['1_1', '1_11', '11_1', '11_11'], 'in two ways'),
    (['1', '2'], ['1', '11'], ['1-1', '1-11', '2-1', '2-11'], ''),
    (['x y', 'x'], ['z w', 'z'], ['x y z w', 'x y z', 'x z w', 'x z'], ''),
    (['7', '8'], ['cat', 'dog'], ['7_cat', '7_dog', '8_cat'], 'rows are missing'),
    (['7', '8'], ['cat', 'dog'], ['7_cat', '7_dog', '8_cat', '8_bird'], 'is not made of'),
    (['가', '나'], ['긁힘', '얼룩'], ['가_긁힘', '가_얼룩', '나_긁힘', '나_얼룩'], ''),
]


@pytest.mark.parametrize('ids, names, rows, words', AMBIGUOUS)
def test_rows_of_a_long_form_are_put_together_never_taken_apart(ids, names, rows, words):
    c = comp(Labels(tuple(names)), 'long', dict(id=rows, p='0'), ids)
    if words:
        with pytest.raises(KitError, match=words):
            check_form(c)
        return
    check_form(c)
    P = np.arange(len(ids) * len(names)).reshape(len(ids), -1) / 10
    table = order_as_sample(c, make_table(c, ids, P))
    assert table.id.tolist() == rows
    assert np.array_equal(read_answers(c, table), P)


REFUSED = [  # target, answer, sample, words of the error
    (CATS, 'label', IDS | dict(y='cat'), 'its forms are probability, long, labels, top'),
    (Numbers(('age',)), 'probability', IDS | dict(y='0'), 'its forms are numbers, long'),
    (CATS, 'lables', IDS | dict(y='cat'), 'did you mean labels'),
    (CATS, 'probability', dict(id=['7', '7', '8', '8'], p='0'), "say answer='long'"),
    (CATS, 'probability', dict(id=['7_cat', '7_dog', '8_cat', '8_dog'], p='0'), "say answer='long'"),
    (CATS, 'probability', IDS | dict(y='cat dog'), "answer='labels'"),
    (OneOf(('a', 'b')), 'label', IDS | dict(y='a b'), "answer='top'"),
    (CATS, 'probability', IDS | dict(cat='0', bird='0'), 'asks for cat, bird, and the outputs are cat, dog'),
    (OneOf(('no', 'yes')), 'probability', IDS | dict(y='0'), 'give a single class'),
    (HEADS, 'label', IDS | dict(bowel='0'), 'sample_submission has 1 answer columns'),
    (CATS, 'labels', IDS | dict(cat='0', dog='0'), 'answer=.probability'),
    (CATS, 'labels', IDS | dict(y=['cat bird', 'dog']), "the label 'bird'"),
    (Labels(('big cat', 'dog')), 'labels', IDS | dict(y=['dog', 'dog']), "'big cat' holds it"),
    (OneOf(('a b', 'c')), 'top', IDS | dict(y='c d e'), "'a b' holds it"),
    (OneOf(('crack',)), 'top', IDS | dict(y='a b'), 'no best of several'),
    (OneOf(('a', 'b')), 'top', IDS | dict(y=''), 'how many'),
    (OneOf(('crack',)), 'label', IDS | dict(y='maybe'), 'yes and no'),
    (CATS, 'long', dict(id=['7_cat', '7_dog', '8_cat', '8_dog'], p='0', q='0'), 'one column of answers'),
    (CATS, 'long', dict(id=[], p=[]), 'no rows'),
    (CATS, 'probability', dict(id=['7', '9'], cat='0', dog='0'), 'missing, such as 9'),
    (CATS, 'probability', dict(id=['7', '8']), 'none for the answer'),
]


@pytest.mark.parametrize('target, answer, sample, words', REFUSED)
def test_what_cannot_be_written_is_refused_at_reading(target, answer, sample, words):
    with pytest.raises(KitError, match=words):
        check_form(comp(target, answer, sample))


TABLES = [  # answer form, what is wrong, words of the error
    ('probability', lambda t: t[['id', 'a', 'b']], 'in this order'),
    ('probability', lambda t: t[::-1], 'another order'),
    ('probability', lambda t: t[:1], 'it has 1 rows'),
    ('probability', lambda t: t.assign(id=['7', '7']), 'more than once'),
    ('probability', lambda t: t.assign(a=['0.1', '1.5']), 'no probability'),
    ('probability', lambda t: t.assign(b=['0.1', '']), 'no probability'),
    ('shares', lambda t: t.assign(seizure_vote='0.9'), 'must sum to 1'),
    ('one number', lambda t: t.assign(value=['1', 'inf']), 'no finite number'),
    ('long', lambda t: t.assign(id=['8_dog', '8_cat', '7_dog', '7_dog']), 'more than once'),
    ('long', lambda t: t.assign(id=['8_dog', '8_cat', '7_dog', '7_bird']), 'missing, such as 7_cat'),
    ('long, names beside', lambda t: t.assign(what=['cat', 'cat', 'dog', 'dog']), 'more than once'),
    ('long heads', lambda t: t.assign(t=['low', 'bad', 'low', 'injury']), "the class 'bad'"),
    ('labels', lambda t: t.assign(y=['cat', 'bird']), "the label 'bird'"),
    ('top', lambda t: t.assign(y='a b c d'), '3 are wanted'),
    ('grade', lambda t: t.assign(y=['none', 'Mild']), 'did you mean .mild'),
]


@pytest.mark.parametrize('form, spoil, words', TABLES)
def test_a_wrong_table_is_refused(form, spoil, words):
    c = comp(*FORMS[form])
    table = order_as_sample(c, make_table(c, c.test.sample_id, answers_for(c)))
    with pytest.raises(KitError, match=words):
        check_table(c, spoil(table))


def test_a_column_that_is_still_the_samples_is_refused():
    ids = [str(i) for i in range(20)]
    old = np.random.default_rng(0).random((20, 2)).round(3)
    c = comp(CATS, 'probability', dict(id=ids, cat=old[:, 0].astype(str), dog=old[:, 1].astype(str)), ids)
    new = make_table(c, ids, 1 - old)
    assert check_table(c, new) == []
    with pytest.raises(KitError, match='dog is as it was'):
        check_table(c, new.assign(dog=c.sample.dog))


def test_notes_are_for_what_may_be_right():
    c = comp(Numbers(('age',), range=(0, 100)), 'numbers', dict(id=['7', '8'], age='0'))
    assert check_table(c, make_table(c, ['7', '8'], np.array([[1], [101]]))) == [
        "1 numbers lie outside 0 … 100; say decide='clip(0, 100)'"
    ]
    assert 'same answer' in check_table(c, make_table(c, ['7', '8'], np.array([[5], [5]])))[0]


BAD_ANSWERS = [
    (['7', '8'], np.zeros((2, 3)), 'do not fit 2 ids and 2 outputs'),
    (['7'], np.zeros((2, 2)), 'do not fit 1 ids'),
    (['7', '8'], np.array([[0, 1], [np.inf, 0]]), 'answer of 8 is NaN or infinite'),
    (['7', '7'], np.zeros((2, 2)), 'several answers; pool'),
]


@pytest.mark.parametrize('ids, answers, words', BAD_ANSWERS)
def test_answers_that_do_not_fit_are_refused(ids, answers, words):
    with pytest.raises(KitError, match=words):
        make_table(comp(*FORMS['prefix']), ids, answers)


def test_several_test_rows_of_a_unit_are_one_row():
    sample = dict(id=['8', '7'], p='0')
    c = comp(OneOf(('cancer',)), 'probability', sample, ['7', '7', '8'], unit='breast')
    check_form(c)
    assert read_answers(c, make_table(c, ['8', '7'], np.array([[0.2], [0.3]]))).tolist() == [[0.3], [0.2]]
    with pytest.raises(KitError, match='more than once'):
        check_form(comp(OneOf(('cancer',)), 'probability', sample, ['7', '7', '8']))


def test_the_best_five_of_five_thousand_classes():
    names = tuple(f'class_{i}' for i in range(5000))
    P = np.random.default_rng(0).integers(0, 50, (300, 5000)).astype(np.float32)  # many ties
    ids = [f'{i}.jpg' for i in range(300)]
    c = comp(OneOf(names), 'top', dict(Image=ids, Id='new_whale class_3 class_1 class_2 class_9'), ids)
    table = make_table(c, ids, P)
    best = np.argsort(-P, axis=1, kind='stable')[:, :5]
    assert table.Id.tolist() == [' '.join(names[i] for i in row) for row in best]
    assert np.array_equal(best_columns(read_answers(c, table), 5), best)


def test_no_header(tmp_path):
    path = tmp_path / 'sample.csv'
    path.write_text('7.jpg,0\n8.jpg,0\n')
    sample = read_headless(path, ['file', 'grade'])
    c = comp(Grades(tuple('0123')), 'label', sample, ['7.jpg', '8.jpg'], header=False)
    check_form(c)
    path.write_text(submission_text(c, make_table(c, ['7.jpg', '8.jpg'], np.array([[2.2], [0.1]]))))
    assert path.read_text() == '7.jpg,2\n8.jpg,0\n'
    assert check_table(c, read_submission(c, path)) == []
    path.write_text('7.jpg,2\n8.jpg\n')
    with pytest.raises(KitError, match='row 2 has 1 fields'):
        read_submission(c, path)


def test_a_form_of_the_page():
    def form(ids, answers):
        return pd.DataFrame(dict(id=np.repeat(ids, 2), text=answers.ravel()))

    c = comp(CATS, 'probability', dict(id=['7', '7', '8', '8'], text='0'), form=form)
    table = make_table(c, ['7', '8'], np.array([[0.5, 1], [0.25, 0]]))
    assert table.text.tolist() == ['0.5', '1', '0.25', '0']
    assert check_table(c, table) == []
    with pytest.raises(KitError, match='form function of its own'):
        read_answers(c, table)
    c.form = lambda ids, answers: answers
    with pytest.raises(KitError, match='must return a DataFrame'):
        make_table(c, ['7', '8'], np.zeros((2, 2)))
    c.form = lambda ids, answers: 1 / 0
    with pytest.raises(KitError, match='ZeroDivisionError'):
        make_table(c, ['7', '8'], np.zeros((2, 2)))


NAMES = [
    (['a', 'ab'], ['x_a', 'x_ab'], dict(a='x_a', ab='x_ab')),
    (['b', 'ab'], ['b_x', 'ab_x'], dict(b='b_x', ab='ab_x')),
    (['a'], ['target'], dict(a='target')),
    (['a.b', 'c'], ['p(a.b)', 'p(c)'], {'a.b': 'p(a.b)', 'c': 'p(c)'}),
    (['v_a', 'v_b'], ['b', 'a'], dict(v_a='a', v_b='b')),
    (['a', 'b'], ['x_a', 'y_b'], {}),
    (['a', 'b'], ['a'], {}),
]


@pytest.mark.parametrize('names, shown, matched', NAMES)
def test_a_prefix_or_suffix_is_found_from_the_sample(names, shown, matched):
    assert match_names(names, shown) == matched


def names_form(ids, names):
    return pd.DataFrame(dict(id=ids[::-1], n=names[::-1]))


def number_form(ids, p):
    return pd.DataFrame(dict(id=ids, n=(p[:, 0] > 0.5) / 4))


CLASSES = [  # classes, answer, sample, form, the file; {} is two thirds
    (('crack', 'good'), 'label', dict(index=['0', '1'], label='good'), None, 'index,label\n0,crack\n1,good\n'),
    (('target',), 'label', dict(id=['0', '1'], label='False'), None, 'id,label\n0,True\n1,False\n'),
    (('target',), 'probability', dict(id=['0', '1'], p='0.5'), None, 'id,p\n0,{}\n1,0.3\n'),
    (
        ('cat', 'dog'),
        'probability',
        dict(id=['0', '1'], dog='.5', cat='.5'),
        None,
        'id,dog,cat\n0,0.25,{}\n1,0.7,0.3\n',
    ),
    (('cat', 'dog'), 'label', dict(id=['0', '1'], n='.5'), names_form, 'id,n\n0,cat\n1,dog\n'),
    (('cat', 'dog'), 'probability', dict(id=['1', '0'], n='.5'), number_form, 'id,n\n1,0\n0,0.25\n'),
]


@pytest.mark.parametrize('classes, answer, sample, form, text', CLASSES)
@pytest.mark.parametrize('dtype, thirds', [(np.float32, '0.6666667'), (np.float64, '0.6666666666666666')])
def test_classes_are_written_to_the_byte(classes, answer, sample, form, text, dtype, thirds):
    P = np.array([[0.3, 0.7], [2 / 3, 0.25]], dtype)[:, : len(classes)]
    c = comp(OneOf(classes), answer, sample, ['1', '0'], form=form)
    check_form(c)
    table = order_as_sample(c, make_table(c, ['1', '0'], P))
    assert submission_text(c, table) == text.format(thirds)
