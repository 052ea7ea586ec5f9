"Fixtures that several test files share."

import gc
import os
import pytest
from filelock import FileLock
from layouts import LAYOUTS
from running import ROOT, papermill, write_few_shapes
from kagglekit.core.paths import workspace
from kagglekit.practice.standins import write_practice

gc.disable()  # until all is imported: of that, nothing goes away
os.fsync = lambda file: None  # no test cuts the power, and a disk takes milliseconds for each file


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: left out of the gate; KAGGLEKIT_SLOW=1 runs it')


LONG = (
    'reproduce slurm gpus layouts stops new shell eda wheel runs apart blend_kinds pack resume twelve layout_facts '
    'predict guard eda_kinds many_classes kinds'
).split()  # files of tests that take longest, in an order in which two at a time do not wait for one fixture


def pytest_collection_modifyitems(items):
    "Begin with the longest files, so that none is left for the end; leave out slow tests, unless they are asked for."
    place = {f'test_{name}': at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))
    if os.environ.get('KAGGLEKIT_SLOW'):
        return
    for item in items:
        if item.get_closest_marker('slow'):
            item.add_marker(pytest.mark.skip(reason='slow; KAGGLEKIT_SLOW=1 runs it'))


def pytest_collection_finish():
    "Collect garbage again, but look for none in the modules."
    gc.freeze()
    gc.enable()


@pytest.fixture
def data(tmp_path):
    "A data folder in a workspace of this test's own."
    folder = tmp_path / 'data' / 'toy'
    folder.mkdir(parents=True)
    with workspace(tmp_path):
        yield folder


@pytest.fixture
def space(tmp_path, monkeypatch):
    "A workspace of this test's own; its folder of runs."
    (tmp_path / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(tmp_path))
    return tmp_path / 'outputs' / 'shapes-practice'


def write_brief(home):
    "In a workspace, half the rows of the drawn shapes, and their page, whose recipes have half the epochs."
    page = 'nbs/competitions/shapes.ipynb'
    text = (ROOT / page).read_text(encoding='utf8')
    assert text.count('epochs=8') == 1
    (home / page).parent.mkdir(parents=True, exist_ok=True)
    (home / page).write_text(text.replace('epochs=8', 'epochs=4'), encoding='utf8')
    with workspace(home):
        write_few_shapes(rows=120, tests=120)


@pytest.fixture
def brief(space):
    "The folder of runs of a workspace of this test's own, whose whole runs are those of `undisturbed`."
    write_brief(space.parent.parent)
    return space


def shared_home(tmp_path_factory, name):
    "A workspace that all processes of this test run share."
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / name
    home.mkdir(exist_ok=True)
    (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    return home


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    "A function: drawn competition → its folder, written once, to be read."
    home = shared_home(tmp_path_factory, 'drawn')

    def folder(comp):
        if LAYOUTS[comp].package:
            pytest.importorskip(LAYOUTS[comp].package)
        with workspace(home):
            return write_practice(comp, say=lambda line: None)

    return folder


@pytest.fixture
def written(tmp_path_factory, drawn, monkeypatch):
    "The same function, in the workspace of those folders."
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(shared_home(tmp_path_factory, 'drawn')))
    monkeypatch.setenv('KAGGLEKIT_DATA', '')
    return drawn


@pytest.fixture(scope='session')
def undisturbed(tmp_path_factory):
    "The folder of a run that nothing happened to, by plain papermill."
    home = shared_home(tmp_path_factory, 'undisturbed')
    folder = home / 'outputs' / 'shapes-practice' / 'exp0001'
    with FileLock(home / 'one.lock'), workspace(home):
        if not folder.exists():
            write_brief(home)
            done = papermill(folder / 'train.ipynb', '-p', 'comp', 'shapes-practice', '-p', 'exp', 'exp0001')
            assert done.returncode == 0, done.stderr[-2000:]
    return folder
