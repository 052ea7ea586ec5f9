"Targets, metrics and submission formats that are not supported are refused: numbers, bad labels, odd forms."

import shutil
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import kagglekit.competitions as pages
from kagglekit.data.competition import READERS, Competition, find_comp, load_pages
from kagglekit.targets.labels import encode
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.metrics.registry import METRICS, constant_score, find_metric, metric
from kagglekit.runs.run import Run
from kagglekit.runs.scores import score_oof
from kagglekit.runs.form import check_submission, make_submission, write_submission
from running import copy_practice, python, write_shapes

SHAPES = 'shapes-practice'


def tables(target=(0, 1, 0, 1), n_test=3):
    "Train and test tables of a competition without pictures."
    train = pd.DataFrame(dict(id=[f'{i:03d}' for i in range(len(target))], file='x.png', target=list(target)))
    test = pd.DataFrame(
        dict(id=[f't{i}' for i in range(n_test)], file='x.png', sample_id=[f't{i}' for i in range(n_test)])
    )
    return train, test


def toy(target=(0, 1, 0, 1), classes=('cat', 'dog'), sample=None, **more):
    "A competition of four train rows and three test rows."
    train, test = tables(target)
    form = sample if sample is not None else dict(answer='cat')
    given = dict(metric='accuracy', answer='label') | more
    return Competition('toy', train, test, pd.DataFrame(dict(id=test.id) | form), classes, **given)


def probs(comp, p):
    "Predictions of the test rows as a run has them."
    return pd.DataFrame(np.asarray(p, np.float32), columns=[f'p_{c}' for c in comp.classes]).assign(
        id=comp.test.id.to_numpy()
    )


# Numbers that are no class codes

NO_CODES = [
    ([0.38, 0.9, 1.0, 0.0], 'no whole number'),
    ([0, 1, np.nan, 1], 'missing'),
    ([0, 1, np.inf, 1], 'infinite'),
    ([0, 1, -1, 1], 'out of range'),
    ([0, 1, 7, 1], 'out of range'),
    (['0', '1', '3.7', '1'], 'class code'),
    ([False, True, False, True], 'bool'),
    ([[0, 1], [1, 0], [0, 1], [1, 0]], 'class code'),
    (pd.array([0, 1, None, 1], dtype='Int64'), 'class code'),
    (pd.to_datetime(['2024-01-01'] * 4), 'class code'),
]


@pytest.mark.parametrize('target, words', NO_CODES)
def test_a_metric_takes_class_codes_alone(target, words):
    "accuracy of [.38, .9, 1.] was 1.0."
    with pytest.raises(KitError, match='class code|do not fit'):
        find_metric('accuracy')(target, [0.1, 0.2, 0.9, 0.3])


@pytest.mark.parametrize('target, words', NO_CODES)
def test_the_targets_of_a_loss_are_class_codes_alone(target, words):
    "one_hot of [.38, .9, 1.] was [0, 0, 1]."
    from kagglekit.images.loaders import one_hot

    with pytest.raises(KitError, match='class code'):
        one_hot(target, 1)
    with pytest.raises(KitError, match='class code'):
        one_hot(target, 3)


@pytest.mark.parametrize('target, words', NO_CODES)
def test_a_competition_takes_class_codes_alone(target, words):
    "A float target trained to done, with a mean of .18 where the truth has .49."
    with pytest.raises(KitError, match='class code|no column|integer|several'):
        toy(target=target)


def test_whole_numbers_are_codes():
    "Nothing is lost by 0.0 and 1.0."
    assert find_metric('accuracy')([0.0, 1.0], [0.1, 0.9]) == 1


# Labels that cannot be


@pytest.mark.parametrize(
    'label, words',
    [
        ('', 'is empty'),
        ('cross ', 'spaces around it'),
        ('\tcross', 'spaces around it'),
        ('\u3000cross', 'spaces around it'),
        ('CROSS', 'in case alone'),
        ('Cross', 'in case alone'),
        ('ｃｒｏｓｓ', 'Unicode form'),
        ('cro\u200bss', 'Unicode form'),
        ('NaN', 'missing value'),
        ('nan', 'missing value'),
        ('None', 'missing value'),
    ],
)
def test_a_suspicious_label_is_refused_with_its_row(space, label, words):
    "'cross ' became a class of its own."
    folder = write_shapes()
    table = pd.read_csv(folder / 'train.csv', dtype=str)
    table.loc[4, 'label'] = label
    write_table(folder / 'train.csv', table)
    with pytest.raises(KitError, match=words) as e:
        find_comp(SHAPES)
    if label not in ('CROSS', 'Cross', 'ｃｒｏｓｓ'):
        assert 'row 6' in str(e.value)
    assert 'train.csv' in str(e.value)


@pytest.mark.parametrize(
    'table, edit, words',
    [
        ('train.csv', lambda t: t.assign(label='cross'), 'nothing to tell apart'),
        ('train.csv', lambda t: t[:0], 'no rows'),
        ('test.csv', lambda t: t[:0], 'no rows'),
        ('sample_submission.csv', lambda t: t[:0], 'no rows'),
        ('sample_submission.csv', lambda t: t[1:], '1 ids are unknown'),
        ('sample_submission.csv', lambda t: t[['id']], "no column 'label'"),
        ('sample_submission.csv', lambda t: t.assign(second='0'), 'this form cannot be written'),
        (
            'sample_submission.csv',
            lambda t: t.assign(label='cross ring cross square ring'),
            'several answers in one field',
        ),
        (
            'sample_submission.csv',
            lambda t: pd.concat([t.assign(id=t.id + '_' + c) for c in 'abcd']).sort_values('id'),
            "say answer='long'",
        ),
        ('sample_submission.csv', lambda t: pd.concat([t, t]), 'more than once'),
    ],
)
def test_impossible_tables_are_refused(space, table, edit, words):
    "No test rows gave an empty submission and done."
    folder = write_shapes()
    write_table(folder / table, edit(pd.read_csv(folder / table, dtype=str)))
    with pytest.raises(KitError, match=words):
        find_comp(SHAPES)


def test_composed_and_decomposed_letters_are_one_label():
    "NFC and NFD look the same."
    from kagglekit.targets.labels import find_classes

    with pytest.raises(KitError, match='row 4 .*Unicode form'):
        find_classes(pd.Series(['défaut', 'défaut', 'de\u0301faut', 'x']), 'train.csv')


def test_listed_classes_may_differ_in_case_alone():
    "a and A are two letters; 'a ' and 'a' are none."
    assert encode(pd.Series(['a', 'A', 'nan']), ('A', 'a', 'nan'), 'train').tolist() == [1, 0, 2]
    for classes in [('a', 'a '), ('a b', 'a  b'), ('é', 'e\u0301'), ('a', 'a'), ('', 'a'), ('a', 1), 'ab']:
        with pytest.raises(KitError):
            encode(pd.Series(['a']), classes, 'train')


def test_a_label_close_to_a_class_is_named():
    "The message tells what differs."
    with pytest.raises(KitError, match="row 3 .*did you mean 'ring'"):
        encode(pd.Series(['ring', 'Ring ']), ('cross', 'ring'), 'train.csv')


# The answer


@pytest.mark.parametrize('no, yes', [('0', '1'), ('False', 'True'), ('no', 'yes'), ('0.0', '1.0'), ('N', 'Y')])
def test_a_binary_answer_is_written_as_in_the_sample(tmp_path, no, yes):
    "argmax of one column gave one label to every row, and the check said ok."
    comp = toy(classes=('dog',), sample=dict(answer=no))
    made = make_submission(comp, probs(comp, [[0.9], [0.2], [0.7]]))
    assert made.answer.tolist() == [yes, no, yes]
    write_table(tmp_path / 's.csv', made)
    assert check_submission(tmp_path / 's.csv', comp) == []


def test_a_binary_answer_in_unknown_words_is_refused():
    "A sample of 'x' tells nothing."
    with pytest.raises(KitError, match="classes=\\('no', 'yes'\\)"):
        toy(classes=('dog',), sample=dict(answer='x'))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(sample=dict(answer='cat', confidence='0')), '2 answer columns'),
        (dict(sample=dict(answer='cat dog')), 'several answers in one field'),
        (dict(sample=dict(answer='dog,cat')), 'several answers in one field'),
        (dict(answer='probability', metric='log_loss'), 'asks for answer, and the classes are cat, dog'),
        (dict(answer='probability', metric='log_loss', sample=dict(cat='0', dgo='0')), 'asks for cat, dgo'),
        (
            dict(answer='probability', metric='log_loss', sample=dict(cat='0', dog='0', bird='0')),
            'asks for cat, dog, bird',
        ),
        (
            dict(answer='probability', metric='auc', classes=('dog',), sample=dict(answer='.1 .2 .3')),
            'several answers in one field',
        ),
        (dict(answer='prob'), 'did you mean probability'),
        (dict(metric='acuracy'), 'did you mean accuracy'),
        (dict(metric='auc'), 'reads scores'),
        (dict(metric='log_loss'), 'reads probabilities'),
        (dict(classes='cat'), 'tuple of names'),
    ],
)
def test_a_form_that_does_not_fit_is_refused_when_the_competition_is_read(changes, words):
    "It was found after all folds, or not at all."
    with pytest.raises(KitError, match=words):
        toy(**changes)


def test_a_constant_answer_is_a_warning(space):
    "It passed without a word; the log has one now."
    comp = replace(toy(), name=SHAPES)
    run = Run(SHAPES, 'exp0001')
    write_table(run.folder / 'test.parquet', probs(comp, [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))
    write_submission(run, comp)
    assert 'all 3 rows have the same answer (cat)' in (run.folder / 'log.txt').read_text()
    with pytest.raises(KitError, match='nothing was predicted'):
        make_submission(comp, probs(comp, [[0.9, 0.1]] * 3))


def test_a_constant_column_is_a_warning(tmp_path):
    "Of three classes one is never varied."
    comp = toy(
        classes=('a', 'b', 'c'),
        answer='probability',
        metric='log_loss',
        sample=dict(a='0', b='0', c='0'),
        target=(0, 1, 2, 1),
    )
    write_table(
        tmp_path / 's.csv', make_submission(comp, probs(comp, [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.7, 0.2]]))
    )
    assert check_submission(tmp_path / 's.csv', comp) == ['the column c is 0.2 in all 3 rows']


def test_a_double_survives_the_submission_file():
    "And so is a float32, in fewer digits."
    comp = toy(classes=('dog',), answer='probability', metric='auc', sample=dict(answer='0'))
    p = np.array([1 / 3, 0.1 + 0.2, 1e-12])
    made = make_submission(comp, pd.DataFrame(dict(id=comp.test.id, p_dog=p)))
    assert made.answer.astype(float).tolist() == p.tolist()
    short = make_submission(comp, probs(comp, p[:, None])).answer
    assert short.astype(np.float32).tolist() == p.astype(np.float32).tolist() and max(map(len, short)) <= 10


# Metrics


@pytest.fixture
def brier():
    "A metric of a page of which less is better."

    @metric('brier', greater=False)
    def brier(y, p):
        return np.mean((p - (y if p.ndim == 1 else np.eye(p.shape[1])[y])) ** 2)

    yield METRICS['brier']
    METRICS.pop('brier')


def test_less_is_better_works_everywhere(brier):
    "Rooms asked for the name log_loss."
    assert brier.best([0.3, np.nan, 0.1, 0.2]) == 2 and brier.better(0.1, 0.2)
    y, right = np.array([0, 1, 0, 1]), np.array([[0.1], [0.9], [0.2], [0.8]])
    assert constant_score(brier, y, 2) == 0.25
    comp = toy(classes=('dog',), answer='probability', metric='brier', sample=dict(answer='0'))
    oof = pd.DataFrame(dict(id=comp.train.id, fold=[0, 0, 1, 1], target=y, p_dog=right[:, 0]))
    assert score_oof(oof, comp)['direction'] == 'less'


def test_two_modules_cannot_claim_one_metric():
    "The later one would change every score in silence."

    def auc(y, p):
        return 0.0

    auc.__module__ = 'kagglekit.competitions.mine'
    before = METRICS['auc']
    with pytest.raises(KitError, match='two modules define the metric auc'):
        metric('auc')(auc)
    assert METRICS['auc'] is before


def test_a_metric_of_a_page_gets_what_it_reads():
    "Labels, one column, or a column a class; its own errors name it."
    seen = []
    metric('seen', values='labels')(lambda y, p: seen.append(p) or 1)
    METRICS['seen']([0, 1, 2], np.eye(3))
    assert seen[0].tolist() == [0, 1, 2]
    metric('seen')(lambda y, p: np.linalg.norm(p[5]))
    with pytest.raises(KitError, match='metric seen: IndexError'):
        METRICS['seen']([0, 1], [0.1, 0.9])
    METRICS.pop('seen')


def test_the_message_of_an_undefined_auc_offers_another():
    "A class with one row is validated in one fold of five."
    y, p = np.array([0, 1, 1, 0]), np.eye(3)[[0, 1, 1, 0]]
    assert np.isnan(find_metric('auc')(y, p)) and "metric='auc_present'" in find_metric('auc').why(y, p)
    assert find_metric('auc_present')(y, p) == 1
    assert np.isnan(find_metric('auc_present')([1, 1], np.eye(3)[:2]))


# Files


@pytest.mark.parametrize(
    'name', ['../secret.png', '/etc/passwd', 'images/../../x.png', 'C:\\x.png', '..\\x.png', '', 'a\0b']
)
def test_a_file_outside_the_data_is_refused(name):
    "A table is a stranger's."
    train, test = tables()
    train.loc[2, 'file'] = name
    with pytest.raises(KitError, match='leads out of'):
        Competition('toy', train, test, pd.DataFrame(dict(id=test.id, answer='cat')), ('cat', 'dog'), 'accuracy')


def test_a_competition_can_be_read_from_its_tables_alone(space):
    "Blending wanted every picture to exist."
    import shutil

    folder = write_shapes()
    shutil.rmtree(folder / 'images')
    assert len(find_comp(SHAPES).train) == 240
    folder = copy_practice('mask-practice', 140)
    before = find_comp('mask-practice')
    shutil.rmtree(folder / 'train' / 'images')
    shutil.rmtree(folder / 'eval' / 'images')
    assert find_comp('mask-practice').train.id.tolist() == before.train.id.tolist()


# One stranger stops nobody

BROKEN = {
    'a syntax error': ('def read(:\n', 'SyntaxError'),
    'a merge conflict': ('<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> other\n', 'a merge conflict'),
    'an exception': ('1/0\n', 'line 3: ZeroDivisionError'),
    'an import': ('import nobody_has_this\n', "No module named 'nobody_has_this'"),
    'a slip in a recipe': (
        "from kagglekit.core.validation import KitError\nraise KitError('unknown parameter sise')\n",
        'line 4: unknown parameter sise',
    ),
    'an exit': ('raise SystemExit(3)\n', 'line 3: SystemExit'),
}


@pytest.fixture
def stray(tmp_path):
    "Write a page that registers a competition and then goes on as it is told."

    def _write(body):
        (tmp_path / 'stray.py').write_text(
            "from kagglekit.data.competition import competition\ncompetition('stray', "
            "'stray-practice')(lambda name: None)\n" + body
        )

    pages.__path__.append(str(tmp_path))
    yield _write
    pages.__path__.remove(str(tmp_path))
    sys.modules.pop('kagglekit.competitions.stray', None)
    for name in ('stray', 'stray-practice'):
        READERS.pop(name, None)


@pytest.mark.parametrize('kind', BROKEN)
def test_a_broken_page_affects_its_own_competition_alone(space, stray, kind, capsys):
    "A merge conflict in one page stopped every competition."
    from kagglekit.cli import main

    body, words = BROKEN[kind]
    stray(body)
    write_shapes()
    assert len(find_comp(SHAPES).train) == 240
    with pytest.raises(KitError, match='its page cannot be read') as e:
        find_comp('stray')
    assert words in str(e.value) and 'stray' in load_pages()
    for command, code in [(['check', 'stray'], 1), (['run', 'stray', 'exp0001'], 2), (['check', SHAPES], 0)]:
        with pytest.raises(SystemExit) as done:
            main(command)
        said = capsys.readouterr()
        assert done.value.code == code and words in said.out + said.err


def test_a_page_with_a_conflict_is_an_entry_of_status(space, stray, capsys):
    "It is found without running any page."
    from kagglekit.cli import main

    stray(BROKEN['a merge conflict'][0])
    with pytest.raises(SystemExit) as done:
        main(['status'])
    assert done.value.code == 0 and 'stray.py, line 3: a merge conflict' in capsys.readouterr().err


SETI = """
import sys
import kagglekit.competitions as pages
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, check_page, load_pages
from kagglekit.data.pages import forget_pages
from kagglekit.runs.recipe import RECIPES, find_recipe
forget_pages([name for name in sys.modules if name.startswith(pages.__name__ + '.')])  # which a fork has read
READERS.clear()
RECIPES.clear()
pages.__path__[:] = sys.argv[1:2]
broken = load_pages()
print(sorted(broken))
print(*{why.split(':')[0] for why in broken.values()})
print([check_page(name) for name in ('seti', 'seti-practice', 'seti-old')])
print('exp0001' in RECIPES.get('seti', {}), 'exp0001' in RECIPES.get('shapes-practice', {}))
try:
    print(find_recipe('seti', sys.argv[2]).exp)
except KitError as e:
    print(e)
"""


@pytest.mark.parametrize(
    'page, content, broken, exp, left',
    [
        ('seti_practice', 'x = ', ['seti_practice'], 'exp0001', True),
        ('seti_relaunch', 'x = 1 / 0', ['seti_practice', 'seti_relaunch'], 'relaunch-exp003', True),
        ('seti_old', 'x = ', ['seti_old', 'seti_practice', 'seti_relaunch'], 'exp0001', False),
    ],
)
def test_a_broken_page_of_recipes_stops_those_recipes_alone(space, tmp_path, page, content, broken, exp, left):
    "One in three pages of SETI's recipes stopped the competition itself."
    folder = Path(shutil.copytree(pages.__path__[0], tmp_path / 'pages'))
    (folder / f'{page}.py').write_text(content)
    done = python('-c', SETI, str(folder), exp)
    assert done.returncode == 0, done.stderr[-2000:]
    names, places, readable, recipes, found = done.stdout.splitlines()
    assert names == str(broken)
    assert places == f'kagglekit/competitions/{page}.py, line 1'  # the page to mend, not those that import it
    assert readable == "['seti', 'seti-practice', 'seti-old']" and recipes == f'{left} True'
    assert found == exp or f'seti has no {exp}' in found and f'a page cannot be read: {places}' in found


@pytest.mark.parametrize(
    'read, words',
    [
        (lambda name: {}['lost'], "KeyError: 'lost'"),
        (lambda name: None, 'must return a Competition'),
        (lambda name: toy(), "named the competition 'toy'"),
        (lambda name: pd.read_csv('nothing.csv'), 'FileNotFoundError'),
    ],
)
def test_a_reader_that_fails_names_its_competition(space, read, words):
    "No traceback of a library reaches the user."
    from kagglekit.core.paths import data_dir

    READERS['strange'] = read
    data_dir('strange').mkdir(parents=True)
    with pytest.raises(KitError, match=words) as e:
        find_comp('strange')
    READERS.pop('strange')
    assert str(e.value).startswith('strange: its reader')


@pytest.mark.parametrize('name', ['../x', '/tmp', 'a b', 'journal.html', 'x' * 65, '한국', ''])
def test_names_of_competitions_are_checked_like_ids(name):
    "They become folders."
    from kagglekit.data.competition import competition

    with pytest.raises(KitError):
        find_comp(name)
    with pytest.raises(KitError):
        competition(name)(lambda name: None)
    with pytest.raises(KitError):
        replace(toy(), name=name)


# The check

FAULTS = [
    ('nothing', lambda c: None, ''),
    ('a missing test picture', lambda c: (c.folder / c.test.file[5]).unlink(), 'files .*1 of 120 files are not there'),
    (
        'a damaged picture',
        lambda c: (c.folder / c.train.file[0]).write_bytes(b'\x89PNG\r\n\x1a\n'),
        'images .*cannot be read',
    ),
    (
        'few rows',
        lambda c: write_table(c.folder / 'train.csv', c.train[['id', 'label']].groupby('label').head(2)),
        'folds .*no class has 3 rows',
    ),
    ('no column', lambda c: write_table(c.folder / 'train.csv', c.train[['id']]), "page .*no column 'label'"),
    (
        'another sample',
        lambda c: write_table(c.folder / 'sample_submission.csv', c.sample.assign(x='1')),
        'page .*this form cannot be written',
    ),
]


@pytest.mark.parametrize('kind, spoil, words', FAULTS)
def test_the_check_finds_what_would_fail_late(space, kind, spoil, words):
    "And says ✓ of everything else."
    import re
    from kagglekit.fit.page_check import inspect_comp, check_text

    write_shapes()
    spoil(find_comp(SHAPES))
    lines = inspect_comp(SHAPES)
    bad = [f'{line.what} {line.text}' for line in lines if line.mark == '✗']
    assert not bad if not words else any(re.search(words, text) for text in bad), check_text(lines)


def test_rare_classes_and_auc_are_a_warning_before_training(space):
    "With the name of the metric that has a value."
    from kagglekit.runs.recipe import RECIPES
    from kagglekit.fit.preflight import split_once

    write_shapes()
    comp = find_comp(SHAPES)
    train = comp.train[(comp.train.target != 0) | ~comp.train.target.duplicated()].reset_index(drop=True)
    rare = replace(
        comp,
        train=train,
        metric='auc',
        answer='probability',
        sample=comp.sample[['id']].assign(**dict.fromkeys(comp.classes, '0')),
    )
    found = split_once(rare, RECIPES[SHAPES]['exp0001'])
    assert "metric='auc_present'" in found.notes[-1]
