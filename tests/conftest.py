"Fixtures that several test files share."

import os
import pytest
from layouts import LAYOUTS
from running import ROOT, papermill
from kagglekit.practice.standins import write_practice


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: left out of the gate; KAGGLEKIT_SLOW=1 runs it')


def pytest_collection_modifyitems(items):
    "Leave out the slow tests, unless they are asked for."
    if os.environ.get('KAGGLEKIT_SLOW'):
        return
    for item in items:
        if item.get_closest_marker('slow'):
            item.add_marker(pytest.mark.skip(reason='slow; KAGGLEKIT_SLOW=1 runs it'))


@pytest.fixture
def space(tmp_path, monkeypatch):
    "A workspace of this test's own; its folder of runs."
    (tmp_path / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(tmp_path))
    return tmp_path / 'outputs' / 'shapes-practice'


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    "A workspace in which drawn competitions are written, each once."
    home = tmp_path_factory.mktemp('drawn')
    (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    return home


@pytest.fixture
def written(drawn, monkeypatch):
    "A function: drawn competition → its folder, to be read; the workspace is that of the folder."
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(drawn))
    monkeypatch.setenv('KAGGLEKIT_DATA', '')

    def folder(comp):
        if LAYOUTS[comp].package:
            pytest.importorskip(LAYOUTS[comp].package)
        return write_practice(comp, say=lambda line: None)

    return folder


@pytest.fixture(scope='session')
def undisturbed(tmp_path_factory):
    "The predictions and the history of a run that nothing happened to, by plain papermill."
    root = tmp_path_factory.mktemp('undisturbed')
    (root / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    before, os.environ['KAGGLEKIT_ROOT'] = os.environ.get('KAGGLEKIT_ROOT'), str(root)
    try:
        folder = root / 'outputs' / 'shapes-practice' / 'exp0001'
        done = papermill(folder / 'train.ipynb', '-p', 'comp', 'shapes-practice', '-p', 'exp', 'exp0001')
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        os.environ.pop('KAGGLEKIT_ROOT') if before is None else os.environ.update(KAGGLEKIT_ROOT=before)
    return folder
