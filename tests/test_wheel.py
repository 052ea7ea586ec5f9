"A wheel outside of the repository: an environment of its own, a new workspace, and the commands and pages in it."

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import ROOT

BUILT_FROM = ['setup.py', 'settings.ini', 'pyproject.toml', 'README.md', 'LICENSE', '.gitignore', '.gitattributes']
PAGES = sorted(path.stem for path in ROOT.glob('nbs/*.ipynb') if path.stem != 'index')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel of this repository, built elsewhere, so that nothing is left here."
    home = tmp_path_factory.mktemp('wheel')
    source = home / 'source'
    shutil.copytree(ROOT / 'kagglekit', source / 'kagglekit', ignore=shutil.ignore_patterns('__pycache__'))
    (source / 'nbs').mkdir()
    for path in [*map(ROOT.joinpath, BUILT_FROM), *ROOT.glob('nbs/*.ipynb')]:
        shutil.copy(path, source / path.relative_to(ROOT))
    line = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', home, source]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(home.glob('*.whl'))


@pytest.fixture(scope='module')
def bare(wheel):
    "The interpreter of an environment with the wheel and its dependencies; it knows nothing of the repository."
    home = wheel.parent / 'env'
    venv.create(home)
    packages = next(home.glob('lib/python*/site-packages'))
    zipfile.ZipFile(wheel).extractall(packages)
    dependencies = {str(Path(find_spec(name).origin).parents[1]) for name in ('torch', 'papermill')}
    (packages / 'dependencies.pth').write_text('\n'.join(dependencies))  # a .pth within them is not read
    return home / 'bin' / 'python'


def python(bare, folder, *args, **more):
    "Run the bare interpreter in a folder."
    env = {k: v for k, v in os.environ.items() if not k.startswith(('KAGGLEKIT', 'PYTHONPATH', 'VIRTUAL_ENV'))}
    return subprocess.run([bare, *args], cwd=folder, env=env | more, capture_output=True, text=True)


def write_leaves(folder):
    "Forty small images in two classes, twelve test images."
    noise = np.random.default_rng(0)
    for part, n in [('train', 40), ('test', 12)]:
        (folder / part).mkdir(parents=True)
        ids = [f'{part}_{i}' for i in range(n)]
        for i, id in enumerate(ids):
            pixels = noise.integers(0, 90, (24, 24, 3), dtype=np.uint8)
            pixels[6:18, 6:18, i % 2] += 120
            Image.fromarray(pixels).save(folder / part / f'{id}.png')
        labels = pd.DataFrame(dict(image_id=ids, label=np.resize(['rust', 'healthy'], n)))
        if part == 'train':
            labels.to_csv(folder / 'train.csv', index=False)
        else:
            labels.assign(label='rust').to_csv(folder / 'sample_submission.csv', index=False)


STEPS = """
import ast, contextlib, io, json, os
from pathlib import Path
from kagglekit.cli import main

said = {}


def kit(*args):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(args)
        except SystemExit as e:
            said[' '.join(args)] = [e.code, out.getvalue()]  # the last one of several


def train(comp, exp, **given):
    from kagglekit.fit.train import load_experiment, train
    from kagglekit.runs.setup import run_folds

    found, recipe = load_experiment(dict(comp=comp, exp=exp, **given))
    with contextlib.redirect_stdout(io.StringIO()):
        train(recipe, found, run_folds(recipe, found))
    return found


kit('show', 'exp0001')
kit('new', '--workspace', 'games')
kit('new', '--workspace', 'games')
os.chdir('games')
kit('practice', 'shapes-practice')
kit('new', 'leaves')
kit('check', 'leaves')
page = Path('nbs/train.ipynb')
page.write_text(page.read_text().replace('worst_rows(predicted,', 'mine = worst_rows(predicted,'))
kit('new', '--workspace', '.')
kit('run', 'leaves', 'exp0003', *'-p parent exp0001 -p epochs 1 -p folds 2 -p dead_after 0'.split())
leaves = train('leaves', 'exp0004', parent='exp0003', lr=1e-3)

from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import BlendRecipe

run_blend(BlendRecipe('exp0101', ('exp0003', 'exp0004')), leaves)
kit('status')
kit('note', 'exp0003', '과적합')
kit('show', 'exp0003')
kit('compare', 'exp0003', 'exp0004')
kit('journal', 'leaves', '--html')
kit('predict', 'leaves/exp0101', '--out', 'hand-in.csv')
kit('reproduce', 'leaves/exp0101')
kit('submit', 'leaves/exp0101', '--to', 'local')
kit('cache')
for page in Path('nbs').glob('*.ipynb'):  # what they import is in the wheel
    cells = [c for c in json.loads(page.read_text())['cells'] if c['cell_type'] == 'code']
    nodes = [node for c in cells for node in ast.parse(''.join(c['source'])).body]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            exec(ast.unparse(node), {})
import kagglekit

said['from'] = kagglekit.__file__
Path('said.json').write_text(json.dumps(said))
"""


@pytest.fixture(scope='module')
def games(bare):
    "A workspace in which everything was tried, by one process."
    outside = bare.parents[1] / 'outside'
    write_leaves(outside / 'games' / 'data' / 'leaves')
    done = python(bare, outside, '-c', STEPS)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return outside / 'games'


@pytest.fixture(scope='module')
def said(games):
    "Command line → exit status and output."
    return json.loads((games / 'said.json').read_text())


def test_the_wheel_holds_the_run_pages_without_outputs(wheel):
    files = zipfile.ZipFile(wheel)
    pages = {Path(name).stem: name for name in files.namelist() if name.endswith('.ipynb')}
    assert sorted(pages) == PAGES
    for name in pages.values():
        assert not any(c.get('outputs') for c in json.loads(files.read(name))['cells'])
    assert wheel.stat().st_size < 1_500_000


def test_the_code_is_that_of_the_wheel(said, bare):
    assert Path(said['from']).is_relative_to(bare.parents[1])


def test_outside_of_a_workspace_it_says_how_to_make_one(said):
    code, text = said['show exp0001']
    assert code == 2 and text.startswith('kagglekit: no settings.ini in ')
    assert text.endswith('A new workspace: kagglekit new --workspace DIR\n')


def test_a_new_workspace_lacks_nothing(games, said):
    assert said['new --workspace games'][1].startswith('games lacks nothing.')  # when it was made again
    assert sorted(path.stem for path in (games / 'nbs').glob('*.ipynb')) == PAGES
    for name in ('.gitignore', '.gitattributes'):
        assert (games / name).read_bytes() == (ROOT / name).read_bytes()
    for page in PAGES:
        nb = nbformat.read(games / 'nbs' / f'{page}.ipynb', as_version=4)
        nbformat.validate(nb)
        assert nb.metadata.kernelspec.name == 'python3'


DONE = {
    'practice shapes-practice': 'shapes-practice',
    'new leaves': 'nbs/competitions/leaves.ipynb',
    'check leaves': '✓ submission',
    'run leaves exp0003 -p parent exp0001 -p epochs 1 -p folds 2 -p dead_after 0': 'leaves/exp0003 (done)',
    'status': 'leaves/exp0101',
    'note exp0003 과적합': '',
    'show exp0003': 'exp0001 with ',
    'compare exp0003 exp0004': 'exp0004',
    'journal leaves --html': 'outputs/leaves/journal.html',
    'predict leaves/exp0101 --out hand-in.csv': 'hand-in.csv: 12 rows',
    'reproduce leaves/exp0101': 'the same submission to the byte, 12 rows',
    'submit leaves/exp0101 --to local': 'leaves/exp0101: local',
    'cache': 'leaves/exp0003',
}


@pytest.mark.parametrize('line', DONE)
def test_a_command_works_in_a_new_workspace(said, line):
    code, text = said[line]
    assert code == 0 and DONE[line] in text, text


def test_a_blend_predicts_its_own_submission(games):
    run = games / 'outputs' / 'leaves' / 'exp0101'
    assert (games / 'hand-in.csv').read_bytes() == (run / 'submission.csv').read_bytes()


def test_the_page_that_was_run_is_that_of_the_workspace(games):
    assert 'mine = worst_rows(predicted,' in (games / 'outputs/leaves/exp0003/train.ipynb').read_text()


def test_a_page_that_was_changed_is_named(said):
    code, text = said['new --workspace .']
    assert code == 0 and text.startswith('. lacks nothing.\nnbs/train.ipynb is not as in kagglekit ')


def test_the_journal_shows_the_runs(games):
    assert 'exp0101' in (games / 'outputs/leaves/journal.html').read_text()


def test_without_git_the_report_names_the_versions(games):
    report = (games / 'outputs/leaves/exp0101/reproduce.md').read_text()
    assert '# no commit is recorded' in report and 'pip install kagglekit==' in report
    assert 'git restore' not in report and 'make ' not in report


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_every_page_runs_in_a_new_workspace(bare, games, page):
    members = '-p exp exp0102 -p members ["exp0003","exp0004"]'
    more = dict(blend=members, predict='-p exp exp0003', train='-p exp exp0001')
    out = f'outputs/leaves/{page}.ipynb'
    line = ['-m', 'papermill', f'nbs/{page}.ipynb', out, '-p', 'comp', 'leaves', *more.get(page, '').split()]
    done = python(bare, games, *line, '--no-progress-bar')
    assert done.returncode == 0, done.stderr[-2000:]


def ask(url, method='GET', body=None):
    "An answer of a Jupyter server."
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=20) as answer:
        return answer.read()


@pytest.mark.slow
def test_jupyterlab_opens_a_page_of_the_workspace(bare, games):
    lab = pytest.importorskip('jupyterlab')
    assets = Path(lab.__file__).parents[4] / 'share' / 'jupyter' / 'lab'  # data of a package, which no .pth brings
    with socket.socket() as free_port:
        free_port.bind(('127.0.0.1', 0))
        port = free_port.getsockname()[1]
    line = f'-m jupyterlab --no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0'
    free = ['--IdentityProvider.token=', '--ServerApp.disable_check_xsrf=True', f'--app-dir={assets}']
    with open(games.parent / 'lab.txt', 'wb') as log:
        server = subprocess.Popen([bare, *line.split(), *free], cwd=games, stdout=log, stderr=log)
    try:
        end = time.time() + 60
        while time.time() < end:
            try:
                page = ask(f'http://127.0.0.1:{port}/lab/tree/nbs/train.ipynb')
                break
            except OSError:
                time.sleep(0.5)
        assert b'JupyterLab' in page
        found = json.loads(ask(f'http://127.0.0.1:{port}/api/contents/nbs/train.ipynb'))
        assert found['writable'] and found['content']['cells'][0]['cell_type'] == 'markdown'
        asked = dict(path='nbs/train.ipynb', type='notebook', name='train', kernel=dict(name='python3'))
        made = json.loads(ask(f'http://127.0.0.1:{port}/api/sessions', 'POST', asked))
        assert made['kernel']['name'] == 'python3'
    finally:
        server.terminate()
        server.wait(20)
