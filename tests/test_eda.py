"The checks on the practice competitions: what is planted is found, and nothing else raises an alarm."

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kagglekit.core.paths import workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_table
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.data.folds import make_folds
from kagglekit.targets.target import OneOf
from kagglekit.eda import duplicates, overview as eda
from kagglekit.eda.duplicates import (
    DETAIL_CORRELATION,
    check_duplicates,
    check_near_duplicates,
    detail_correlation,
    embed_thumbnails,
    near_pairs,
)
from kagglekit.eda.examples import write_predictions
from kagglekit.eda.files import file_metadata
from kagglekit.eda.findings import Finding
from kagglekit.eda.groups import check_groups
from kagglekit.eda.metadata import check_metadata, sorted_by_target
from kagglekit.eda.predictions import oof_folds
from kagglekit.eda.samples import take_sample
from kagglekit.eda.shift import check_covariate_shift, check_label_errors, check_label_shift
from kagglekit.eda.windows import check_windows
from kagglekit.runs.run import Run
from running import copy_practice


@pytest.fixture(scope='module', autouse=True)
def pages():
    load_pages()


def practice(name, rows=None):
    "A practice competition."
    copy_practice(name, rows)
    return find_comp(name)


def sample_of(comp):
    "A sample of a competition."
    return take_sample(comp, say=lambda line: None)


def softmax(x):
    q = np.exp(x - x.max(1, keepdims=True))
    return q / q.sum(1, keepdims=True)


def simulated_probs(comp, truth, *key):
    "Calibrated probabilities for rows of known classes, wrong in fewer than one row in a hundred."
    g, p = rng('told', comp.name, *key), np.ones((len(truth), 1))
    sizes = [len(names) for _, names in comp.heads] or [comp.n_classes]
    for size, code in zip(sizes, np.unravel_index(truth, sizes)):
        noisy = 3.8 * np.eye(size)[code] + g.normal(size=(len(code), size))
        p = (p[:, :, None] * softmax(3.8 * noisy)[:, None]).reshape(len(p), -1)
    return p[:, -len(comp.classes) :]


def hidden_classes(comp):
    "The classes of the test rows."
    answers = pd.read_parquet(comp.folder / '.answers.parquet').set_index('id').answer
    hidden = answers.loc[comp.test.sample_id]
    return hidden.astype(int).to_numpy() if comp.binary else pd.Index(comp.classes).get_indexer(hidden)


def write_runs(comp, truth=None, exps=('exp0001', 'exp0002'), **how):
    "Runs whose predictions follow the true classes, not the labels."
    folds, truth = make_folds(comp, 3, **how), comp.train.target if truth is None else truth
    for exp in exps:
        write_predictions(comp, exp, simulated_probs(comp, truth, exp, 'oof'), folds=folds)
        write_predictions(comp, exp, simulated_probs(comp, hidden_classes(comp), exp, 'test'), name='test')
    return exps


def corrected(comp):
    "The competition without its planted label errors."
    write_table(comp.folder / 'corrections.csv', pd.read_parquet(comp.folder / '.planted.parquet'))
    right = find_comp(comp.name)
    (comp.folder / 'corrections.csv').unlink()
    return right


def alarms(*findings):
    return [f.check for f in findings if f.alarm]


def test_mask_has_one_id_for_two_people_and_no_other_finding(tmp_path):
    with workspace(tmp_path):
        comp = practice('mask-practice', 420)
        s = sample_of(comp)
        groups = check_groups(comp, make_folds(comp, 3))
        assert groups.alarm and groups.number == 0  # reported, and no person is split
        assert '1 names begin alike' in groups.advice
        assert alarms(check_duplicates(s), check_near_duplicates(s), check_covariate_shift(s)) == []
        assert alarms(check_metadata(file_metadata(comp, comp.train), comp)) == []


def test_people_split_by_image_are_found(tmp_path):
    with workspace(tmp_path):
        comp = practice('mask-practice', 420)
        write_runs(comp, grouped=False)
        found = check_groups(comp, oof_folds(comp, 'exp0001'))
        assert found.alarm and found.number > 0.9 * len(comp.train)
        assert 'split again, so that the folds keep each person together' in found.advice


CHECKS = ('duplicates', 'windows', 'near_duplicates', 'metadata', 'covariate_shift', 'label_shift', 'label_errors')


def bare_comp():
    "A class competition without columns of its own."
    return SimpleNamespace(target=OneOf(('a', 'b')), unit=None, group=None)


def test_the_page_checks_the_folds_of_the_first_run(monkeypatch):
    seen, one = [], Finding('any', 0.0, 'rows', False, 'Nothing.')
    for name in CHECKS:
        monkeypatch.setattr(eda, f'check_{name}', lambda *a: one)
    monkeypatch.setattr(eda, 'check_groups', lambda comp, folds: seen.append(folds) or one)
    monkeypatch.setattr(eda, 'shared_columns', lambda comp: [])
    monkeypatch.setattr(eda, 'make_folds', lambda comp, k: 'default')
    monkeypatch.setattr(eda, 'oof_folds', lambda comp, exp: exp)
    for exps in ([], ['exp0007', 'exp0001']):
        data = SimpleNamespace(comp=bare_comp(), exps=exps, sample=SimpleNamespace(cadences=False), facts=None)
        eda.run_checks(data, lambda line: None)
    assert seen == ['default', 'exp0007']


def few_of_each(tmp_path, rows, order=None):
    "The drawn shapes with a few rows of train."
    comp = practice('shapes-practice')
    train = comp.train.groupby('target').head(rows).reset_index(drop=True)
    return replace(comp, train=train if order is None else train.sort_values(order).reset_index(drop=True))


@pytest.mark.parametrize('rows', [1, 2, 3, 4])
def test_a_competition_with_few_rows_of_each_class_is_checked(tmp_path, rows):
    with workspace(tmp_path):
        data = eda.load_eda_data(few_of_each(tmp_path, rows), ['exp0404'])
        found = eda.run_checks(data, lambda line: None)
    assert len(found) == 5 and data.exps == [] and 'exp0404 is left out: ' in data.notes[0]
    assert all(f.advice.startswith('Not measured: ') for f in found if np.isnan(f.number))
    assert eda.show_findings(found).data.count('<tr') == 6


def test_an_unfinished_run_is_left_out_with_a_note(tmp_path):
    with workspace(tmp_path):
        comp = few_of_each(tmp_path, 5)
        write_runs(comp, exps=('exp0001',))
        Run(comp.name, 'exp0002').set_status('running')
        write_table(Run(comp.name, 'exp0003').folder / 'oof.parquet', pd.DataFrame(dict(x=[1])))
        kept, notes = eda.finished_runs(comp, ['exp0001', 'exp0002', 'exp0003'])
    assert kept == ['exp0001'] and [n.split()[0] for n in notes] == ['exp0002', 'exp0003']


def test_a_table_sorted_by_target_raises_no_alarm(tmp_path):
    with workspace(tmp_path):
        comp = few_of_each(tmp_path, 100, 'target')
        comp = replace(comp, train=comp.train.assign(id=rng('ids').permutation(comp.train.id.to_numpy())))
        found = check_metadata(file_metadata(comp, comp.train), comp)
    assert sorted_by_target(comp) and not found.alarm and 'sorted the table by class' in found.advice


def test_label_errors_of_mask_are_found_and_right_labels_are_not_accused(tmp_path):
    with workspace(tmp_path):
        comp = practice('mask-practice', 420)
        right = corrected(comp)
        exps = write_runs(comp, right.train.target)
        planted = comp.train.id[comp.train.target != right.train.target]
        found = check_label_errors(comp, exps)
        assert len(planted) == 16 and set(found.rows.id[:16]) == set(planted)
        assert found.alarm and found.number <= 18
        assert alarms(check_label_errors(right, exps), check_label_shift(comp, exps[0])) == []


def test_seti_has_overlapping_windows_and_no_copies(tmp_path):
    with workspace(tmp_path):
        comp = practice('seti-practice', 120)
        s = sample_of(comp)
        windows = check_windows(s)
        assert windows.alarm and windows.number > 20
        assert alarms(check_duplicates(s), check_groups(comp, make_folds(comp, 3)), check_covariate_shift(s)) == []
        assert alarms(check_metadata(file_metadata(comp, comp.train), comp)) == []


def test_a_standard_deviation_that_leaks_the_label_is_found(tmp_path):
    with workspace(tmp_path):
        comp = practice('seti-practice', 120)
        assert alarms(check_metadata(file_metadata(comp, comp.train), comp)) == []
        for file in comp.train.file[comp.train.target == 1]:  # as before the relaunch: not standardised again
            x = np.load(comp.folder / file)
            np.save(comp.folder / file, (x * np.float16(1.05)))
        found = check_metadata(file_metadata(comp, comp.train), comp)
        assert found.alarm and found.rows.feature.iloc[0] == 'sd' and found.number > 0.95


def swap_labels(comp):
    "Swap three labels of each class; the ids of the rows."
    labels = pd.read_csv(comp.folder / 'train_labels.csv', dtype=str)
    wrong = [*labels.index[labels.target == '1'][:3], *labels.index[labels.target == '0'][:3]]
    labels.loc[wrong, 'target'] = labels.target[wrong].map({'0': '1', '1': '0'})
    write_table(comp.folder / 'train_labels.csv', labels)
    return set(labels.id[wrong])


def drop_negatives(comp, n):
    "Drop test rows without a needle, so that test has more needles than train."
    answers = pd.read_parquet(comp.folder / '.answers.parquet')
    negatives = answers.id[(answers.answer.astype(int) == 0).to_numpy()][:n]
    write_table(comp.folder / 'sample_submission.csv', comp.sample[~comp.sample.id.isin(negatives)])


def test_seti_has_no_label_errors_and_no_label_shift_until_they_are_planted(tmp_path):
    with workspace(tmp_path):
        comp = practice('seti-practice', 600)
        exps = write_runs(comp)
        assert alarms(check_label_errors(comp, exps), check_label_shift(comp, exps[0])) == []
        wrong = swap_labels(comp)
        swapped = find_comp('seti-practice')
        write_runs(swapped, comp.train.target)
        found = check_label_errors(swapped, exps)
        assert found.alarm and set(found.rows.id[:6]) == wrong and found.number <= 8
        drop_negatives(comp, 120)
        fewer = find_comp('seti-practice')
        write_runs(fewer, comp.train.target)
        assert check_label_shift(fewer, exps[0]).alarm


def detail_of_pairs(s, read):
    "Kind of cell → fine-detail correlations of every fourth candidate pair of that kind."
    files, kinds = [*s.train.file, *s.test.file], [*s.train['class'], *['?'] * len(s.test)]
    a, b, _ = near_pairs(embed_thumbnails(np.concatenate([s.x_train, s.x_test])))
    found = dict(mono=[], poly=[])
    for i, j in zip(a[::4], b[::4]):
        if kinds[i] == kinds[j] != '?':
            found[kinds[i]].append(detail_correlation(s.comp.folder / files[i], s.comp.folder / files[j], read))
    return found


def test_duplicate_solar_cells_are_found_and_plain_ones_are_distinguished(tmp_path, monkeypatch):
    pytest.importorskip('elpv_dataset', reason='the photographs of solar cells are a package of their own')
    with workspace(tmp_path):
        comp = practice('anomaly-practice')
        s = sample_of(comp)
        read = cache(duplicates._detail)  # which takes most of the time
        monkeypatch.setattr(duplicates, '_detail', read)
        plain, twice = detail_of_pairs(s, read).values()
        assert np.median(plain) < 0.3 and np.median(twice) > 0.8
        assert min(abs(r - DETAIL_CORRELATION) for r in plain + twice) >= 0.06, 'nothing is near the threshold'
        found = check_near_duplicates(s)
        assert found.alarm and len(found.rows) == 203
        assert found.rows.label_a.str.startswith('mono').sum() <= 14
        assert alarms(check_duplicates(s), check_groups(comp, make_folds(comp)), check_covariate_shift(s)) == []
        assert alarms(check_metadata(file_metadata(comp, comp.train, 200), comp)) == []
        exps = write_runs(comp)
        assert alarms(check_label_shift(comp, exps[0]), check_label_errors(comp, exps)) == []
        monkeypatch.setattr('kagglekit.eda.duplicates.MAX_CANDIDATES', 40)
        few = check_near_duplicates(s)
        assert few.alarm and len(few.rows) <= 40
        assert 'Of 479 pairs with similar thumbnails, the 40 most similar were compared' in few.advice


def test_the_page_shows_rows_without_a_figure(monkeypatch, capsys):
    shown, rows = [], pd.DataFrame(dict(id=['a', 'b'], file='x.png', owner='one', fold=[0, 1]))
    monkeypatch.setattr(eda, 'show_table', lambda table: shown.append(table))
    eda.show_evidence(
        [Finding('groups', 2.0, 'rows', True, 'Look.', rows), Finding('copies', 0.0, 'rows', False, 'Nothing.')]
    )
    assert [list(t.columns) for t in shown] == [['id', 'owner', 'fold']] and capsys.readouterr().out.startswith(
        '! groups'
    )
