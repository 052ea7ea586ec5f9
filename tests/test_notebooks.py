"Invariants of the run pages and of the committed files."

import json
import re
import subprocess
from pathlib import Path
import pytest
from running import ROOT, cells, source

RUN = [
    p
    for n in ('train', 'journal', 'blend', 'predict', 'eda', 'compare', 'look')
    if (p := ROOT / 'nbs' / f'{n}.ipynb').exists()
]


@pytest.mark.parametrize('path', RUN, ids=lambda p: p.stem)
def test_one_parameters_cell_and_a_kernelspec(path):
    code = [c for c in cells(path) if c['cell_type'] == 'code']
    tagged = [c for c in code if 'parameters' in c['metadata'].get('tags', [])]
    assert tagged == code[:1], 'the parameters cell is the first code cell, and the only one of its kind'
    assert not [c for c in code if 'injected-parameters' in c['metadata'].get('tags', [])]
    assert json.loads(path.read_text(encoding='utf8'))['metadata']['kernelspec']['name'] == 'python3'


@pytest.mark.parametrize('path', RUN, ids=lambda p: p.stem)
def test_papermill_sees_every_parameter(path):
    from papermill.inspection import _infer_parameters
    from papermill.iorw import load_notebook_node

    known = [p.name for p in _infer_parameters(load_notebook_node(str(path)))]
    assigned = re.findall(r'^(\w+) *=', source(next(c for c in cells(path) if c['cell_type'] == 'code')), re.M)
    assert known == assigned and 'comp' in known


def test_the_saved_page_of_train_shows_a_training_to_its_end():
    outputs = [o for c in cells(ROOT / 'nbs/train.ipynb') if c['cell_type'] == 'code' for o in c['outputs']]
    log = ''.join(''.join(o.get('text', '')) for o in outputs)
    assert 'fold 1/3 · epoch 1/8' in log and 'fold 3/3 · epoch 8/8' in log and 'is done' not in log
    assert [o for o in outputs if 'image/png' in o.get('data', {})]


def test_the_parameters_cell_of_train_has_every_recipe_field_with_its_comment():
    from kagglekit.runs.recipe import PARAMS, recipe_table

    first = source(next(c for c in cells(ROOT / 'nbs/train.ipynb') if c['cell_type'] == 'code'))
    offered = dict(re.findall(r'^(\w+) = None +# (.*)$', first, re.M))
    words = recipe_table().set_index('field').meaning.to_dict()
    assert {k: v for k, v in offered.items() if k in PARAMS} == words


def test_an_own_competition_is_one_page_of_at_most_40_lines():
    code = [
        source(c)
        for c in cells(ROOT / 'nbs/competitions/shapes.ipynb')
        if c['cell_type'] == 'code' and '#| export' in source(c)
    ]
    lines = [line for s in code for line in s.splitlines() if line.strip() and not line.startswith('#|')]
    assert len(lines) <= 40


def tracked():
    return [
        ROOT / f
        for f in subprocess.run(
            ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    ]


def test_no_file_has_a_path_of_a_machine():
    words = re.compile('|'.join(['/(work|root|home)/[a-z.]', '/tmp/[a-z]', r'\.venv/' + 'lib']))
    pictures = re.compile(r'"image/png": "[^"]*"')  # base64, in which anything may come up
    hits = [
        f'{p.relative_to(ROOT)}: {m[0]}'
        for p in tracked()
        if p.suffix in ('.py', '.md', '.ipynb', '.json', '.ini', '.toml', '.csv', '.txt') and p.exists()
        for m in [words.search(pictures.sub('', p.read_text(encoding='utf8')))]
        if m
    ]
    assert not hits


def test_no_heavy_file_is_committed():
    big = [
        f'{p.relative_to(ROOT)}: {p.stat().st_size / 1e6:.1f} MB'
        for p in tracked()
        if p.exists() and p.stat().st_size > 2e6
    ]
    assert not big and not [p for p in tracked() if p.suffix in ('.parquet', '.safetensors', '.pt', '.npy')]


def test_jupyterlab_has_no_autosave():
    jupyterlab = pytest.importorskip('jupyterlab')
    wanted = json.loads((ROOT / 'jupyterlab.json').read_text(encoding='utf8'))
    assert wanted == {'@jupyterlab/docmanager-extension:plugin': {'autosave': False}}
    schema = Path(jupyterlab.__file__).parent / 'schemas/@jupyterlab/docmanager-extension/plugin.json'
    assert json.loads(schema.read_text(encoding='utf8'))['properties']['autosave']['type'] == 'boolean'
    recipe = re.search(r'^\.venv/ok:.*\n(?:\t.*\n)+', (ROOT / 'Makefile').read_text(encoding='utf8'), re.M)[0]
    assert 'jupyterlab.json .venv/share/jupyter/lab/settings/overrides.json' in recipe
