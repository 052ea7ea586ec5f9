"A damaged run folder, ledger or file is named in its place, and everything else works."

from functools import partial
import numpy as np
import pandas as pd
import pytest
from kagglekit.report import bootstrap
from kagglekit.report.compare import compare_text
from kagglekit.report.curves import read_history
from kagglekit.report.pairs import read_oof
from kagglekit.core.paths import out_dir, workspace
from kagglekit.core.storage import write_json, write_table
from kagglekit.core.validation import KitError
from kagglekit.report.journal import journal
from kagglekit.report.journal_html import write_page
from kagglekit.report.journal_text import journal_text
from kagglekit.report.blend_preview import blend_today
from kagglekit.handin.ledger import add_line, amend, ledger_path, read_ledger, record_score
from kagglekit.report.provenance import reproduction_report
from kagglekit.report.reproduce import find_submission
from kagglekit.runs.run import Run
from kagglekit.report.seed_noise import outcomes, seed_means


def write_run(exp, mean=0.8, **more):
    "A run as training leaves it, with predictions of thirty rows."
    run, g = Run('toy', exp), np.random.default_rng(0)
    record = dict(
        exp=exp,
        parent='',
        diff={},
        reason='made up',
        metric='accuracy',
        classes=['a', 'b'],
        recipe=dict(arch='r'),
        data_hash='d',
        fold_hash='f',
    )
    write_json(run.folder / 'params.json', record | more)
    write_json(
        run.folder / 'score.json',
        dict(metric='accuracy', direction='greater', mean=mean, sd=0.01, oof=mean, seconds=9, folds=[mean, mean]),
    )
    write_json(run.folder / 'status.json', dict(state='done'))
    rows = [
        dict(fold=k, stage=0, epoch=e, train_loss=1.0, valid_loss=1.0, metric=mean) for k in range(2) for e in range(3)
    ]
    write_table(run.folder / 'history.csv', pd.DataFrame(rows))
    p = g.dirichlet([1, 1], 30).astype('float32')
    oof = pd.DataFrame(
        dict(
            id=[f'{i:02d}' for i in range(30)],
            fold=np.arange(30) % 2,
            target=np.arange(30) % 2,
            p_a=p[:, 0],
            p_b=p[:, 1],
        )
    )
    write_table(run.folder / 'oof.parquet', oof)
    return run


@pytest.fixture
def runs(monkeypatch):
    "Three runs in a workspace of their own; a bootstrap of a few draws."
    monkeypatch.setattr(bootstrap, 'paired_bootstrap', partial(bootstrap.paired_bootstrap, draws=5))
    with workspace():
        yield [write_run(f'exp000{i}', 0.8 + i / 100) for i in (1, 2, 3)]


SMALL = (
    'params.json',
    'score.json',
    'status.json',
    'leaderboard.json',
    'blend.json',
    'notes.md',
    'history.csv',
    'oof.parquet',
)
CONTENT = [
    b'',
    b'{"exp": ',
    b'[1, 2]',
    b'null',
    b'"text"',
    b'\xff\xfe\x00\x01',
    b'\x00' * 100,
    b'[' * 100_000,
    b'{"state": [], "error": {"a": 1}, "mean": "high", "sd": [1], "metric": 7, "direction": 3, "exp": [],'
    b' "parent": {"a": 1}, "diff": [1], "reason": {}, "classes": 3, "members": 5, "public": "0,8", "nested": [],'
    b' "folds": "x", "heartbeat": 7, "fold_hash": []}',
    b'{"mean": 1e400, "sd": -1e400, "seconds": '
    + b'9' * 4000
    + b', "diff": {"size": null}, "members": [1, null, {}], "versions": []}',
    b'fold,stage,epoch,train_loss,valid_loss,metric\n',
    b'fold,stage,epoch,train_loss,valid_loss,metric\nx,y,z,a,b,c\n',
]


def views(runs):
    "What every view says, of all runs and of the later ones against the first."
    table = journal('toy')
    said = [journal_text(table), write_page('toy').read_text(encoding='utf8'), blend_today('toy', table)]
    seed_means(table), outcomes(table)
    for run in runs[1:]:
        for view in (
            partial(compare_text, runs[0], run),
            partial(reproduction_report, run),
            partial(read_history, run),
            partial(read_oof, run),
        ):
            try:
                said.append(str(view()))
            except KitError as e:
                said.append(str(e))
    return said


@pytest.mark.parametrize('name', SMALL)
def test_a_damaged_file_of_a_run_breaks_no_view(runs, name):
    before = journal('toy').set_index('exp')[['CV', 'difference', 'state']]
    broken = [write_run(f'exp1{i:03d}') for i in range(len(CONTENT) + 1)]
    for run, content in zip(broken, CONTENT):
        (run.folder / name).write_bytes(content)
    (broken[-1].folder / name).unlink(missing_ok=True)
    (broken[-1].folder / name).mkdir()  # a folder in the place of the file
    assert all('Traceback' not in text for text in views([runs[0], *broken]))
    after = journal('toy').set_index('exp')[['CV', 'difference', 'state']]
    assert len(after) == 3 + len(broken)
    pd.testing.assert_frame_equal(after[:3], before)


@pytest.mark.parametrize('name', ['exp0001 copy', '실험', 'submissions.csv copy', '-rf', 'x' * 200, '0012'])
def test_a_folder_with_any_name_is_a_row_of_the_journal(runs, name):
    (out_dir('toy') / name).mkdir()
    (out_dir('toy') / name / 'params.json').write_text('{}')
    table = journal('toy')
    assert len(table) == 4 and (table.state == 'broken').sum() == 1
    assert name[:60] in journal_text(table)
    assert 'exp0001' in record_score(runs[0], public=0.5)
    assert add_line(runs[1], '0' * 16, 'sent', 'sent') == 0


def test_the_error_of_a_run_is_shown_in_full(runs):
    error = 'KitError: fold 2 learns nothing. ' + 'A long explanation. ' * 20 + 'Lower lr'
    write_json(runs[2].folder / 'status.json', dict(state='failed', error=error))
    text = ' '.join(journal_text(journal('toy')).split())
    assert 'exp0003: ' + ' '.join(error.split()) in text
    assert 'Lower lr' in write_page('toy').read_text()


def test_an_unfinished_run_is_shown_as_unfinished(runs):
    runs[2].set_status('running', fold=0, epoch=1)
    for name in ('score.json', 'oof.parquet'):
        (runs[2].folder / name).unlink()
    said = compare_text(runs[0], runs[2])
    assert 'toy/exp0003 is unfinished (running)' in said and 'exp0003: no scores of folds' in said
    assert 'folds are not the same' not in said
    assert 'unfinished: exp0003 (running)' in write_page('toy').read_text()


@pytest.mark.parametrize(
    'content, words',
    [
        ('', 'line 1 must be'),
        ('no table', 'line 1 must be'),
        ('time,exp\n', 'line 1 must be'),
        ('{header}\nx,exp0001,0000000000000000,m,,,sent,\n', 'line 2: the time'),
        ('{header}\n"a', 'line 2: 1 fields'),
        ('{header}\n' + 'x' * 200_000 + '\n', 'cannot be read'),
    ],
)
def test_a_damaged_ledger_is_named_and_the_runs_are_shown(runs, content, words):
    ledger_path('toy').write_text(content.format(header='time,exp,hash,message,public,private,status,left'))
    table = journal('toy')
    assert len(table) == 3 and words in table.attrs['flaws'][0] and words in ' '.join(journal_text(table).split())
    assert 'submissions.csv cannot be read' in write_page('toy').read_text()
    with pytest.raises(KitError, match='submissions.csv'):
        read_ledger('toy')


def test_a_damaged_ledger_hides_no_submission_of_another_competition(runs):
    add_line(runs[0], '0123456789abcdef', 'first', 'sent')
    out_dir('other').mkdir(parents=True)
    ledger_path('other').write_text('no table')
    assert find_submission('01234567').exp == 'exp0001'
    with pytest.raises(KitError, match='Not searched: .*other'):
        find_submission('ffffffff')


LESS = dict(metric='my_loss')


def test_the_best_run_has_the_lowest_value_where_less_is_better(runs):
    "A metric of a page, whose page is not there: the run's record has the direction."
    for run, values in ((runs[0], (0.9, 0.4, 0.6)), (runs[1], (0.8, 0.7, 0.2))):
        write_json(run.folder / 'params.json', run.read('params.json') | LESS)
        write_json(
            run.folder / 'score.json',
            run.read('score.json') | dict(metric='my_loss', direction='less', mean=values[-1], folds=[values[-1]] * 2),
        )
        rows = [
            dict(fold=k, stage=0, epoch=e, train_loss=1.0, valid_loss=1.0, metric=v)
            for k in range(2)
            for e, v in enumerate(values)
        ]
        write_table(run.folder / 'history.csv', pd.DataFrame(rows))
    said = compare_text(*runs[:2])
    assert 'exp0002 is better in 2 of 2 folds' in said
    first, second = (
        line.split() for line in said.splitlines() if line.split()[:2] in (['exp0001', '3'], ['exp0002', '3'])
    )
    assert (first[5:], second[5:]) == (['0.4000', '2'], ['0.2000', '3'])


def add_scores(home, k):
    "Five scores of a run of its own, by a process of its own."
    with workspace(home):
        run = Run('toy', f'exp{k:04d}')
        for i in range(5):
            place = add_line(run, f'{k * 16 + i:016x}', f'{k} {i}', 'sent')
            amend('toy', place, public=k + i / 10, status='scored')
            record_score(run, private=k + i / 10)


def test_sixteen_processes_lose_no_score(tmp_path):
    from multiprocessing import get_context

    with workspace(tmp_path):
        for k in range(16):
            write_json(out_dir('toy', f'exp{k:04d}') / 'params.json', dict(exp=f'exp{k:04d}'))
    processes = [get_context('fork').Process(target=add_scores, args=(tmp_path, k)) for k in range(16)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    with workspace(tmp_path):
        lines = read_ledger('toy')
    assert all(p.exitcode == 0 for p in processes) and len(lines) == 80
    assert lines.groupby('exp').message.apply(lambda m: sorted(m.str.split().str[1]) == list('01234')).all()
    want = [int(e[3:]) + int(m.split()[1]) / 10 for e, m in zip(lines.exp, lines.message)]
    assert np.allclose(lines.public, want) and np.allclose(lines.private, want)
