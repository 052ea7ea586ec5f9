"The quick sections of bench/faults.py: each kind of bad input gets our message, not a library's traceback."

import sys
from types import SimpleNamespace
import pytest
from running import ROOT


@pytest.fixture
def bench(monkeypatch):
    "The harness's folder, to import from."
    monkeypatch.syspath_prepend(str(ROOT / 'bench'))
    yield
    for name in [n for n in sys.modules if n.startswith('faults')]:
        sys.modules.pop(name)


@pytest.mark.parametrize('section', ['tables', 'images'])
def test_every_bad_input_gets_a_message(section, bench, tmp_path, monkeypatch):
    monkeypatch.setenv('KAGGLEKIT_ROOT', str(tmp_path))
    (tmp_path / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    from faults_inputs import images, tables
    from faults_tools import Card

    card = Card(section)
    dict(tables=tables, images=images)[section](card, tmp_path, SimpleNamespace())
    assert card.total > 20 and not card.wrong
