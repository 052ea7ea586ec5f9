"Notes and leaderboard scores: concurrent writers lose nothing, and no token is stored."

import pytest
from kagglekit.core.paths import workspace
from kagglekit.core.storage import read_json, write_json
from kagglekit.core.validation import KitError
from kagglekit.runs.run import Run
from running import python

WRITERS = """
import os, sys
from kagglekit.runs.run import Run
run, n, each = Run('toy', 'exp0001'), int(sys.argv[1]), int(sys.argv[2])
for i in range(n):
    if os.fork(): continue
    for j in range(each):
        run.note(f'note {i}-{j}')
        run.set_leaderboard(**{('public', 'private')[i % 2]: (i + j) / 100})
    os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(n)))
"""


@pytest.fixture
def run(tmp_path):
    with workspace(tmp_path):
        write_json(Run('toy', 'exp0001').folder / 'params.json', {})
        yield Run('toy', 'exp0001')


def test_sixteen_processes_with_five_notes_each_lose_none(run):
    assert python('-c', WRITERS, '16', '5').returncode == 0
    lines = (run.folder / 'notes.md').read_text().splitlines()
    assert sorted(line.split(' ', 3)[3] for line in lines) == sorted(
        f'note {i}-{j}' for i in range(16) for j in range(5)
    )
    assert {'public', 'private', 'when'} <= set(read_json(run.folder / 'leaderboard.json'))
    assert not list(run.folder.glob('.*.part'))


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r', '\x0b', '\x0c', '\x85', '\u2028', '\u2029'])
def test_a_note_is_one_entry_whatever_its_line_ends(run, end):
    run.note(f'seen{end}- 2026-01-01 00:00 public .99{end}{end}## A title')
    entries = [line for line in (run.folder / 'notes.md').read_text().splitlines() if not line.startswith('  ')]
    assert len(entries) == 1 and entries[0].endswith(' seen')


def test_a_note_starts_on_a_new_line(run):
    (run.folder / 'notes.md').write_text('- 2026-01-01 00:00 by hand')
    run.note('by command')
    assert [line.split(' ', 3)[3] for line in (run.folder / 'notes.md').read_text().splitlines()] == [
        'by hand',
        'by command',
    ]


@pytest.mark.parametrize('text', ['', '  ', '\n\n'])
def test_an_empty_note_is_refused(run, text):
    with pytest.raises(KitError, match='the note is empty'):
        run.note(text)


def test_tokens_are_removed_from_notes_errors_and_reasons(run, monkeypatch):
    from kagglekit.runs.claim import claim, traced
    from kagglekit.runs.recipe import Recipe

    token = 'f1d2d2f924e986ac86fdf7b36c94bcdf'
    monkeypatch.setenv('DACON_TOKEN', token)
    run.note(f'sent with {token}')
    with pytest.raises(ValueError), traced(claim('toy', Recipe('exp0002', reason=f'for {token}'))):
        raise ValueError(token)
    text = ''.join(path.read_text() for path in run.folder.parent.rglob('*') if path.suffix in ('.md', '.json'))
    assert 'sent with' in text and token not in text
