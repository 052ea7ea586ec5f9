"Records that are damaged or missing, case by case: histories, rows of the journal, parts of a submission."

import pandas as pd
import pytest
from kagglekit.core.storage import write_json, write_table
from kagglekit.core.validation import KitError
from kagglekit.core.paths import workspace
from kagglekit.data.competition import prob_columns
from kagglekit.report.curves import read_history
from kagglekit.report.journal import run_row
from kagglekit.runs.lineage import parent_runs
from kagglekit.report.rebuild import rebuild
from kagglekit.report.toy_runs import toy_run
from kagglekit.report.toy_submission import toy_submission
from kagglekit.runs.run import Run


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'No columns'),
        (b'fold,stage\n0,0\n', 'no column epoch'),
        (b'\xff\xfe\x00', 'restore it'),
        (b'fold,stage,epoch,train_loss,valid_loss,metric\n', 'has no row'),
        (b'fold,stage,epoch,train_loss,valid_loss,metric\n0,0,"x",1,1,1\n', 'line 2'),
    ],
)
def test_a_damaged_history_is_refused(content, message):
    with workspace():
        run = toy_run('exp0001')
        (run.folder / 'history.csv').write_bytes(content)
        with pytest.raises(KitError, match=message):
            read_history(run)


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('params.json', b'{"exp": "exp0011", "par', 'params.json is not JSON'),
        ('score.json', b'', 'score.json is not JSON'),
        ('notes.md', '다음은 더 크게'.encode('cp949'), 'iconv -f cp949'),
    ],
)
def test_a_damaged_file_is_named_in_the_row_of_its_run(name, content, message):
    with workspace():
        run = toy_run('exp0011', 0.5, state='done')
        (run.folder / name).write_bytes(content)
        assert message in run_row('toy', 'exp0011')['problem']


@pytest.mark.parametrize(
    'pseudo_labels, parents',
    [('itself', []), ('unsafe exp0101', ['exp0101']), ('exp0007', ['exp0007']), ('', []), (None, [])],
)
def test_a_run_is_the_child_of_the_run_that_labelled_its_rows(pseudo_labels, parents):
    assert parent_runs(dict(recipe=dict(init_from='', pseudo_labels=pseudo_labels))) == parents


def lose_a_fold(run, comp):
    table = pd.read_parquet(run.folder / 'test_folds.parquet')
    write_table(run.folder / 'test_folds.parquet', table[table.fold == 0])


def damage_predictions(run, comp):
    (run.folder / 'test_folds.parquet').write_bytes(b'cut')


def know_one_object(run, comp):
    params = run.read('params.json')
    recipe = params['recipe'] | dict(single_object='nut')
    write_json(run.folder / 'params.json', params | dict(recipe=recipe))


@pytest.mark.parametrize(
    'damage, message',
    [
        (lose_a_fold, 'holds folds'),
        (damage_predictions, 'is damaged'),
        (know_one_object, 'votes in a blend and has no submission'),
    ],
)
def test_a_run_without_whole_predictions_is_not_rebuilt(damage, message):
    with toy_submission() as (comp, _):
        run = Run(comp.name, 'exp0001')
        damage(run, comp)
        with pytest.raises(KitError, match=message):
            rebuild(run, comp, run.folder / 'rebuilt')


def change_a_member(blend, comp):
    path = Run(comp.name, 'exp0001').folder / 'test.parquet'
    write_table(path, pd.read_parquet(path).assign(**{prob_columns(comp.classes)[0]: 0.5}))


def lose_the_weights(blend, comp):
    (blend.folder / 'blend.json').unlink()


@pytest.mark.parametrize(
    'damage, message',
    [(change_a_member, 'its member exp0001 has changed since'), (lose_the_weights, 'has no blend.json')],
)
def test_a_blend_of_other_members_is_not_rebuilt(damage, message):
    with toy_submission() as (comp, blend):
        damage(blend, comp)
        with pytest.raises(KitError, match=message):
            rebuild(blend, comp, blend.folder / 'rebuilt')
