"The simulations in bench/ still run: each of them with a few runs, trials or jobs."

import sys
import pytest
from running import ROOT
from kagglekit.cli import main


@pytest.fixture
def bench(monkeypatch):
    "The folder, to import from."
    monkeypatch.syspath_prepend(str(ROOT / 'bench'))
    yield
    for name in [n for n, module in sys.modules.items() if '/bench/' in str(getattr(module, '__file__', ''))]:
        sys.modules.pop(name)


def test_the_commands_of_many_runs(bench, monkeypatch, capsys):
    import journal

    def here(line):
        "As `fresh`, in this process, whose time and memory say nothing."
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert not end.value.code
        return 0.1, 50.0

    monkeypatch.setattr(journal, 'fresh', here)
    journal.commands(8, few=3)
    lines = [line[:20].strip() for line in capsys.readouterr().out.splitlines() if ' 0.10 ' in line]
    assert lines == list(journal.COMMANDS)


def test_many_workers_on_one_study(bench, space, capsys):
    pytest.importorskip('optuna')
    import search

    had, errors = search.bench(4, 10)
    assert sorted(had) == [f'rate-{n:03d}' for n in range(10)] and set(had.values()) == {1} and not errors
    assert 'doubles: 0; errors: 0' in capsys.readouterr().out
