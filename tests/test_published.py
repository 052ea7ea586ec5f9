"Files that others published, read as ours: folds and votes. Skipped where the files are not at hand."

from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from kagglekit.core.paths import workspace
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition, prob_columns
from kagglekit.data.fold_npy import export_positions, import_positions, read_positions
from kagglekit.data.folds import import_folds, prove_folds
from kagglekit.core.tables import read_table
from kagglekit.runs.run import Run
from kagglekit.runs.single_object import snapshot_labels

REAL = Path(__file__).parent.parent.parent / 'shared' / 'real'
needs_seti = pytest.mark.skipif(not (REAL / 'seti').exists(), reason='the published SETI folds are not at hand')
needs_anomaly = pytest.mark.skipif(not (REAL / 'anomaly').exists(), reason="the first place's files are not at hand")


def anomaly(n_train, n_test):
    "Dacon's anomaly detection by its ids alone, with two classes that alternate."
    train, test = (
        pd.DataFrame(dict(id=[str(first + i) for i in range(n)])).assign(file='x.png')
        for first, n in ((10000, n_train), (20000, n_test))
    )
    test['sample_id'] = [str(i) for i in range(n_test)]
    sample = pd.DataFrame(dict(index=test.sample_id, label='a'))
    train['target'] = np.arange(n_train) % 2
    return Competition('anomaly', train, test, sample, ('a', 'b'), 'macro_f1')


@needs_seti
def test_the_folds_of_setis_third_place_are_proven():
    path = REAL / 'seti' / 'train_labels_5fold.csv'
    labels = read_table(path, ['id', 'target', 'fold'], id='id')
    train = pd.DataFrame(dict(id=labels.id, file=labels.id, target=labels.target.astype(int)))
    test, sample = pd.DataFrame(dict(id=['t'], file=['t'], sample_id=['t'])), pd.DataFrame(dict(id=['t'], target=['0']))
    comp = Competition('seti', train, test, sample, ('needle',), 'auc', 'probability')
    assert prove_folds(import_folds(path, comp), comp) == '5 folds of 12,000 rows'
    assert round(train.target.mean(), 2) == 0.1


@needs_anomaly
@pytest.mark.parametrize('k, sizes', [(5, {855, 856}), (10, {427, 428})])
def test_the_positions_of_the_first_place_survive_an_export(k, sizes, tmp_path):
    path, comp = REAL / 'anomaly' / f'{k}-Fold_idx.npy', anomaly(4277, 1)
    folds = import_positions(path, comp)
    assert (folds.fold.nunique(), set(folds.fold.value_counts())) == (k, sizes)
    export_positions(folds, comp, tmp_path / 'again.npy')
    for ours, theirs in zip(read_positions(tmp_path / 'again.npy'), read_positions(path)):
        assert [np.sort(rows).tolist() for rows in theirs] == [list(rows) for rows in ours]
    with pytest.raises(KitError, match='another competition'):
        import_positions(path, anomaly(60, 1))


@needs_anomaly
@pytest.mark.parametrize(
    'thing, named, disagree, tied',
    [('cable', 206, 90, 3), ('grid', 96, 54, 5), ('metal_nut', 134, 93, 3), ('pill', 188, 142, 0), ('wood', 96, 59, 0)],
)
def test_the_votes_of_the_first_place_are_snapshots(thing, named, disagree, tied, tmp_path):
    "In the form of our snapshots, in any order of rows, they read back as they are."
    path = REAL / 'anomaly' / f'validation_E6_87_{thing}.csv'
    theirs = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=['index', 'label'])
    comp, names = anomaly(2, len(theirs)), sorted(set(theirs.to_numpy().ravel()))
    parts = []
    for column in theirs:
        answers = np.eye(len(names), dtype=np.float32)[pd.Index(names).get_indexer(theirs[column])]
        part = pd.DataFrame(answers, columns=prob_columns(names))
        parts.append(part.assign(id=comp.test.id, snapshot=int(column.split('-')[1])))
    with workspace(tmp_path):
        shuffled = pd.concat(parts).sample(frac=1, random_state=0)
        write_table(Run('toy', thing).folder / 'snapshots.parquet', shuffled)
        ours = snapshot_labels(Run('toy', thing), comp)
    assert sorted(ours) == sorted(theirs) and (ours[theirs.columns] == theirs).all(axis=None)
    counts = ours.apply(lambda row: row.value_counts(), axis=1).fillna(0)[names]
    voted, mine = counts.idxmax(axis=1), (ours != 'null').any(axis=1)
    ties = (counts.eq(counts.max(axis=1), axis=0).sum(axis=1) > 1) & mine
    assert ((voted != 'null').sum(), (ours[mine].nunique(axis=1) > 1).sum(), ties.sum()) == (named, disagree, tied)
