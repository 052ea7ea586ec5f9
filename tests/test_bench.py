"The simulations in bench/ still run: each of them with a few runs, trials or jobs."

import sys
from types import SimpleNamespace
import pytest
from running import ROOT
from kagglekit.cli import main
from kagglekit.core.paths import workspace
from kagglekit.runs.run import Run


@pytest.fixture
def bench(monkeypatch):
    "The folder, to import from."
    monkeypatch.syspath_prepend(str(ROOT / 'bench'))
    yield
    for name in [n for n, module in sys.modules.items() if '/bench/' in str(getattr(module, '__file__', ''))]:
        sys.modules.pop(name)


def test_the_commands_of_many_runs(bench, monkeypatch, capsys):
    import journal

    def here(line, bytecode):
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


def test_figures_of_a_run_that_is_not_done(bench):
    import elpv

    comp = SimpleNamespace(name='anomaly-practice', classes=('mono-good', 'mono-crack2'))
    with workspace(), pytest.raises(SystemExit, match='exp0001 is new, and has no predictions yet'):
        elpv.figures(Run(comp.name, 'exp0001'), comp, [])
