"Drawn practice competitions: the sites' formulas, beside another way to the same number; hand-ins that are refused."

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, mean_squared_error, r2_score, roc_auc_score
from layouts import LAYOUTS, truth_of
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.practice.standins import local_score
from kagglekit.practice.standin_birdclef import SONGS
from kagglekit.practice.standin_photographs import score_aptos
from kagglekit.practice.standin_scans import HAEMORRHAGES, LINES, score_haemorrhage, score_ranzcr
from kagglekit.practice.standin_symbols import score_bengali, score_imet


def scored_by(formula, comp, folder, tmp_path, **given):
    "Check the public and the private score of changed columns against a formula of (answers, given)."
    answers = pd.read_parquet(folder / '.answers.parquet')
    submission = truth_of(folder).assign(**given)
    write_table(tmp_path / 'given.csv', submission)
    score = local_score(comp, tmp_path / 'given.csv')
    for side, rows in dict(public=answers.public, private=~answers.public).items():
        assert score[side] == pytest.approx(formula(answers[rows], submission[rows])), side


def test_grades_and_numbers_are_scored_as_scikit_learn_does(written, tmp_path):
    g = np.random.default_rng(0)
    for comp, column, metric in [
        ('aptos-practice', 'diagnosis', lambda y, p: cohen_kappa_score(y, p, weights='quadratic')),
        ('pawpularity-practice', 'Pawpularity', lambda y, p: mean_squared_error(y, p) ** 0.5),
    ]:
        folder = written(comp)
        answers = pd.read_parquet(folder / '.answers.parquet')
        given = answers.iloc[:, :2].assign(**{column: g.permutation(answers[column])})
        write_table(tmp_path / 'given.csv', given)
        score = local_score(comp, tmp_path / 'given.csv')
        for side, rows in dict(public=answers.public, private=~answers.public).items():
            assert score[side] == pytest.approx(metric(answers[column][rows], given[column][rows]))


def test_a_grade_that_nobody_has_keeps_its_distance():
    table = pd.DataFrame(dict(id_code=list('abcd'), diagnosis=[0, 0, 4, 4]))
    answer = table.assign(diagnosis=[0, 1, 4, 4])
    kappa = score_aptos(table, answer, 'id_code')
    pairs = [(y, p) for y in table.diagnosis for p in answer.diagnosis]
    observed = np.mean((table.diagnosis - answer.diagnosis) ** 2)
    expected = np.mean([(y - p) ** 2 for y, p in pairs])
    assert kappa == pytest.approx(1 - observed / expected)


def test_a_column_of_which_all_are_right_lifts_the_mean_auc_by_its_share():
    g = np.random.default_rng(0)
    truth = pd.DataFrame(g.integers(0, 2, (50, len(LINES))), columns=list(LINES))
    truth.insert(0, 'StudyInstanceUID', [str(i) for i in range(50)])
    half = truth.assign(**dict.fromkeys(LINES, 0.5))
    column = next(iter(LINES))
    assert score_ranzcr(truth, half.assign(**{column: truth[column]}), 'StudyInstanceUID') == pytest.approx(
        0.5 + 0.5 / len(LINES)
    )


def test_any_weighs_twice_in_the_log_loss():
    ids = [f'ID_1_{label}' for label in HAEMORRHAGES]
    truth = pd.DataFrame(dict(ID=ids, Label=[1, 0, 0, 0, 0, 1]))
    p = np.array([0.8, 0.1, 0.1, 0.1, 0.1, 0.6])
    losses = -np.log(np.where(truth.Label, p, 1 - p))
    assert score_haemorrhage(truth, truth.assign(Label=p), 'ID') == pytest.approx(losses @ [1, 1, 1, 1, 1, 2] / 7)
    sure = score_haemorrhage(truth, truth.assign(Label=1 - truth.Label), 'ID')
    assert sure == pytest.approx(-np.log(1e-15), rel=1e-3)  # and not infinite


def test_a_forgotten_attribute_costs_more_than_a_wrong_one():
    truth = pd.DataFrame(dict(id=['a'], attribute_ids=['3 9']))
    score = {text: score_imet(truth, truth.assign(attribute_ids=text), 'id') for text in ('9 3', '3', '3 9 11', '')}
    assert score == pytest.approx({'9 3': 1, '3': 5 / 9, '3 9 11': 10 / 11, '': 0})


def test_the_root_weighs_twice_and_rare_classes_as_much_as_frequent_ones():
    parts = ['grapheme_root', 'vowel_diacritic', 'consonant_diacritic']
    ids = [f'Test_{i}_{part}' for i in range(4) for part in parts]
    truth = pd.DataFrame(dict(row_id=ids, target=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]))
    wrong = truth.row_id.isin(['Test_3_grapheme_root'])
    assert score_bengali(truth, truth.assign(target=truth.target.mask(wrong, 0)), 'row_id') == pytest.approx(0.75)
    wrong = truth.row_id.isin(['Test_3_vowel_diacritic'])
    assert score_bengali(truth, truth.assign(target=truth.target.mask(wrong, 0)), 'row_id') == pytest.approx(0.875)


def test_a_breast_is_scored_by_its_share_of_probability(written, tmp_path):
    folder = written('mammography-practice')
    p = np.random.default_rng(0).random(len(truth_of(folder)))

    def dice(answers, given):  # the F1 of fractions is the Dice coefficient
        return 2 * (answers.cancer * given.cancer).sum() / (answers.cancer.sum() + given.cancer.sum())

    scored_by(dice, 'mammography-practice', folder, tmp_path, cancer=p)


def test_only_the_upper_part_of_the_curve_counts(written, tmp_path):
    folder = written('isic-practice')
    p = truth_of(folder).target + np.random.default_rng(0).normal(0, 0.7, len(truth_of(folder)))

    def standardised(answers, given):  # scikit-learn's, turned back into an area
        area = roc_auc_score(1 - answers.target, -given.target, max_fpr=0.2)
        return 0.02 + (2 * area - 1) * (0.2 - 0.02)

    scored_by(standardised, 'isic-practice', folder, tmp_path, target=p)


def test_species_count_the_same_where_they_are_heard(written, tmp_path):
    folder = written('birdclef-practice')
    g = np.random.default_rng(0)
    columns = {s: g.random(len(truth_of(folder))) for s in SONGS}

    def macro(answers, given):
        return np.mean([roc_auc_score(answers[s], given[s]) for s in SONGS if answers[s].any()])

    scored_by(macro, 'birdclef-practice', folder, tmp_path, **columns)


def test_the_total_counts_half(written, tmp_path):
    folder = written('biomass-practice')
    truth = truth_of(folder)
    weights = dict(Dry_Clover_g=0.1, Dry_Dead_g=0.1, Dry_Green_g=0.1, GDM_g=0.2, Dry_Total_g=0.5)

    def weighted(answers, given):
        w = answers.sample_id.str.split('__').str[1].map(weights)
        return r2_score(answers.target, given.target, sample_weight=w)

    target = truth.target + np.random.default_rng(0).normal(0, 9, len(truth))
    scored_by(weighted, 'biomass-practice', folder, tmp_path, target=target)


def test_a_whale_in_third_place_is_worth_a_third(written, tmp_path):
    folder = written('whales-practice')
    truth = truth_of(folder).predictions
    for answers, worth in {'a b {}': 1 / 3, '{} {}': 1, 'a b c d {} e': 1 / 5, 'a b c d e {}': 0}.items():
        scored_by(
            lambda answers, given, worth=worth: worth,
            'whales-practice',
            folder,
            tmp_path,
            predictions=[answers.replace('{}', t) for t in truth],
        )


# Hand-ins that are refused


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_hand_in_that_lacks_rows_is_refused(comp, written, tmp_path):
    write_table(tmp_path / 'short.csv', truth_of(written(comp))[1:])
    with pytest.raises(KitError, match='1 ids are missing'):
        local_score(comp, tmp_path / 'short.csv')


def test_a_hand_in_without_a_column_or_with_words_is_refused(written, tmp_path):
    truth = truth_of(written('pawpularity-practice'))
    write_table(tmp_path / 'bad.csv', truth.rename(columns=dict(Pawpularity='Score')))
    with pytest.raises(KitError, match="no column 'Pawpularity'"):
        local_score('pawpularity-practice', tmp_path / 'bad.csv')
    write_table(tmp_path / 'bad.csv', truth.astype(str).replace(dict(Pawpularity={'100': 'hundred'})))
    with pytest.raises(KitError, match="'hundred'"):
        local_score('pawpularity-practice', tmp_path / 'bad.csv')


def test_what_the_formula_refuses_is_said_in_plain_words(written, tmp_path):
    truth = truth_of(written('aptos-practice'))
    write_table(tmp_path / 'half.csv', truth.assign(diagnosis=truth.diagnosis + 0.5))
    with pytest.raises(KitError, match="half.csv: the site's formula refuses it: ValueError"):
        local_score('aptos-practice', tmp_path / 'half.csv')


def test_shares_that_do_not_sum_to_one_are_refused(written, tmp_path):
    truth = truth_of(written('hms-practice'))
    write_table(tmp_path / 'bad.csv', truth.assign(other_vote=truth.other_vote + 0.5))
    with pytest.raises(KitError, match='sum to 1'):
        local_score('hms-practice', tmp_path / 'bad.csv')
