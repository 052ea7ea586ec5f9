"A single-object run, from its recipe to its vote in a blend, in Dacon's layout."

from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.cli.show import show_run
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import RECIPES, Recipe
from kagglekit.report.journal import journal
from kagglekit.runs.single_object import object_states
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds
from kagglekit.fit.train import load_experiment, train
from running import fork_workers

LABELS = [('bottle', 'good'), ('tile', 'crack'), ('tile', 'good'), ('tile', 'oil')]
TINY = dict(arch='test_convnext', pretrained=False, size=32, bs=16, dead_after=0)


def write_tiny(folder):
    "Two objects, one of them with three states: a bright square at four heights."
    g = rng('tiles')
    for part, first, n in [('train', 10000, 64), ('test', 20000, 24)]:
        (folder / part).mkdir(parents=True)
        names = [f'{first + i}.png' for i in range(n)]
        for i, name in enumerate(names):
            x = g.integers(0, 60, (32, 32), dtype=np.uint8)
            x[8 * (i % 4) : 8 * (i % 4) + 8, 12:20] = 230
            Image.fromarray(x).save(folder / part / name)
        table = pd.DataFrame(dict(index=range(n), file_name=names))
        if part == 'train':
            table[['class', 'state']] = [LABELS[i % 4] for i in range(n)]
            table['label'] = table['class'] + '-' + table.state
        write_table(folder / f'{part}_df.csv', table)
    write_table(folder / 'sample_submission.csv', table[['index']].assign(label='tile-good'))


@pytest.fixture(scope='module')
def space():
    "A workspace with a run of one object, one of all, and the recipe of the first."
    with workspace():
        load_pages()
        write_tiny(data_dir('anomaly'))
        tiles, every = (
            Recipe(
                'tiles',
                reason='tiles alone',
                train_all=True,
                single_object='tile',
                checkpoint='best',
                epochs=30,
                lr=5e-5,
                scheduler='flat',
                **TINY,
            ),
            Recipe('every', folds=2, epochs=2, **TINY),
        )
        for r in (tiles, every):
            RECIPES['anomaly'][r.exp] = r
        try:
            for exp in ('tiles', 'every'):
                comp, recipe = load_experiment(dict(comp='anomaly', exp=exp, parent=None, reason=None))
                train(recipe, comp, run_folds(recipe, comp))
            yield tiles
        finally:
            for exp in ('tiles', 'every'):
                RECIPES['anomaly'].pop(exp)


def test_a_single_object_run_leaves_its_files(space):
    run, comp = Run('anomaly', 'tiles'), find_comp('anomaly')
    history, snaps = pd.read_csv(run.folder / 'history.csv'), pd.read_parquet(run.folder / 'snapshots.parquet')
    assert history.metric.iloc[-1] == 1 and 1 < len(history) < 30 and history.valid_loss.isna().all()
    assert (
        snaps.snapshot.unique().tolist()
        == (1 + np.flatnonzero(history.metric > history.metric.cummax().shift(fill_value=-1))).tolist()
    )
    assert snaps.groupby('snapshot').id.apply(list).map(lambda ids: ids == comp.test.id.tolist()).all()
    assert list(snaps) == ['id', 'snapshot', 'p_null', 'p_tile-crack', 'p_tile-good', 'p_tile-oil'] and run.read(
        'params.json'
    )['classes'] == ['null', 'tile-crack', 'tile-good', 'tile-oil']
    last = snaps[snaps.snapshot == snaps.snapshot.max()].drop(columns='snapshot').reset_index(drop=True)
    pd.testing.assert_frame_equal(
        pd.read_parquet(run.folder / 'test.parquet'), last
    )  # the kept weights are those of the best snapshot
    assert (run.read('score.json')['mean'], run.read('score.json')['folds']) == (None, [])
    assert (
        not (run.folder / 'oof.parquet').exists()
        and not (run.folder / 'submission.csv').exists()
        and not list(run.fold_folder(0).glob('snapshot*'))
    )
    row = journal('anomaly').set_index('exp').loc['tiles']
    assert np.isnan(row.CV) and row.problem == '' and row.state == 'done' and '– ± –' in show_run('anomaly/tiles')


def test_two_processes_leave_the_same_snapshots(space, monkeypatch):
    "The network has no batch norm, so the training scores, the snapshots and their probabilities agree."
    fork_workers(monkeypatch)
    comp, recipe = object_states(find_comp('anomaly'), 'tile'), replace(space, exp='shared', gpus=2)
    train(recipe, comp, run_folds(recipe, comp))
    one, two = (Run('anomaly', exp).folder for exp in ('tiles', 'shared'))
    assert sorted(p.relative_to(one).as_posix() for p in one.rglob('*')) == sorted(
        p.relative_to(two).as_posix() for p in two.rglob('*')
    )
    np.testing.assert_allclose(*(pd.read_csv(f / 'history.csv').metric for f in (one, two)), atol=1e-6)
    one, two = (pd.read_parquet(f / 'snapshots.parquet') for f in (one, two))
    assert (
        one[['id', 'snapshot']].equals(two[['id', 'snapshot']])
        and np.abs(one.filter(like='p_') - two.filter(like='p_')).to_numpy().max() < 1e-3
    )


def test_snapshots_vote_in_a_blend(space):
    rule = '[{"take": "tiles", "where": {"class_in": ["tile"], "now_class_in": ["tile"], "state_not": ["good"]}}]'
    comp = find_comp('anomaly')
    run = run_blend(
        BlendRecipe('vote', ['every', dict(votes='tiles')], rules=f'{{"base": "blend", "rules": {rule}}}'), comp
    )
    made = run.read('blend.json')
    assert made['unscored'] == ['tiles'] and list(made['members'][1]['files']) == ['snapshots.parquet']
    with pytest.raises(KitError, match='columns of predictions'):
        run_blend(BlendRecipe('mean', ['every', 'tiles']), comp)


def test_an_unknown_object_is_refused_with_the_known_ones(space):
    with pytest.raises(KitError, match='did you mean tile'):
        load_experiment(dict(comp='anomaly', exp='x', parent='tiles', single_object='tyle'))
    with pytest.raises(KitError, match='exists'):
        train(
            replace(space, seed=1),
            *(lambda c: (c, run_folds(space, c)))(load_experiment(dict(comp='anomaly', exp='tiles'))[0]),
        )
