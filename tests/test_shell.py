"The command line: the kernel gets the checked values; exit status and last message of a command."

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
import psutil
import pytest
import yaml
from papermill.cli import NoDatesSafeLoader
from papermill.translators import PythonTranslator
from kagglekit.cli import main
from kagglekit.cli.commands import COMMANDS
from kagglekit.core.validation import KitError
from kagglekit.core.storage import write_json
from kagglekit.runs.recipe import PARAMS
from kagglekit.runs.run import Run
from running import ARGS, KIT, LONG, ROOT, kit, start, status, until, write_shapes

# Values on their way

NUMBERS = [1e-5, 1e-320, 0.1, 1 / 3, 1e300, -0.0, 0, 1, 2**70, float('inf'), True, False, None]
TEXTS = [
    '1e5',
    'yes',
    'no',
    'on',
    '2024',
    '2024-01-01',
    '12:30',
    'null',
    '~',
    '0x10',
    '007',
    '1_000',
    'True',
    'None',
    '.inf',
    '',
    ' ',
    '-x',
    '--help',
    '"a"',
    "it's",
    '{"a": 1}',
    '[1]',
    'a=b',
    'a: b # c',
    'two\nlines\ttab',
    '$HOME `ls` \\',
    '{comp}',
    '%s',
    '한국어 ±',
    '🙂',
    '\x00\x1b',
]
NESTED = [[], [[]], [1e-5, '1e-5'], ['hflip', 'light .1'], [[1, 2], ['yes', None]], {'a': [1e-320, '007']}]


def same(a, b):  # with types: 1, 1.0 and True are three values
    return type(a) is type(b) and repr(a) == repr(b)


def given(line):  # pairs of name and value in a command line
    words = shlex.split(line)
    return [tuple(words[i + 1 : i + 3]) for i in range(4, len(words), 3)]


@pytest.mark.parametrize('value', NUMBERS + TEXTS + NESTED, ids=repr)
def test_a_value_survives_the_shell_and_papermill(value):
    from kagglekit.launch.arguments import TEXT_FIELDS, papermill_command, read_given, run_line

    for name in ('parent', 'reason') + PARAMS:
        if name in TEXT_FIELDS and not isinstance(value, str):
            continue
        back = read_given(given(run_line('toy', 'exp0009', {name: value})))
        assert same(back[name], value), name
    asked = papermill_command('train', 'out.ipynb', dict(lr=value))[-1]
    assert same(yaml.load(asked, Loader=NoDatesSafeLoader)['lr'], value)
    names = {}
    exec(PythonTranslator.codify(dict(lr=value)), names)  # what papermill's Python interface writes into the notebook
    assert same(names['lr'], value)


@pytest.mark.parametrize('name', ['reason', 'parent', 'arch', 'init_from', 'margin_on'])
@pytest.mark.parametrize('typed', ['2024', '1e-5', 'null', 'True', '[1, 2]', '"so"'])
def test_a_text_field_takes_what_was_typed(name, typed):
    from kagglekit.launch.arguments import read_given

    assert read_given([(name, typed)]) == {name: typed}


def test_a_repeated_parameter_is_refused():
    from kagglekit.launch.arguments import read_given

    with pytest.raises(KitError, match='lr is given twice'):
        read_given([('lr', '1'), ('lr', '1')])


def test_text_that_is_not_utf8_is_refused():
    from kagglekit.launch.arguments import read_given

    with pytest.raises(KitError, match='not UTF-8'):
        read_given([('reason', os.fsdecode(b'\xb0\xfa'))])


# A run, from one command line to the next


def last_lines(text, n=12):
    return '\n'.join(text.splitlines()[-n:])


def test_an_edited_page_changes_no_run(space):
    "Values saved in the parameters cell, another machine's kernel; a refusal and a repetition leave the executed page."
    page = json.loads((ROOT / 'nbs' / 'train.ipynb').read_text())
    first = next(c for c in page['cells'] if 'parameters' in c['metadata'].get('tags', []))
    first['source'] = ["comp = 'seti'\n", 'lr = 1e9\n', 'epochs = 77\n', 'nonsense = 3\n']
    page['metadata']['kernelspec'] = dict(name='conda-env-of-last-year', display_name='gone', language='python')
    (space.parent.parent / 'nbs').mkdir()
    write_json(space.parent.parent / 'nbs' / 'train.ipynb', page)
    fields = dict(parent='exp0001', epochs='1', folds='2', reason='2024')
    pairs = [word for pair in fields.items() for word in ('-p', *pair)]
    line = ['run', 'shapes-practice', 'exp0009', *pairs, '-p', 'lr']
    ended = []
    for args in (line + ['1e-5'], line + ['1e-4'], line + ['1e-5']):
        done, page = kit(*args), space / 'exp0009' / 'train.ipynb'
        ended.append((done.returncode, done.stdout, done.stderr, page.read_bytes()))
    (code, out, err, executed), refused, again = ended
    assert code == 0 and 'CV macro_f1' in last_lines(out) and err == '', err
    assert 'papermill' not in out and 'arning' not in out
    params = json.loads((space / 'exp0009' / 'params.json').read_text())
    assert (params['reason'], params['recipe']['lr'], params['recipe']['epochs']) == ('2024', 1e-5, 1)
    assert refused[0] == 2 and 'lr 0.0001' in refused[2] and len(refused[2].splitlines()) <= 12
    assert 'Traceback' not in refused[2] and 'resume' not in refused[2]
    assert again[0] == 0 and 'is done' in again[1] and refused[3] == again[3] == executed


def ends(pid, seconds=5):  # whether a process ends within that time
    end = time.time() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.time() > end:
            return False
        time.sleep(0.1)
    return True


def trains_in_another_kernel(folder, kernel):
    "Whether a run has begun an epoch in a kernel other than that one."
    now = status(folder)
    return now.get('pid', kernel) != kernel and now.get('epoch', -1) >= 0


def is_claimed_by(folder, pid):
    "Whether a run's record names that process."
    return status(folder).get('pid') == pid


def test_a_closed_terminal_and_a_kill_leave_a_true_status_and_no_process(space):
    folder = space / 'exp0009'
    kernel = None
    for sign, code in [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGHUP, 130)]:
        run = start('run', *LONG)
        until(partial(trains_in_another_kernel, folder, kernel), run)
        kernel = status(folder)['pid']
        os.kill(run.pid, sign)
        assert run.wait(10) == code
        assert ends(kernel) and Run('shapes-practice', 'exp0009').state() == 'interrupted'
        said = ''.join(run.communicate())
    assert said.splitlines()[-1].startswith('shapes-practice/exp0009: interrupted')
    assert 'Traceback' not in said and 'ZMQ' not in said
    assert status(folder)['state'] == 'interrupted' and 'epoch' in status(folder)


def test_a_kill_before_the_kernel_has_begun_leaves_a_true_status(brief, undisturbed):
    "The command has claimed the run, and its kernel has written nothing yet."
    run = Run('shapes-practice', 'exp0001')
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        command = start('run', *ARGS, session=True)
        until(partial(is_claimed_by, run.folder, command.pid), command, every=0.01)
        time.sleep(0.1)  # the claim is whole: an interrupt in its midst takes it back
        begun = status(run.folder)
        os.kill(command.pid, sign)
        killed = time.time()
        assert command.wait(5) == (-sign if sign == signal.SIGKILL else 130)
        assert run.state() == 'interrupted' and time.time() - killed < 5
        assert (begun['state'], begun['doing']) == ('running', 'starting')
        assert 'stopped at: starting' in kit('status').stdout
        if sign != signal.SIGKILL:
            assert f'stopped by {sign.name}' in status(run.folder)['error']
    done = kit('run', *ARGS)
    assert done.returncode == 0, done.stderr
    for name in ('oof.parquet', 'test.parquet', 'fold0/model.safetensors'):
        assert (run.folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_refusal_by_the_kernel_leaves_the_folder_as_it_was(space, monkeypatch, capsys):
    "A run that is there, and one that is not."
    from kagglekit.launch.arguments import PageResult

    seen = []

    def refused(*args):
        seen.append(Run('shapes-practice', exp).read('status.json')['doing'])
        return PageResult('error', 'KitError', 'somebody has changed the page')

    monkeypatch.setattr('kagglekit.launch.kernel.execute_page', refused)
    Run('shapes-practice', 'exp0001').set_status('failed', fold=1, epoch=2, error='KitError: no')
    before = (space / 'exp0001' / 'status.json').read_bytes()
    for exp in ('exp0001', 'exp0002'):
        with pytest.raises(SystemExit) as end:
            main(['run', 'shapes-practice', exp])
        assert end.value.code == 2 and 'changed the page' in capsys.readouterr().err
    assert seen == ['starting', 'starting'] and (space / 'exp0001' / 'status.json').read_bytes() == before
    assert [p.name for p in space.iterdir()] == ['exp0001']


def test_a_running_experiment_is_not_touched_by_a_second_command(space):
    run = Run('shapes-practice', 'exp0001')
    code = 'from kagglekit.runs.claim import *; from kagglekit.runs.run import Run; '
    code += 'from kagglekit.runs.recipe import Recipe; '
    code += "claim_for_kernel(Run('shapes-practice', 'exp0001'), Recipe('exp0001')); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        write_json(run.folder / 'status.json', status(run.folder) | dict(host='elsewhere'))  # its lock is what counts
        before = (run.folder / 'status.json').read_bytes()
        second = kit('run', 'shapes-practice', 'exp0001')
        assert second.returncode == 2 and 'is being run, by process' in second.stderr
        assert (run.folder / 'status.json').read_bytes() == before
        other.kill()


# The page in JupyterLab


def test_a_page_can_be_run_again_in_the_same_kernel(space, capsys):
    "The train page's cells in one IPython shell: a run, another id in the same kernel, a slip."
    from IPython.core.interactiveshell import InteractiveShell

    cells = [c for c in json.loads((ROOT / 'nbs' / 'train.ipynb').read_text())['cells'] if c['cell_type'] == 'code']
    sources = [''.join(c['source']) for c in cells]
    shell = InteractiveShell.instance()

    def run_all(**values):
        sources[0] = '\n'.join(f'{k} = {v!r}' for k, v in (dict(comp='shapes-practice') | values).items())
        for source in sources:
            if not (done := shell.run_cell(source, store_history=True)).success:
                return done.error_in_exec

    tiny = dict(parent='exp0001', epochs=1, folds=2)
    try:
        assert run_all(exp='exp0009', **tiny) is None
        shell.run_cell('scratch = 3', store_history=True)
        assert run_all(exp='exp0010', **tiny, lr=0.001) is None
        capsys.readouterr()
        error = run_all(exp='exp0011', **tiny, mixpu=0.4)
        shown = capsys.readouterr().out.strip()
    finally:
        InteractiveShell.clear_instance()
    assert isinstance(error, KitError) and "'mixpu' (did you mean mixup?)" in shown and len(shown.splitlines()) == 1
    assert json.loads((space / 'exp0010' / 'params.json').read_text())['diff'] == dict(epochs=1, folds=2, lr=0.001)
    assert not (space / 'exp0011').exists()


def test_a_front_end_gets_a_progress_bar(monkeypatch):
    from kagglekit.core.page import Progress

    shown = []

    class Handle:
        def update(self, bar):
            shown.append(bar.data)

    def display(bar, display_id):
        shown.append(bar.data)
        return Handle()

    monkeypatch.setattr('IPython.display.display', display)
    monkeypatch.setenv('JPY_SESSION_NAME', 'train.ipynb')
    said = []
    progress = Progress(said.append)
    for done in (1, 2):
        progress(done, 4, f'<b>{done}')
    assert said == [] and [re.search('value="(.)" max="4"', bar)[1] for bar in shown] == ['1', '2']
    assert all('&lt;b&gt;' in bar for bar in shown)
    monkeypatch.delenv('JPY_SESSION_NAME')
    progress(3, 4, 'fold 1/1')
    assert said == ['  fold 1/1'] and len(shown) == 2


# Manners


def quick(*args, **env):
    return subprocess.run([KIT, *args], cwd=ROOT, capture_output=True, env=os.environ | env)


@pytest.fixture
def failed(space):
    "A run that failed, with a long error whose remedy stands at its end."
    run = Run('shapes-practice', 'exp0009')
    write_json(run.folder / 'params.json', dict(exp='exp0009', parent='', diff={}, reason='더 길게 – ±'))
    run.set_status('failed', error='KitError: ' + 'the disk is nearly full and ' * 12 + 'free some space')
    return run


def test_an_ascii_terminal_and_a_closed_pipe_do_no_harm(failed):
    shown = quick('show', 'exp0009', PYTHONIOENCODING='ascii')
    assert shown.returncode == 0 and b'\\uae38' in shown.stdout and shown.stderr == b''
    pipes = f'{shlex.quote(KIT)} status | true; {shlex.quote(KIT)} --help | head -1'
    closed = subprocess.run(pipes, shell=True, cwd=ROOT, capture_output=True)
    assert closed.stderr == b'' and closed.stdout.count(b'\n') == 1


@pytest.mark.parametrize('args', [['status'], ['status', 'shapes-practice'], ['show', 'exp0009']])
def test_an_error_is_shown_in_full(failed, capsys, args):
    with pytest.raises(SystemExit) as end:
        main(args)
    said = capsys.readouterr().out
    assert end.value.code == 0 and 'free some space' in ' '.join(said.split())
    assert max(map(len, said.splitlines())) <= 120


@pytest.mark.parametrize(
    'args, words',
    [
        (['status', 'nope'], "unknown competition 'nope'"),
        (['status', 'shape-practice'], 'did you mean shapes-practice'),
        (['journal', 'shape-practice'], 'did you mean shapes-practice'),
        (['run', 'shape-practice', 'exp0001'], 'did you mean shapes-practice'),
        (['status', '../data'], 'comp: a name is'),
        (['run', '../data', 'exp0001'], 'comp: a name is'),
        (['run', 'shapes-practice', 'exp0009', '-p', 'parent', 'exp0001', '-p', 'mixup', '-1'], 'mixup'),
        (['show', 'exp0001'], 'there is no run exp0001'),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(space, capsys, args, words):
    with pytest.raises(SystemExit) as end:
        main(args)
    said = capsys.readouterr()
    assert end.value.code == 2 and words in said.err and said.out == '' and len(said.err.splitlines()) == 1
    assert not space.exists()


@pytest.mark.parametrize(
    'field, value, words',
    [
        ('pseudo_labels', 'exp9999', 'there is no run exp9999'),
        ('pseudo_labels', 'exp0002', 'kagglekit run shapes-practice exp0002'),
        ('pseudo_labels', 'unsafe lost.csv', 'lost.csv'),
        ('distill', 'exp9999 .5', 'there is no run exp9999'),
        ('init_from', 'exp9999', 'there is no run exp9999'),
        ('train_labels', 'theirs', "unknown train_labels in shapes-practice 'theirs'"),
        ('fold_file', 'lost.npy', 'lost.npy is not there'),
        ('heads', '["colour"]', 'has no heads'),
        ('sampling', 'lable', 'did you mean label'),
        ('augment', '["hflip not nut"]', "no class fits 'nut'"),
        ('folds', '99', 'Take 6'),
    ],
)
def test_a_recipe_that_contradicts_the_tables_is_refused_before_a_kernel_starts(
    space, capsys, monkeypatch, field, value, words
):
    write_shapes()
    monkeypatch.setattr('kagglekit.launch.kernel.execute_page', lambda *a, **kw: pytest.fail('a kernel was started'))
    args = ['run', 'shapes-practice', 'exp0009', '-p', 'parent', 'exp0001', '-p', field, value]
    with pytest.raises(SystemExit) as end:
        main(args)
    said = capsys.readouterr()
    assert end.value.code == 2 and words in said.err and said.out == '' and len(said.err.splitlines()) == 1
    assert not space.exists()


def test_an_empty_workspace_says_how_to_begin(space, capsys):
    with pytest.raises(SystemExit) as end:
        main(['status'])
    assert end.value.code == 0 and 'kagglekit run' in capsys.readouterr().out


@pytest.mark.parametrize(
    'name, record',
    [
        ('params.json', dict(parent=3, diff=[1], reason=None)),
        ('score.json', dict(oof='x', mean={'a': 1}, seconds='long', why=['a'])),
    ],
)
def test_a_record_that_was_edited_by_hand_is_shown(failed, capsys, name, record):
    write_json(failed.folder / name, record)
    with pytest.raises(SystemExit) as end:
        main(['show', 'exp0009'])
    assert end.value.code == 0 and 'shapes-practice/exp0009' in capsys.readouterr().out


@pytest.mark.parametrize(
    'metric, score, words',
    [
        ('macro_f1', '84', 'in the unit of the CV it is 0.84'),
        ('auc', '-1', 'lies between 0 and 1'),
        ('log_loss', '-2', 'is 0 or more'),
        ('log_loss', '3', ''),
        ('of their own', '84', ''),
    ],
)
def test_a_score_that_the_metric_cannot_have_is_refused(failed, capsys, metric, score, words):
    write_json(failed.folder / 'score.json', dict(metric=metric))
    with pytest.raises(SystemExit) as end:
        main(['score', 'exp0009', '--public', score])
    assert end.value.code == (2 if words else 0) and words in capsys.readouterr().err
    assert (failed.folder / 'leaderboard.json').exists() == (not words)


def test_the_folder_of_a_killed_command_is_deleted_by_the_next(tmp_path):
    from kagglekit.launch.kernel import sweep_folders
    from kagglekit.runs.process import this_process

    here, gone = this_process(), dict(this_process(), pid=2**22 + 1)
    for name, owner in dict(dead=gone, live=here, elsewhere=dict(gone, host='another')).items():
        write_json(tmp_path / f'kit-{name}' / 'owner.json', owner)
    (tmp_path / 'kit-new').mkdir()
    write_json(tmp_path / 'other' / 'owner.json', gone)
    sweep_folders(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {'kit-live', 'kit-elsewhere', 'kit-new', 'other'}


def test_a_run_is_not_compared_with_itself(failed, capsys):
    with pytest.raises(SystemExit) as end:
        main(['compare', 'exp0009', 'shapes-practice/exp0009'])
    assert end.value.code == 2 and 'is named twice' in capsys.readouterr().err


@pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_signal_ends_any_command_with_one_line(monkeypatch, capsys, sign):
    before = signal.getsignal(sign)

    def signalled(a):
        os.kill(os.getpid(), sign)

    monkeypatch.setitem(COMMANDS, 'status', COMMANDS['status']._replace(act=signalled))
    with pytest.raises(SystemExit) as end:
        main(['status'])
    assert end.value.code == 130 and capsys.readouterr().err == 'kagglekit: interrupted\n'
    assert signal.getsignal(sign) == before


@pytest.mark.parametrize(
    'room, heavy',
    [
        ('cli', 'torch timm fastai matplotlib scipy sklearn pandas'),
        ('launch', 'torch timm fastai matplotlib'),
        ('sweeps.sweep', 'torch timm fastai matplotlib'),
        ('report.journal_html', 'torch timm fastai matplotlib scipy sklearn'),
    ],
)
def test_a_command_without_training_imports_no_slow_library(room, heavy):
    code = f'import sys, kagglekit.{room}; print([m for m in {heavy.split()} if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True).stdout == '[]\n'
