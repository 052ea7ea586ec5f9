"Pages of a workspace are loaded from their notebooks: by commands, kernels and workers, again after a change."

import inspect
import json
import multiprocessing
import shutil
import subprocess
import sys
from importlib import import_module
import pytest
from kagglekit.cli import main
from kagglekit.core.code_hash import code_hash
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, check_page, find_comp, load_pages
from kagglekit.images.formats import INPUTS
from kagglekit.data.pages import damaged_pages
from running import ROOT, kit, write_shapes

READER = """#| export
import pandas as pd
from kagglekit.data.competition import Competition, competition
from kagglekit.images.formats import input_format


@competition('{name}')
def read_lamps(name):
    "Two classes, six images."
    train = pd.DataFrame(dict(id=list('abcd'), file=[f'{{i}}.png' for i in 'abcd'], target=[0, 1, 0, 1]))
    test = pd.DataFrame(dict(id=list('ef'), file=['e.png', 'f.png'], sample_id=list('ef')))
    sample = pd.DataFrame(dict(id=list('ef'), label=['off', 'on']))
    return Competition(name, train, test, sample, ('off', 'on'), metric='{metric}')
"""


def write_page(root, stem, *sources):
    "A notebook of code cells below nbs/competitions, after a cell of text."
    cells = [dict(cell_type='markdown', source=['# A page'])]
    cells += [dict(cell_type='code', source=[s], outputs=[], metadata={}) for s in sources]
    path = root / 'nbs' / 'competitions' / f'{stem}.ipynb'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return path


def reader(name, metric='accuracy'):
    return READER.format(name=name, metric=metric)


@pytest.fixture
def home(space):
    "A workspace of this test's own."
    yield space.parent.parent
    shutil.rmtree(space.parent.parent / 'nbs', ignore_errors=True)
    load_pages()  # its pages are forgotten


def read(home, name):
    (home / 'data' / name).mkdir(parents=True, exist_ok=True)
    (home / 'data' / name / 'a.png').write_bytes(b'')
    return find_comp(name)


@pytest.mark.parametrize('stem', ['lamps', 'my-lamps', '2026-lamps', 'lamps.v2'])
def test_a_saved_notebook_is_a_page(home, stem):
    write_page(home, stem, 'raise SystemExit  # a cell that is not exported', reader(stem))
    assert load_pages() == {} and read(home, stem).metric == 'accuracy'


def test_without_a_mark_all_code_cells_count(home):
    write_page(home, 'lamps', '%matplotlib inline\nlabels = 3', reader('lamps').replace('#| export', ''))
    assert load_pages() == {} and read(home, 'lamps').metric == 'accuracy'


def test_a_change_counts_at_once_and_a_removed_reader_is_gone(home):
    write_page(home, 'lamps', reader('lamps'))
    assert read(home, 'lamps').metric == 'accuracy'
    write_page(home, 'lamps', reader('lamps', 'macro_f1'))
    assert read(home, 'lamps').metric == 'macro_f1'
    write_page(home, 'lamps', reader('other'))
    with pytest.raises(KitError, match='unknown competition'):
        check_page('lamps')
    (home / 'nbs/competitions/lamps.ipynb').unlink()
    load_pages()
    assert 'other' not in READERS and 'kagglekit.competitions.lamps' not in sys.modules


def test_what_a_page_imports_from_another_page_is_read_again(home):
    write_page(home, 'tools', '#| export\nMETRIC = "accuracy"')
    write_page(
        home,
        'lamps',
        '#| export\nfrom kagglekit.competitions.tools import METRIC',
        reader('lamps').replace("'accuracy'", 'METRIC'),
    )
    assert read(home, 'lamps').metric == 'accuracy'
    write_page(home, 'tools', '#| export\nMETRIC = "macro_f1"')
    assert read(home, 'lamps').metric == 'macro_f1'


def test_another_workspace_has_other_pages(home, tmp_path_factory, monkeypatch):
    write_page(home, 'lamps', reader('lamps'))
    check_page('lamps')
    other = tmp_path_factory.mktemp('other')
    (other / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(other))
    with pytest.raises(KitError, match='unknown competition'):
        check_page('lamps')
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(home))
    check_page('lamps')


def test_a_copy_of_a_page_of_the_package_counts_in_its_workspace(home):
    path = home / 'nbs/competitions/shapes.ipynb'
    path.parent.mkdir(parents=True)
    path.write_text(
        (ROOT / 'nbs/competitions/shapes.ipynb').read_text().replace("metric='macro_f1'", "metric='accuracy'")
    )
    write_shapes()
    assert load_pages() == {} and find_comp('shapes-practice').metric == 'accuracy'
    path.unlink()
    assert find_comp('shapes-practice').metric == 'macro_f1'


def test_the_repository_uses_what_it_exports(monkeypatch):
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(ROOT))
    load_pages()
    assert import_module('kagglekit.competitions.shapes').__file__.endswith('shapes.py')


# A broken page

BROKEN = {
    'a syntax error': ('x = 1\ndef read(:\n', 'cell 3, line 2: SyntaxError'),
    'an exception': ('x = 1\n1/0\n', 'cell 3, line 2: ZeroDivisionError'),
    'an exception in a function': ('def f():\n    return {}[1]\nf()', 'cell 3, line 2: KeyError'),
    'an import': ('import nobody_has_this\n', "cell 3, line 1: ModuleNotFoundError: No module named 'nobody_has_this'"),
    'a KitError': ("from kagglekit.runs.recipe import Recipe\nRecipe('exp0001', size=3)", 'cell 3, line 2: size'),
    'an exit': ('raise SystemExit(3)', 'cell 3, line 1: SystemExit'),
    'a merge conflict': ('<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> other', 'cell 3, line 1: a merge conflict'),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_a_broken_page_stops_no_other_and_says_where(home, kind, capsys):
    body, words = BROKEN[kind]
    write_page(home, 'stray', reader('stray'), '#| export\n' + body if 'merge' not in kind else body)
    write_page(home, 'lamps', reader('lamps'))
    words = words.replace('line 2', 'line 3').replace('line 1', 'line 2') if 'merge' not in kind else words
    assert read(home, 'lamps').metric == 'accuracy'
    with pytest.raises(KitError) as e:
        find_comp('stray')
    assert f'nbs/competitions/stray.ipynb, {words}' in str(e.value) and str(e.value).endswith('mend it')
    with pytest.raises(SystemExit) as done:
        main(['run', 'stray', 'exp0001'])
    assert done.value.code == 2 and words in capsys.readouterr().err
    write_page(home, 'stray', reader('stray'))
    assert read(home, 'stray').metric == 'accuracy'  # mended, in the same process


@pytest.mark.parametrize(
    'text, words',
    [
        ('', 'line 1: it is no notebook'),
        ('{"cells": [\n<<<<<<< HEAD\n {"cell_type": "code"}]}', 'line 2: a merge conflict'),
        ('{"cells": [}', 'line 1: it is no notebook'),
        ('[1, 2]', 'it is no notebook'),
        ('{"cells": [{"cell_type": "code"}]}', "it is no notebook: 'source'"),
    ],
)
def test_a_file_that_is_no_notebook_is_an_entry_of_status(home, text, words, capsys):
    path = write_page(home, 'stray', reader('stray'))
    path.write_text(text)
    assert words in load_pages()['stray'] and words in damaged_pages()['stray']
    with pytest.raises(SystemExit) as done:
        main(['status'])
    assert done.value.code == 0 and words in capsys.readouterr().err


def test_competitions_of_a_page_in_conflict_are_known_by_name(home):
    path = write_page(home, 'stray', reader('lost-lamps'))
    path.write_text(path.read_text().replace('"cells": [', '"cells": [\n<<<<<<< HEAD\n', 1).replace('\\n', '\\n",\n"'))
    assert {'stray', 'lost-lamps'} <= set(load_pages())


def test_two_notebooks_of_one_module_name_are_refused(home):
    write_page(home, 'my-lamps', reader('my-lamps'))
    write_page(home, 'my_lamps', reader('my_lamps'))
    for name in ('my-lamps', 'my_lamps'):
        with pytest.raises(KitError, match='my-lamps.ipynb is the module my_lamps already; rename one'):
            check_page(name)


def test_a_reader_that_fails_names_cell_and_line(home):
    write_page(home, 'lamps', reader('lamps').replace('train = ', 'nothing = {}["a"]; train = '))
    with pytest.raises(KitError, match=r'nbs/competitions/lamps.ipynb, cell 2, line 10: KeyError'):
        read(home, 'lamps')


@pytest.mark.parametrize('text', ['{"cells": [', None])
def test_a_page_that_a_page_imports_is_the_one_to_mend(home, text):
    path = write_page(home, 'tools', '#| export\n1/0')
    if text:
        path.write_text(text)
    write_page(home, 'lamps', '#| export\nfrom kagglekit.competitions.tools import METRIC', reader('lamps'))
    assert load_pages()['lamps'].startswith('nbs/competitions/tools.ipynb, ')


# Code: its source, its hash, other processes

FORMAT = """#| export
from kagglekit.images.formats import input_format, rgb
SHIFT = 3


@input_format('page_rgb', 3)
def page_rgb(path, size):
    "A colour image."
    return rgb(path, size) + SHIFT
"""


def page_function(home, text=FORMAT):
    write_page(home, 'lamps', text)
    load_pages()
    return import_module('kagglekit.competitions.lamps').page_rgb


def test_source_and_hash_of_a_function_of_a_page(home):
    f = page_function(home)
    first = code_hash(f, kit=False, versions=False)
    assert 'return rgb(path, size) + SHIFT' in inspect.getsource(f)
    assert first == code_hash(page_function(home, FORMAT + '\n\n\n'), kit=False, versions=False)
    assert first != code_hash(page_function(home, FORMAT.replace('SHIFT = 3', 'SHIFT = 4')), kit=False, versions=False)
    exported = {}
    exec(compile(FORMAT, 'lamps.py', 'exec'), dict(__name__='kagglekit.competitions.lamps'), exported)
    INPUTS.pop('page_rgb')
    assert first == code_hash(page_function(home), kit=False, versions=False)
    INPUTS.pop('page_rgb')


ADD = '#| export\ndef add(x):\n    return x + 1'


@pytest.mark.parametrize('how', ['fork', 'spawn', 'forkserver'])
def test_workers_find_the_functions_of_a_page(home, how):
    write_page(home, 'lamps', ADD)
    load_pages()
    add = import_module('kagglekit.competitions.lamps').add
    with multiprocessing.get_context(how).Pool(1) as pool:
        assert pool.map(add, [1, 2]) == [2, 3]


SHAPES = """#| export
from kagglekit.competitions.shapes import read_shapes
from kagglekit.data.competition import competition
from kagglekit.runs.recipe import Recipe, Recipes
from kagglekit.models.losses import loss
import torch.nn.functional as F


@loss()
def halved(z, t):
    "Half of the cross-entropy."
    return F.cross_entropy(z, t, reduction='none') / 2


competition('own-shapes')(read_shapes)
recipes = Recipes('own-shapes')
recipes.add(
    Recipe('exp0001', reason='own', arch='test_convnext', pretrained=False, inputs='grey', size=32, folds=3, epochs=1,
           loss='halved')
)
"""


def test_commands_and_the_kernel_of_papermill_train_what_a_page_defines(home):
    write_page(home, 'own-shapes', SHAPES)
    shutil.copytree(
        ROOT / 'nbs', home / 'nbs', dirs_exist_ok=True, ignore=lambda d, names: set(names) - {'train.ipynb'}
    )
    write_shapes()
    (home / 'data/shapes-practice').rename(home / 'data/own-shapes')
    run = lambda *args: kit(*args, cwd=home)
    checked = run('check', 'own-shapes')
    assert checked.returncode == 0, checked.stdout + checked.stderr
    trained = run('run', 'own-shapes', 'exp0001')
    assert trained.returncode == 0, trained.stderr
    params = json.loads((home / 'outputs/own-shapes/exp0001/params.json').read_text())
    assert any(name.startswith('loss halved') for name in params['code'])


def test_status_runs_no_page_and_imports_no_torch(home):
    write_page(home, 'lamps', '#| export\nraise SystemExit(3)')
    code = (
        'import sys\nfrom kagglekit.cli import main\n'
        'try: main(["status"])\n'
        'except SystemExit as e: print("exit", e.code, {"torch", "pandas", "numpy", "pydantic"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=home)
    assert 'exit 0 set()' in done.stdout, done.stdout + done.stderr
