"A packed run or blend where a site runs it: other ids, no network, no home, nothing of this machine but torch."

import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from test_own_pages import write_page
from timm.models.hub import save_for_hf

from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.cli import main
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.fit.train import load_experiment, train
from kagglekit.models.build import build_model
from kagglekit.pack import on_site, pack
from kagglekit.pack.hidden import write_hidden
from kagglekit.pack.pack import Order, gather, write_pack
from kagglekit.pack.rate import Rate
from kagglekit.pack.trial import try_pack
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.run import Run
from kagglekit.runs.setup import run_folds
from running import write_shapes

COMP = 'lights'
PAGE = """
#| export
from kagglekit.core.paths import data_dir
from kagglekit.core.tables import read_table
from kagglekit.data.competition import Competition, competition
from kagglekit.runs.recipe import Recipe, Recipes
from kagglekit.targets.labels import encode

SHAPES = ('circle', 'cross', 'square', 'triangle')
HEADS = (('pointed', ('no', 'yes')), ('corners', ('few', 'many')))


@competition('lights')
def read_lights(name):
    folder = data_dir(name)
    train, test = read_table(folder / 'train.csv', ['id', 'label']), read_table(folder / 'test.csv', ['id'])
    sample = read_table(folder / 'sample_submission.csv', ['id', *SHAPES])
    train['target'] = encode(train.label, SHAPES, 'train.csv')
    for df in (train, test):
        df['file'] = 'images/' + df.id + '.png'
    test['sample_id'] = test.id
    return Competition(name, train, test, sample, SHAPES, metric='log_loss', answer='probability', heads=HEADS)


recipes = Recipes('lights')
small = dict(arch='test_convnext', pretrained=False, inputs='grey', size=32, folds=2, epochs=1, lr=5e-3, bs=16)
exp0001 = recipes.add(Recipe('exp0001', reason='a small network', **small))
"""
RULE = '{base: blend, rules: [{take: a2, where: {label_in: [circle]}, name: round}]}'


def quiet(*line):
    "Progress that nobody reads."


def finished(exp, **changes):
    "A training in seconds."
    view, base = load_experiment(dict(comp=COMP, exp='exp0001'))
    recipe = base.but(exp, 'quick', **changes)
    train(recipe, view, run_folds(recipe, view))


def blend(exp, *members, **how):
    run_blend(BlendRecipe(exp, members=members, **how), find_comp(COMP))


@pytest.fixture(scope='module')
def lights():
    "A workspace with a page of its own, two trainings, and a blend of each kind."
    with workspace() as root:
        (root / 'settings.ini').write_text('[lights]\nsite = kaggle\nslug = traffic-lights\n')
        data = root / 'data' / COMP
        shutil.copytree(write_shapes(), data)
        sample = pd.read_csv(data / 'sample_submission.csv', dtype=str)[['id']]
        sample.assign(circle=0.25, cross=0.25, square=0.25, triangle=0.25).to_csv(
            data / 'sample_submission.csv', index=False
        )
        write_page(root, 'lights', PAGE)
        finished('a1', tta=('hflip',), ema=0.9)
        finished('a2', seed=1, infer_size=40)
        blend('stacked', 'a1', dict(exp='a2', folds=[1]), method='stack', prior='classes')
        blend('ruled', 'a1', 'a2', rules=RULE)
        blend('by-head', 'a1', 'a2', method='heads_weighted', options=dict(weights=[3, 1]))
        blend('twice', 'stacked', 'by-head', 'a2', method='stack_trees')
        yield root
    load_pages()  # its page is forgotten


@pytest.fixture
def light(monkeypatch):
    "Packs without the packages that a site may lack, for tests that do not run them."
    monkeypatch.setattr(pack, 'COMPANIONS', ())
    monkeypatch.setattr(pack, 'measure_rate', lambda plan: Rate(0.01, 120, 'cpu'))


def packed(exp, out, site='drivendata', **more):
    return write_pack(Order(Run(COMP, exp), site, out, **more), quiet)


@pytest.fixture(scope='module')
def plain(lights, tmp_path_factory):
    "A pack of a training, to be copied."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, 'COMPANIONS', ())
        return packed('a1', tmp_path_factory.mktemp('plain') / 'pack').order.path


def laid(order, folder):
    "The workspace of a pack, as the site lays it."
    manifest = on_site.read_manifest(order.files)
    on_site.check_files(order.files, manifest['files'])
    on_site.make_workspace(order.files, manifest['workspace'], folder)
    return folder


def predicted_there(exp, order, data, folder):
    "The submission of a packed run, in its own workspace."
    with workspace(laid(order, folder / 'space')):
        return predict(Request(Run(COMP, exp), data, folder / 'out.csv'), quiet).path.read_bytes()


@pytest.mark.parametrize('exp', ['a1', 'stacked', 'ruled', 'by-head', 'twice'])
def test_a_pack_gives_the_bytes_of_the_run(lights, light, tmp_path, exp):
    data, own = data_dir(COMP), (Run(COMP, exp).folder / 'submission.csv').read_bytes()
    there = packed(exp, tmp_path / 'pack').order
    assert predicted_there(exp, there, data, tmp_path) == own
    weights = sorted(p.name for p in there.files.glob('*.safetensors'))
    every = [f'{run}__fold{k}__model.safetensors' for run in ('a1', 'a2') for k in (0, 1)]
    less = dict(a1=every[:2], stacked=[*every[:2], every[3]], twice=[*every, 'twice__trees.safetensors'])
    assert weights == less.get(exp, every)


# As the site runs it


SLOW = pytest.mark.slow  # each a process that compiles what it imports
TRIES = [
    ('twice', 'kaggle', False),
    pytest.param('by-head', 'dacon', False, marks=SLOW),
    pytest.param('a1', 'drivendata', True, marks=SLOW),
]


@pytest.mark.parametrize('exp, site, half', TRIES)
def test_a_pack_runs_as_on_its_site(lights, tmp_path, exp, site, half):
    there = packed(exp, tmp_path / 'pack', site, half=half, owner='kim')
    tried = try_pack(there)
    assert tried.hidden.renamed and tried.same != half
    assert tried.most < 1e-2 if half else tried.most < 1e-6
    words = "the site's packages are used" if site == 'kaggle' else 'fastai none'
    assert words in tried.shown and 'the ids are those of sample_submission.csv' in tried.shown
    assert str(tmp_path) not in ''.join(p.read_text() for p in there.order.path.rglob('*.json'))


def test_half_precision_is_compared_and_nearly_the_same(lights, light, tmp_path):
    lines = []
    there = write_pack(Order(Run(COMP, 'a1'), 'kaggle', tmp_path / 'pack', half=True), lines.append).order
    assert len(lines) == 1 and 'a1: OOF log_loss' in lines[0] and 'in 16 bits' in lines[0]
    sizes = [p.stat().st_size for p in there.files.glob('*.safetensors')]
    whole = [p.stat().st_size for p in Run(COMP, 'a1').folder.glob('fold*/model.safetensors')]
    assert sum(sizes) < 0.6 * sum(whole)


def predict_here(words, scratch, older, say):
    "What the process of a site does, in this one."
    with workspace(scratch / 'space'):
        name, _, data, _, out = words[1:]
        say(str(predict(Request(Run(*name.split('/')), data, out), quiet)))


@pytest.mark.parametrize('site, main, out', [('dacon', 'script.py', 'output/'), ('drivendata', 'main.py', '')])
def test_the_script_of_a_site_reads_data_beside_it(lights, light, tmp_path, monkeypatch, site, main, out):
    folder = packed('a1', tmp_path / 'pack', site).order.path
    write_hidden(find_comp(COMP), tmp_path).folder.rename(folder / 'data')
    monkeypatch.syspath_prepend(str(folder / 'model'))
    script = importlib.import_module('kagglekit_pack')
    monkeypatch.setattr(script, 'run_predict', predict_here)
    monkeypatch.setattr(sys, 'argv', [main])
    runpy.run_path(str(folder / main), run_name='__main__')
    del sys.modules['kagglekit_pack']
    mine, wanted = (pd.read_csv(folder / p) for p in (f'{out}submission.csv', 'data/sample_submission.csv'))
    assert mine.id.tolist() == wanted.id.tolist() and mine.circle.nunique() > 1


def test_a_pack_for_kaggle_is_flat_and_has_what_its_tool_reads(lights, light, tmp_path):
    folder = packed('a1', tmp_path / 'pack', 'kaggle', owner='kim').order.path
    assert not any(p.is_dir() for p in folder.iterdir())
    data = json.loads((folder / 'dataset-metadata.json').read_text())
    book = json.loads((folder / 'kernel-metadata.json').read_text())
    assert data['id'] == 'kim/lights-a1-pack' and 6 <= len(data['title']) <= 50 and len(data['licenses']) == 1
    assert book['dataset_sources'] == [data['id']] and book['competition_sources'] == ['traffic-lights']
    assert (folder / book['code_file']).is_file() and not book['enable_internet']


def test_a_pack_for_dacon_has_the_order_of_its_rules(lights, light, tmp_path):
    folder = packed('ruled', tmp_path / 'pack', 'dacon').order.path
    assert sorted(p.name for p in folder.iterdir()) == ['README.md', 'model', 'requirements.txt', 'script.py']
    text = (folder / 'README.md').read_text()
    steps = [text.index(f'## {step}') for step in ('1. Preprocessing', '2. Training', '3. Inference')]
    assert steps == sorted(steps) and 'a1' in text[steps[1] : steps[2]]


# What is not as it should be


def test_a_page_that_has_changed_since_is_told(lights, plain):
    page = lights / 'nbs/competitions/lights.ipynb'
    old = page.read_text()
    try:
        page.write_text(old.replace('a small network', 'another network'))
        with pytest.raises(KitError, match='was packed before this changed: nbs/competitions/lights.ipynb; delete'):
            packed('a1', plain)
    finally:
        page.write_text(old)
    assert packed('a1', plain).manifest['exp'] == 'a1'


def test_a_missing_member_is_named_before_anything_is_written(lights, light, tmp_path):
    weights = Run(COMP, 'a2').fold_folder(1) / 'model.safetensors'
    kept = weights.rename(tmp_path / 'kept')
    try:
        with pytest.raises(KitError, match='1 of 2 networks have no weights here: .*a2/fold1/model.safetensors'):
            packed('twice', tmp_path / 'pack')
    finally:
        kept.rename(weights)
    assert not (tmp_path / 'pack').exists()


def test_a_killed_pack_is_written_anew_and_another_folder_is_left_alone(lights, light, tmp_path):
    (tmp_path / '.pack.part').mkdir()
    (tmp_path / '.pack.part' / 'half').write_text('')
    packed('a1', tmp_path / 'pack')
    assert [p.name for p in tmp_path.iterdir()] == ['pack']
    (tmp_path / 'mine').mkdir()
    with pytest.raises(KitError, match='mine is there, and is no pack for drivendata'):
        packed('a1', tmp_path / 'mine')


def test_files_that_were_cut_or_edited_are_told_on_the_site(plain, tmp_path):
    files = shutil.copytree(plain / 'model', tmp_path / 'pack')
    manifest = on_site.read_manifest(files)
    weights, page = files / 'a1__fold0__model.safetensors', files / 'nbs__competitions__lights.ipynb'
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(on_site.PackError, match='has 1,000 bytes instead of .*; upload it again'):
        on_site.prepare(files, manifest, tmp_path / 'scratch')
    weights.write_bytes(whole)
    page.write_text(page.read_text().replace('0.25', '0.35').replace('few', 'fex'))
    with pytest.raises(on_site.PackError, match='was changed since it was packed; run kagglekit pack again'):
        on_site.prepare(files, manifest, tmp_path / 'scratch')


def test_no_room_for_the_packages_is_told(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(on_site.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=1 << 20))
    with pytest.raises(on_site.PackError, match='and 1 MB are free; set TMPDIR to a folder with more room'):
        on_site.prepare(plain / 'model', on_site.read_manifest(plain / 'model'), tmp_path / 'scratch', quiet)


def test_the_data_of_another_competition_are_told(lights, plain, tmp_path):
    other = tmp_path / 'input/other'
    other.mkdir(parents=True)
    (other / 'test.csv').write_text('image\n1\n')
    with pytest.raises(on_site.PackError, match='as the data of traffic-lights have; add the competition'):
        on_site.find_data(other.parent, 'traffic-lights', on_site.read_manifest(plain / 'model')['tables'])
    (other / 'sample_submission.csv').write_text('image,label\n1,0\n')
    with pytest.raises(KitError, match='test.csv'):
        predicted_there('a1', Order(Run(COMP, 'a1'), 'drivendata', plain), other, tmp_path)


# What comes along


def copied(exp, new, **recipe):
    "A run under another name, perhaps with another recipe."
    folder = Run(COMP, new).folder
    shutil.copytree(Run(COMP, exp).folder, folder)
    params = json.loads((folder / 'params.json').read_text())
    params['recipe'] |= recipe
    (folder / 'params.json').write_text(json.dumps(params | dict(exp=new)))
    return folder


def test_equal_weights_are_stored_once(lights):
    copied('a1', 'a8')
    blend('same', 'a1', 'a8')
    names = gather(Order(Run(COMP, 'same'), 'kaggle')).names()
    weights = {name for place, (name, _) in names.items() if place.endswith('.safetensors')}
    assert weights == {f'a1__fold{k}__model.safetensors' for k in (0, 1)}


def test_an_architecture_of_ones_own_brings_its_description(lights, light, tmp_path):
    save_for_hf(build_model('test_convnext', 4, 1, pretrained=False), lights / 'nets/mine')
    copied('a1', 'a9', arch='local-dir:nets/mine')
    there = packed('a9', tmp_path / 'pack').order
    assert (there.files / 'archs__a9__config.json').is_file()
    own = (Run(COMP, 'a1').folder / 'submission.csv').read_bytes()
    assert predicted_there('a9', there, data_dir(COMP), tmp_path) == own


def test_the_command(lights, light, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(['pack', f'{COMP}/a1', '--for', 'kaggle'])
        assert end.value.code == 0
    shown = capsys.readouterr().out
    assert 'lights-a1-kaggle: ' in shown and 'put your name in place of YOUR-NAME' in shown
    assert 'for 120 rows' in shown and 'is packed already' in shown
    assert Path('lights-a1-kaggle/MANIFEST.json').is_file()
