"EDA checks on the practice competitions: they find what was planted, and raise no false alarm."

from dataclasses import replace
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from kagglekit.eda.leaks import (
    GRAIN,
    Finding,
    check_alike,
    check_copies,
    check_facts,
    check_groups,
    check_windows,
    fingerprints,
    detail_correlation,
    near_pairs,
    run_split,
    sorted_by_class,
)
from kagglekit.data.competition import find_comp, load_pages, prob_columns
from kagglekit.eda import overview as eda
from kagglekit.core.paths import workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_table
from kagglekit.data.folds import make_folds
from kagglekit.eda.samples import file_facts, take_sample
from kagglekit.practice.standins import write_practice
from kagglekit.runs.run import Run
from kagglekit.eda.shift import check_labels, check_prior, check_shift


@pytest.fixture(scope='module', autouse=True)
def pages():
    load_pages()


def seen(name, tmp, rows=None):
    "A stand-in, written, and its small pictures."
    write_practice(name, rows)
    comp = find_comp(name)
    return comp, take_sample(comp, say=lambda line: None)


def told(comp, truth, *key):
    "Exact probabilities of a noisy observer, who is wrong in fewer than one row of a hundred."
    g, p = rng('told', comp.name, *key), np.ones((len(truth), 1))
    sizes = [len(names) for _, names in comp.heads] or [comp.n_classes]
    for size, code in zip(sizes, np.unravel_index(truth, sizes)):
        x = 3.8 * (3.8 * np.eye(size)[code] + g.normal(size=(len(code), size)))
        q = np.exp(x - x.max(1, keepdims=True))
        p = (p[:, :, None] * (q / q.sum(1, keepdims=True))[:, None]).reshape(len(p), -1)
    return pd.DataFrame(p[:, -len(comp.classes) :].astype(np.float32), columns=prob_columns(comp.classes))


def write_runs(comp, truth=None, exps=('exp0001', 'exp0002'), **how):
    "Runs with out-of-fold and test predictions that are told by the truth, and not by the labels."
    hidden = (
        comp.test[['id', 'sample_id']]
        .merge(
            pd.read_parquet(comp.folder / '.answers.parquet'), left_on='sample_id', right_on='id', suffixes=('', '_')
        )
        .answer
    )
    rows = dict(oof=make_folds(comp, 3, **how).assign(target=comp.train.target), test=comp.test[['id']])
    codes = dict(
        oof=comp.train.target if truth is None else truth,
        test=hidden.astype(int) if comp.binary else pd.Index(comp.classes).get_indexer(hidden),
    )
    for exp in exps:
        for name, table in rows.items():
            write_table(
                Run(comp.name, exp).folder / f'{name}.parquet',
                pd.concat([table, told(comp, codes[name], exp, name)], axis=1),
            )
    return exps


def mended(comp):
    "The competition without its planted label errors."
    write_table(comp.folder / 'corrections.csv', pd.read_parquet(comp.folder / '.planted.parquet'))
    right = find_comp(comp.name)
    (comp.folder / 'corrections.csv').unlink()
    return right


def alarms(*findings):
    return [f.check for f in findings if f.alarm]


def test_mask_has_one_id_for_two_people_and_no_other_finding(tmp_path):
    with workspace(tmp_path):
        comp, s = seen('mask-practice', tmp_path, 420)
        groups = check_groups(comp, make_folds(comp, 3))
        assert (
            groups.alarm and groups.number == 0 and '1 names begin alike' in groups.advice
        )  # told, and no person is split
        assert (
            alarms(check_copies(s), check_alike(s), check_shift(s), check_facts(file_facts(comp, comp.train), comp))
            == []
        )


def test_group_leakage_between_folds_is_found(tmp_path):
    with workspace(tmp_path):
        write_practice('mask-practice', 420)
        comp = find_comp('mask-practice')
        write_runs(comp, grouped=False)
        found = check_groups(comp, run_split(comp, 'exp0001'))
        assert (
            found.alarm
            and found.number > 0.9 * len(comp.train)
            and 'split anew, so that the folds keep each person together' in found.advice
        )


def test_the_page_checks_the_folds_of_the_first_run(monkeypatch):
    seen, one = [], Finding('any', 0.0, 'rows', False, 'Nothing.')
    for name in ('copies', 'windows', 'alike', 'facts', 'shift', 'prior', 'labels'):
        monkeypatch.setattr(eda, f'check_{name}', lambda *a: one)
    monkeypatch.setattr(eda, 'check_groups', lambda comp, folds: seen.append(folds) or one)
    monkeypatch.setattr(eda, 'make_folds', lambda comp, k: 'usual')
    monkeypatch.setattr(eda, 'run_split', lambda comp, exp: exp)
    for exps in ([], ['exp0007', 'exp0001']):
        eda.all_findings(
            SimpleNamespace(comp='it', exps=exps, sample=SimpleNamespace(panels=False), facts=None), lambda line: None
        )
    assert seen == ['usual', 'exp0007']


def few_of_each(tmp_path, rows, order=None):
    "The drawn shapes with a few rows of train."
    write_practice('shapes-practice')
    comp = find_comp('shapes-practice')
    train = comp.train.groupby('target').head(rows).reset_index(drop=True)
    return replace(comp, train=train if order is None else train.sort_values(order).reset_index(drop=True))


@pytest.mark.parametrize('rows', [1, 2, 3, 4])
def test_a_competition_with_few_rows_a_class_is_checked(tmp_path, rows):
    with workspace(tmp_path):
        look = eda.take_look(few_of_each(tmp_path, rows), ['exp0404'])
        found = eda.all_findings(look, lambda line: None)
    assert len(found) == 5 and look.exps == [] and 'exp0404 is left out: ' in look.notes[0]
    assert all(f.advice.startswith('Cannot be told: ') for f in found if np.isnan(f.number))
    assert eda.show_findings(found).data.count('<tr') == 6


def test_an_unfinished_run_is_left_out_with_a_note(tmp_path):
    with workspace(tmp_path):
        comp = few_of_each(tmp_path, 5)
        (whole,) = write_runs(comp, exps=('exp0001',))
        Run(comp.name, 'exp0002').mark('running')
        write_table(Run(comp.name, 'exp0003').folder / 'oof.parquet', pd.DataFrame(dict(x=[1])))
        kept, notes = eda.finished(comp, ['exp0001', 'exp0002', 'exp0003'])
    assert kept == [whole] and [n.split()[0] for n in notes] == ['exp0002', 'exp0003']


def test_a_table_sorted_by_class_raises_no_alarm(tmp_path):
    with workspace(tmp_path):
        comp = few_of_each(tmp_path, 100, 'target')
        comp = replace(comp, train=comp.train.assign(id=rng('ids').permutation(comp.train.id.to_numpy())))
        found = check_facts(file_facts(comp, comp.train), comp)
    assert sorted_by_class(comp) and not found.alarm and 'sorted the table by class' in found.advice


def test_label_errors_of_mask_are_found_without_false_alarms(tmp_path):
    with workspace(tmp_path):
        write_practice('mask-practice', 420)
        comp = find_comp('mask-practice')
        right = mended(comp)
        exps, planted = write_runs(comp, right.train.target), comp.train.id[comp.train.target != right.train.target]
        found = check_labels(comp, exps)
        assert found.alarm and len(planted) == 16 and set(found.rows.id[:16]) == set(planted) and found.number <= 18
        assert alarms(check_labels(right, exps), check_prior(comp, exps[0])) == []


def test_seti_has_overlapping_windows_and_no_copies(tmp_path):
    with workspace(tmp_path):
        comp, s = seen('seti-practice', tmp_path, 120)
        windows = check_windows(s)
        assert windows.alarm and windows.number > 20
        assert (
            alarms(
                check_copies(s),
                check_groups(comp, make_folds(comp, 3)),
                check_shift(s),
                check_facts(file_facts(comp, comp.train), comp),
            )
            == []
        )


def test_a_standard_deviation_that_leaks_the_label_is_found(tmp_path):
    with workspace(tmp_path):
        write_practice('seti-practice', 120)
        comp = find_comp('seti-practice')
        facts = file_facts(comp, comp.train)
        assert alarms(check_facts(facts, comp)) == []
        for file in comp.train.file[comp.train.target == 1]:  # a needle is added, and the panel not normalised again
            x = np.load(comp.folder / file)
            np.save(comp.folder / file, (x * np.float16(1.05)))
        found = check_facts(file_facts(comp, comp.train), comp)
        assert found.alarm and found.rows.feature.iloc[0] == 'sd' and found.number > 0.95


def test_flipped_labels_of_seti_are_found_and_clean_ones_raise_no_alarm(tmp_path):
    with workspace(tmp_path):
        write_practice('seti-practice', 600)
        comp = find_comp('seti-practice')
        exps = write_runs(comp)
        assert alarms(check_labels(comp, exps), check_prior(comp, exps[0])) == []
        labels = pd.read_csv(comp.folder / 'train_labels.csv', dtype=str)
        wrong = [*labels.index[labels.target == '1'][:3], *labels.index[labels.target == '0'][:3]]
        labels.loc[wrong, 'target'] = labels.target[wrong].map({'0': '1', '1': '0'})
        write_table(comp.folder / 'train_labels.csv', labels)
        turned = find_comp('seti-practice')
        write_runs(turned, comp.train.target)
        found = check_labels(turned, exps)
        assert found.alarm and set(found.rows.id[:6]) == set(labels.id[wrong]) and found.number <= 8
        answers = pd.read_parquet(comp.folder / '.answers.parquet')
        none = answers.id[(answers.answer.astype(int) == 0).to_numpy()][:120]  # a test set with more needles than train
        write_table(comp.folder / 'sample_submission.csv', comp.sample[~comp.sample.id.isin(none)])
        fewer = find_comp('seti-practice')
        write_runs(fewer, comp.train.target)
        assert check_prior(fewer, exps[0]).alarm


def test_duplicate_solar_cells_are_found_and_similar_ones_are_not(tmp_path, monkeypatch):
    pytest.importorskip('elpv_dataset', reason='the photographs of solar cells are a package of their own')
    with workspace(tmp_path):
        comp, s = seen('anomaly-practice', tmp_path)
        files, kind = np.r_[s.train.file, s.test.file], pd.Series([*s.train['class'], *['?'] * len(s.test)])
        a, b, _ = near_pairs(fingerprints(np.concatenate([s.x, s.y])))
        of = lambda what: [
            detail_correlation(comp.folder / files[i], comp.folder / files[j])
            for i, j in zip(a[::4], b[::4])
            if kind[i] == kind[j] == what
        ]
        plain, twice = of('mono'), of('poly')
        print(f'{len(a)} pairs of similar thumbnails; median detail correlation:')
        print(f'{np.median(plain):.2f} of mono cells, {np.median(twice):.2f} of poly cells')
        assert np.median(plain) < 0.3 and np.median(twice) > 0.8
        assert not [r for r in plain + twice if GRAIN - 0.06 < r < GRAIN + 0.06]  # nothing lies near the threshold
        found = check_alike(s)
        assert (
            found.alarm
            and len(found.rows) == 203
            and (np.isin(found.rows.label_a, [c for c in comp.classes if c.startswith('mono')]).sum() <= 14)
        )
        assert (
            alarms(
                check_copies(s),
                check_groups(comp, make_folds(comp)),
                check_shift(s),
                check_facts(file_facts(comp, comp.train, 200), comp),
            )
            == []
        )
        exps = write_runs(comp)
        assert alarms(check_prior(comp, exps[0]), check_labels(comp, exps)) == []
        monkeypatch.setattr('kagglekit.eda.leaks.LOOKS', 40)
        few = check_alike(s)
        assert (
            few.alarm
            and len(few.rows) <= 40
            and 'Of 479 pairs that look alike when small, the 40 most alike were looked at again' in few.advice
        )


def test_the_page_shows_rows_without_an_image(monkeypatch, capsys):
    shown, rows = [], pd.DataFrame(dict(id=['a', 'b'], file='x.png', owner='one', fold=[0, 1]))
    monkeypatch.setattr(eda, 'show_table', lambda table: shown.append(table))
    eda.show_evidence(
        [Finding('groups', 2.0, 'rows', True, 'Look.', rows), Finding('copies', 0.0, 'rows', False, 'Nothing.')]
    )
    assert [list(t.columns) for t in shown] == [['id', 'owner', 'fold']] and capsys.readouterr().out.startswith(
        '! groups'
    )
