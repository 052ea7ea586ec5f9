"Imports point down: from a room to the rooms below it, and within a room to lower numbers."

import ast
import json
import re
from collections import Counter
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
ROOMS = [
    'core',
    'targets',
    'data',
    'metrics',
    'images',
    'models',
    'practice',
    'training',
    'runs',
    'fit',
    'launch',
    'sweeps',
    'draft',
    'blend',
    'predict',
    'handin',
    'eda',
    'report',
    'pack',
    'competitions',
    'cli',
]  # bottom floor first
MOST = 24  # notebooks in a room: more are not found at a glance
PAGES = sorted(
    p for p in (ROOT / 'nbs').rglob('*.ipynb') if p.parent != ROOT / 'nbs' and '.ipynb_checkpoints' not in p.parts
)


def exported(path):
    "The code that a notebook exports, and the module that it becomes."
    cells = [
        ''.join(c['source']) for c in json.loads(path.read_text(encoding='utf8'))['cells'] if c['cell_type'] == 'code'
    ]
    module = next(re.search(r'#\| default_exp (\S+)', c)[1] for c in cells if '#| default_exp' in c)
    return module.removesuffix('.__init__'), '\n'.join(c for c in cells if c.startswith('#| export'))


ORDER = {exported(p)[0]: (ROOMS.index(p.parent.name), p.stem) for p in PAGES}


def imported(code):
    "The kagglekit modules that a piece of code imports, in functions too."
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('kagglekit.'):
            parent = node.module.removeprefix('kagglekit.')
            yield from [parent] if parent in ORDER else [f'{parent}.{a.name}' for a in node.names]
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix('kagglekit.') for a in node.names if a.name.startswith('kagglekit.'))


@pytest.mark.parametrize('path', PAGES, ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_imports_point_down(path):
    module, code = exported(path)
    room, number = ORDER[module]
    for other in imported(code):
        below, its_number = ORDER[other]
        assert below < room or below == room and (its_number < number or room == ROOMS.index('competitions')), (
            f'{module} imports {other}, which stands above it'
        )


def stems(room):
    "The names of a room's notebooks."
    return [p.stem for p in PAGES if p.parent.name == room]


def test_the_guide_has_the_same_rooms_in_the_same_order():
    guide = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf8')
    assert re.findall(r'^\| `(\w+)` \|', guide, re.M) == ROOMS


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_is_not_crowded(room):
    assert 0 < len(stems(room)) <= MOST, f'{room} has too many notebooks: split it where few imports cross'


@pytest.mark.parametrize('room', [room for room in ROOMS if room != 'competitions'])
def test_no_two_notebooks_of_a_room_have_one_number(room):
    "Imports go by numbers: of two equal ones neither is the lower."
    numbers = Counter(re.match(r'(\d+[a-z]*)_', stem)[1] for stem in stems(room))
    assert [number for number, n in numbers.items() if n > 1] == []


def test_a_notebook_exports_the_module_of_its_place():
    for path in PAGES:
        module = exported(path)[0]
        name = re.sub(r'^\d+[a-z]*_', '', path.stem)
        assert module in (f'{path.parent.name}.{name}', path.parent.name), f'{path} exports {module}'


def test_pages_that_people_run_define_nothing():
    for path in (ROOT / 'nbs').glob('*.ipynb'):
        code = [
            ''.join(c['source'])
            for c in json.loads(path.read_text(encoding='utf8'))['cells']
            if c['cell_type'] == 'code'
        ]
        assert not any('#| export' in c for c in code), f'{path.name} exports something'
