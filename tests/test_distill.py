"A student learns what its teacher says of the train rows, and nothing of the rows that validate it."

from dataclasses import replace
import numpy as np
import pytest
import torch
from running import quiet, write_few_shapes
from test_kinds import KINDS, made, units  # noqa: F401  made: a fixture
from kagglekit.core.paths import workspace
from kagglekit.core.storage import hash_file, write_json, write_table
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp, load_pages
from kagglekit.data.folds import fold_hash
from kagglekit.fit import train as fit
from kagglekit.fit.fold_progress import FoldProgress
from kagglekit.fit.preflight import preflight
from kagglekit.fit.teacher import taught
from kagglekit.fit.train import train
from kagglekit.models.build import load_weights, save_weights
from kagglekit.runs.identity import early_params
from kagglekit.runs.lineage import contamination
from kagglekit.runs.recipe import find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import predictions_of, read_predictions
from kagglekit.runs.setup import make_learner, make_networks, open_setup, output_and_loss, run_folds
from kagglekit.targets.target_record import target_record
from kagglekit.training.learner import predict

NAME = 'shapes-practice'
TINY = dict(arch='test_convnext', pretrained=False, size=32, folds=2, epochs=2, lr=1e-3, dead_after=0)


def recipe(exp, **changes):
    return find_recipe(NAME, 'exp0001').but(exp, 'tiny', **TINY, **changes)


def go(r):
    comp = find_comp(NAME)
    return train(r, comp, run_folds(r, comp))


@pytest.fixture(scope='module')
def teacher():
    "A workspace with 60 drawn shapes, and a finished run of them."
    load_pages()
    with workspace(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, 'STAND_INS', {})
        write_few_shapes()
        go(recipe('teacher', tta=('hflip',), infer_size=48))
        yield Run(NAME, 'teacher')


def learner_of(r, k):
    "The learner of a fold, with the targets that it is trained on."
    comp = find_comp(NAME)
    setup = open_setup(r, comp, run_folds(r, comp), quiet)
    return taught(setup, k, make_learner(setup, k), quiet)


def said(run, k):
    "What network k of a run says of all train rows, by a learner of its own."
    comp, r = find_comp(NAME), find_recipe(NAME, run.exp)
    setup = open_setup(r, comp, run_folds(r, comp), quiet)
    learn = make_learner(setup, k)
    load_weights(learn.model, run.fold_folder(k) / 'model.safetensors')
    return torch.from_numpy(predict(learn, setup.shown[0], np.arange(len(comp.train)), r.tta))


def test_a_fold_learns_from_the_network_that_never_saw_its_validation_rows(teacher):
    student = recipe('student', distill='teacher .25')
    for k in (0, 1):
        learn = learner_of(student, k)
        rows, label = learn.dls.train.all_rows, learn.answer.targets(find_comp(NAME).y)
        own, other = said(teacher, k), said(teacher, 1 - k)
        torch.testing.assert_close(learn.dls.train.y[rows], (0.75 * label + 0.25 * own)[rows])
        assert not torch.allclose(own, other, atol=1e-3)
        valid = learn.dls.valid.all_rows
        assert torch.equal(learn.dls.valid.y[valid], label[valid]) and torch.equal(
            learn.dls.train.y[valid], label[valid]
        )


def test_out_of_fold_predictions_teach_the_training_rows_alone_and_are_marked(teacher):
    student = recipe('student', distill='unsafe teacher 1')
    learn, comp = learner_of(student, 0), find_comp(NAME)
    rows, valid = learn.dls.train.all_rows, learn.dls.valid.all_rows
    oof = predictions_of(read_predictions(teacher.folder / 'oof.parquet'), comp.target)
    assert torch.equal(learn.dls.train.y[rows], torch.from_numpy(oof)[rows])
    assert torch.equal(learn.dls.train.y[valid], learn.answer.targets(comp.y)[valid])
    assert 'out-of-fold predictions of teacher' in contamination(student, comp)
    assert contamination(replace(student, distill='teacher 1'), comp) == ''


def test_a_student_resumes_with_the_same_targets_and_knows_its_teacher(teacher, monkeypatch):
    go(recipe('whole', distill='teacher .5'))
    go(recipe('alone'))
    epoch = FoldProgress.epoch

    def stop(self, rows):  # after the first epoch of fold 1
        epoch(self, rows)
        if self.k == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FoldProgress, 'epoch', stop)
        with pytest.raises(KeyboardInterrupt):
            go(recipe('halved', distill='teacher .5'))
    go(recipe('halved', distill='teacher .5'))
    runs = {exp: Run(NAME, exp) for exp in ('whole', 'halved', 'alone')}
    oofs = [hash_file(run.folder / 'oof.parquet') for run in runs.values()]
    assert oofs[0] == oofs[1] != oofs[2]
    weights = [f'teacher/fold{k}/model.safetensors' for k in (0, 1)]
    assert list(runs['whole'].read('params.json')['sources']) == weights
    path = teacher.fold_folder(0) / 'model.safetensors'
    kept = path.read_bytes()
    path.write_bytes(kept + b' ')
    with pytest.raises(KitError, match='teacher/fold0/model.safetensors, which it learns from, has changed since'):
        go(recipe('halved', distill='teacher .5'))
    path.write_bytes(kept)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(distill='teacher .5', fold_seed=1), "has other folds.*distill 'unsafe teacher .5'"),
        (dict(distill='teacher .5', train_all=True), 'has other folds'),
        (dict(distill='techer .5'), r'distill: .*did you mean teacher'),
        (dict(distill='unsafe techer .5'), r'distill: .*did you mean teacher'),
        (dict(distill='blend .5'), "is a blend.*distill 'unsafe blend .5'"),
    ],
)
def test_a_teacher_that_is_none_is_refused_before_training(teacher, changes, words):
    comp = find_comp(NAME)
    blend = Run(NAME, 'blend')
    write_json(blend.folder / 'params.json', dict(comp=NAME, exp='blend', blend=dict(members=['teacher'])))
    write_table(blend.folder / 'oof.parquet', read_predictions(teacher.folder / 'oof.parquet'))
    blend.set_status('done')
    preflight(comp, recipe('student', distill='unsafe blend .5'))
    with pytest.raises(KitError, match=words):
        preflight(comp, recipe('student', **changes))


def untrained(comp, r, folds):
    "A run whose networks have learnt nothing, with the records of a finished one."
    run, output = Run(comp.name, r.exp), output_and_loss(r, comp).output
    more = dict(fold_hash=fold_hash(folds), classes=list(comp.classes), target=target_record(comp.target))
    write_json(run.folder / 'params.json', early_params(comp.name, r) | more)
    for k in (0, 1):
        torch.manual_seed(k)
        run.fold_folder(k).mkdir(parents=True)
        save_weights(make_networks(r, output), run.fold_folder(k) / 'model.safetensors')
    write_table(run.folder / 'test.parquet', comp.test[['id']])  # of a run that is done
    run.set_status('done')


@pytest.mark.parametrize('made', [*KINDS, units], indirect=True)
def test_every_kind_of_target_has_a_teacher(made):  # noqa: F811
    "The targets lie between truth and prediction, cells that are not known stay so, and weights of rows are kept."
    r = find_recipe(made.name, 'exp0001')
    folds = run_folds(r, made)
    untrained(made, r, folds)
    student = r.but('exp0002', 'a student', distill='exp0001 .5')
    preflight(made, student)
    setup = open_setup(student, made, folds, quiet)
    hard = make_learner(setup, 0).dls.train.y
    learn = taught(setup, 0, make_learner(setup, 0), quiet)
    rows, y = learn.dls.train.all_rows, learn.dls.train.y
    valid = torch.from_numpy(folds.fold.to_numpy() == 0)
    torch.testing.assert_close(y[valid], hard[valid], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(y.isnan(), hard.isnan())
    columns = learn.answer.logits
    said = 2 * y[rows, :columns] - hard[rows, :columns]
    assert torch.equal(y[:, columns:], hard[:, columns:]) and said[~said.isnan()].std() > 0
    assert learn.loss_func(torch.zeros(len(rows), columns), y[rows]).isfinite()
