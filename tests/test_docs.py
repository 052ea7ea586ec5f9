"README and guides are correct: commands, links, figures, examples, the map of rooms."

import ast
import json
import re
import shlex
import sys
from pathlib import Path
import pytest
import yaml
from running import ROOT, cells, python, source

GUIDES = sorted((ROOT / 'docs').glob('*.md'))
TEXTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.md', ROOT / 'data/README.md', *GUIDES]
NOTEBOOKS = [*sorted((ROOT / 'nbs').glob('*.ipynb')), *sorted((ROOT / 'nbs').glob('*/*.ipynb'))]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def read(path):
    return path.read_text(encoding='utf8')


def blocks(text, language):
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.M | re.S)


# Commands


def lines(path):  # of the code blocks without a language
    return [line.removeprefix('!') for block in blocks(read(path), '') for line in block.splitlines()]


def commands(path, *begin):  # lines that begin so, split into words
    return [shlex.split(line, comments=True) for line in lines(path) if line.startswith(begin)]


def cases(*begin):  # a case for each different command of all texts
    found = {' '.join(words): words for path in TEXTS for words in commands(path, *begin)}
    return pytest.mark.parametrize('words', found.values(), ids=found.keys())


@cases('kagglekit ')
def test_a_command_is_understood_as_printed(space, words):
    from kagglekit.cli import parse_line

    a = parse_line(words[1:])
    if a.command == 'run' and a.comp != 'leaves':  # the reader's own
        from kagglekit.launch.runner import check_run

        assert check_run(a.comp, a.exp, a.p)[0].exp == a.exp


@cases('python -m papermill ')
def test_a_papermill_command_names_a_notebook_and_its_parameters(words):
    page = ROOT / words[3]
    first = next(c for c in cells(page) if 'parameters' in c['metadata'].get('tags', []))
    known = re.findall(r'^(\w+) *=', source(first), re.M)
    given = [name for flag, name in zip(words, words[1:]) if flag == '-p']
    assert 'comp' in given and set(given) <= set(known)


@cases('make ', 'python bench/', 'nbdev-')
def test_a_command_of_the_repository_exists(words):
    targets = re.findall(r'^(\w+):', read(ROOT / 'Makefile'), re.M)
    if words[0] == 'make':
        assert words[1] in targets
    elif words[0] == 'python':
        assert (ROOT / words[1]).is_file()
    else:
        assert Path(sys.executable).with_name(words[0]).exists()
    assert all((ROOT / word).exists() for word in words[1:] if word.startswith('nbs/'))


def guides_in_order():  # as the site shows them
    nav = next(part['Guides'] for part in yaml.safe_load(read(ROOT / 'mkdocs.yml'))['nav'] if 'Guides' in part)
    return [ROOT / path for part in nav for path in part.values()]


def test_every_guide_is_in_the_navigation():
    assert set(guides_in_order()) == {*GUIDES, ROOT / 'data/README.md'}


READING = {path.name: [path] for path in TEXTS if path.name.startswith(('README', 'quickstart.'))}
READING['guides'] = [path for path in guides_in_order() if path.name.count('.') == 1]


@pytest.mark.parametrize('texts', READING.values(), ids=READING.keys())
def test_no_command_needs_a_run_that_the_reader_does_not_have(texts):
    made = {'exp0001'}  # by make demo
    for line in [line for path in texts for line in lines(path) if line.startswith(('kagglekit', 'python'))]:
        named = re.findall(r'exp\d{4}\b(?![:：])', line)
        if re.match('kagglekit (run|trial)|python -m papermill nbs/(train|blend)', line):
            made.add(named[0])
        assert set(named) <= made, line


def outline(path):  # its commands without what people write themselves, headings, steps, points and links
    text = read(path)
    plain = [re.sub('"[^"]*"', '', line.partition('#')[0]).strip() for line in lines(path)]
    marks = re.findall(r'^(#+|\d\.|-|\|) ', text, re.M)
    return plain, marks, sorted(links(text))


@pytest.mark.parametrize('language', ['ko', 'ja'])
def test_the_quick_starts_in_other_languages_say_the_same(language):
    english = outline(ROOT / 'docs/quickstart.md')
    assert outline(ROOT / f'docs/quickstart.{language}.md') == english
    assert len(english[0]) > 20


# Links


def links(text):  # relative ones
    plain = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    found = re.findall(r'\]\(([^)\s]+)', plain) + re.findall(r'(?:src|href)="([^"]+)"', plain)
    return [link for link in found if not re.match(r'\w+:|#', link)]


def anchors(text):  # of its headings, as GitHub and MkDocs make them
    titles = re.findall(r'^#+ (.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in titles}


def lost(path, text):  # links that lead nowhere
    for link in links(text):
        file, _, part = link.partition('#')
        target = (path.parent / file).resolve()
        if not target.exists() or part and target.suffix == '.md' and part not in anchors(read(target)):
            yield link


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_links_of_a_text_resolve(path):
    assert not list(lost(path, read(path)))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_links_of_a_notebook_resolve(path):
    assert not [link for c in cells(path) if c['cell_type'] == 'markdown' for link in lost(path, source(c))]


def map_of_index():  # Markdown, as it is stored
    outputs = [out for c in cells(ROOT / 'nbs/index.ipynb') for out in c.get('outputs', [])]
    return ''.join(next(out['data']['text/markdown'] for out in outputs if 'text/markdown' in out.get('data', {})))


def test_the_map_links_every_notebook_once_and_nothing_else():
    wanted = [path.relative_to(ROOT / 'nbs').as_posix() for path in NOTEBOOKS]
    assert sorted(links(map_of_index())) == sorted(wanted)


# Figures


@pytest.mark.parametrize('page', ['quickstart.md', 'quickstart.ko.md', 'quickstart.ja.md'])
def test_the_scores_of_the_demo_are_those_of_its_record(page):
    run = ROOT / 'record/outputs/anomaly-practice/exp0001'
    score, board = (json.loads(read(run / name)) for name in ('score.json', 'leaderboard.json'))
    shown = next(block for block in blocks(read(ROOT / 'docs' / page), '') if block.startswith('CV'))
    values = [score['mean'], score['sd'], score['oof'], board['public'], board['private']]
    assert re.findall(r'0\.\d{4}', shown) == [f'{value:.4f}' for value in values]


def test_the_readme_is_one_screen():
    assert len(read(ROOT / 'README.md').splitlines()) <= 60


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_a_text_speaks_plainly(path):
    assert not re.findall(r'\b(said|told|of chance|rightly|goes on|go on|yes or no)\b', read(path))


# Rooms and fields

ROOMS = re.findall(r'^\| `(\w+)` \|', read(ROOT / 'CONTRIBUTING.md'), re.M)


def test_the_table_of_rooms_names_the_folders():
    folders = {path.parent.name for path in NOTEBOOKS} - {'nbs'}
    assert set(ROOMS) == folders


def imports(path):  # (room, notebook) of the modules of kagglekit that a notebook's module imports
    exported = [source(c) for c in cells(path) if c['cell_type'] == 'code' and source(c).startswith('#| export')]
    nodes = [node for text in exported for node in ast.walk(ast.parse(text))]
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    named += [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    return [tuple(module.split('.')[1:3]) for module in named if re.fullmatch(r'kagglekit\.\w+\.\w+', module)]


def test_rooms_import_only_from_rooms_above_them():
    plain = lambda path: re.sub(r'^\d\w*?_', '', path.stem)
    pages = [path for path in NOTEBOOKS if path.parent.name in ROOMS]
    place = {(path.parent.name, plain(path)): (ROOMS.index(path.parent.name), path.stem) for path in pages}
    upward = [
        (name_of(path), module)
        for path in pages
        for module in imports(path)
        if place[module] >= place[path.parent.name, plain(path)]
        and not module[0] == path.parent.name == 'competitions'  # its pages have no numbers
    ]
    assert len(pages) > 80 and not upward


def test_the_guide_names_every_field_of_a_recipe_once():
    from kagglekit.runs.recipe import PARAMS

    table = read(ROOT / 'docs/experiments.md').split('## Fields')[1].split('\n## ')[0]
    rows = [row for row in table.splitlines() if row.startswith('| ')]
    assert sorted(re.findall(r'`(\w+)`', '\n'.join(rows))) == sorted(PARAMS)


def test_the_guide_names_every_blending_method_once():
    from kagglekit.blend import blend_run  # noqa: F401  registers them
    from kagglekit.blend.methods import METHODS

    table = read(ROOT / 'docs/blending.md').split('## Methods')[1].split('\n## ')[0]
    rows = [row.split('|')[1] for row in table.splitlines() if row.startswith('| `')]
    assert sorted(re.findall(r'`(\w+)`', '\n'.join(rows))) == sorted(METHODS)


def test_the_changelog_names_old_and_new_fields():
    from kagglekit.data.competition import Competition
    from kagglekit.runs.recipe import PARAMS

    table = read(ROOT / 'CHANGELOG.md').split('| old | new |')[1].split('\n\n')[0]
    pairs = re.findall(r'`(\w+)`(?: \(competition\))? \| `(\w+)`', table)
    known = {*PARAMS, *Competition.__dataclass_fields__}
    assert len(pairs) == 20 and all(new in known and old not in PARAMS for old, new in pairs)


# Examples

USE = """
from kagglekit.blend.methods import fit_blend
from kagglekit.data.competition import READERS
from kagglekit.metrics.registry import find_metric
from kagglekit.models.build import build_model
from kagglekit.models.losses import find_loss
from kagglekit.runs.form import make_submission
from kagglekit.runs.recipe import Recipe
from kagglekit.training.optimizers import find_optimizer
from kagglekit.training.plugins import make_callbacks
import numpy as np, torch

recipe = Recipe('exp0001', loss='poly1(epsilon=.5)', augment=("invert(.3, on='on')",), tta=('transpose',),
                arch='resnet10_narrow', pretrained=False, scheduler='linear(floor=.1)', inputs='thermal',
                optimizer='signed_sgd(momentum=.9)', callbacks=('Shrink(by=.5)',), loggers=("lines(sep=';')",))
assert abs(recipe.stages()[0].rate(2.5) - 1e-3 * .55) < 1e-9
assert recipe.loss == 'poly1 .5' and recipe.augment == ('invert .3 on on',)
assert recipe.but('exp0002', optimizer='RMSprop').optimizer == 'RMSprop'
assert find_optimizer('RMSprop')([torch.zeros(1)], lr=.1).opt.defaults['momentum'] == .9
assert [cb.by for cb in make_callbacks(recipe.callbacks)] == [.5]
z, t = torch.zeros(2, 4), torch.eye(4)[:2]
assert abs(find_loss('poly1 .5')(z, t).item() - (np.log(4) + .5 * .75)) < 1e-6
assert find_metric('kappa')(np.array([0, 1, 0, 1]), np.eye(2)[[0, 1, 1, 1]]) == .5
assert build_model('resnet10_narrow', 4, 1, pretrained=False)(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
assert len(READERS['lamps']('lamps').train) == 4
long = READERS['lamps-long']('lamps-long')
sub = make_submission(long, pd.DataFrame(dict(id=['e', 'f'], p_off=[.3, .05], p_on=[.7, .95])))
assert sub.value.tolist() == ['1', '0', '0', '1'] and sub.id.tolist() == long.sample.id.tolist()
P, y = np.eye(3)[np.array([[0, 1, 2, 0], [0, 1, 1, 1]])], np.array([0, 1, 2, 0])
assert fit_blend('above_worst', P, y, find_metric('accuracy'))['params']['weights'][0] > .99
"""


def imports_of(path):  # lines of its examples
    return re.findall(r'^from kagglekit\S* import .+$', '\n'.join(blocks(read(path), 'python')), re.M)


@pytest.mark.parametrize('path', [path for path in TEXTS if imports_of(path)], ids=name_of)
def test_what_an_example_imports_is_there(path):
    for line in imports_of(path):
        exec(line, {})


def test_the_examples_of_the_guide_do_what_they_say(tmp_path):
    page = '\n'.join(blocks(read(ROOT / 'docs/extending.md'), 'python')) + USE
    (tmp_path / 'page.py').write_text(page, encoding='utf8')
    (tmp_path / 'settings.ini').write_text(read(ROOT / 'settings.ini'), encoding='utf8')
    done = python('page.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


# The workspace and the site


def test_lab_opens_the_map_with_the_whole_workspace_beside_it(monkeypatch):
    serverapp = pytest.importorskip('jupyter_server.serverapp')
    args = re.search(r'/jupyter lab (.+)', read(ROOT / 'Makefile'))[1].split()
    monkeypatch.chdir(ROOT)
    app = serverapp.ServerApp()
    app.parse_command_line(args)
    assert Path(app.root_dir) == ROOT and Path(app.file_to_run) == ROOT / 'nbs/index.ipynb'


def test_the_site_has_every_notebook_and_module(monkeypatch):
    pytest.importorskip('mkdocs')
    import importlib.util

    spec = importlib.util.spec_from_file_location('site_of_docs', ROOT / 'docs/site.py')
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    assert len(site.notebooks()) == len(NOTEBOOKS)
    parts = site.by_room(site.notebooks(), 'top')
    assert sum(len(pages) for part in parts for pages in part.values()) == len(NOTEBOOKS)
    assert site.to_html('../docs/eda.md#x', 'nbs/index.ipynb') == '../docs/eda.html#x'
    assert site.to_html('../README.md', 'nbs/index.ipynb') == '../index.html'


def test_the_site_can_read_every_docstring(caplog):
    "Its builder stops at a warning."
    griffe = pytest.importorskip('griffe')
    extensions = griffe.load_extensions(str(ROOT / 'docs/docments.py'))
    kit = griffe.load('kagglekit', search_paths=[ROOT], extensions=extensions, docstring_parser='google')
    read_docstrings(kit)
    assert not caplog.messages


def read_docstrings(part):  # of a module or a class, and of all that it defines
    for member in [m for m in part.members.values() if not m.is_alias]:
        if member.docstring:
            assert member.docstring.parsed
        read_docstrings(member)
