"Learning-rate schedules: equal to PyTorch's; what bare names mean; what is refused."

import math
import subprocess
import sys
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as L
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import Recipe
from kagglekit.training.schedules import SCHEDULERS, Stage, parse_schedule

PEAK, EPOCHS, BATCHES = 1e-3, 12, 10
LOSSES = [1, 0.9] + [0.95] * 8 + [0.8] + [0.85] * 7 + [0.9] * 7


def rates_of_torch(make, steps, lr=PEAK, losses=None):
    "The rates that a scheduler of torch goes through, one a step."
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(opt), []
    for i in range(steps):
        rates.append(opt.param_groups[0]['lr'])
        opt.step()
        scheduler.step() if losses is None else scheduler.step(losses[i])
    return rates


def warmed(opt, then, steps):
    "A linear rise before another schedule."
    return L.SequentialLR(opt, [L.LinearLR(opt, 1e-12, total_iters=steps), then], [steps])


def by_batch(text, epochs=EPOCHS):
    return [parse_schedule(text).rate(i / BATCHES, epochs, [], PEAK) for i in range(epochs * BATCHES)]


def by_epoch(text, epochs=EPOCHS):
    "The rate of the first and of the last batch of each epoch, which must be the same."
    schedule = parse_schedule(text)
    first, last = ([schedule.rate(e + part, epochs, [], PEAK) for e in range(epochs)] for part in (0, 0.9))
    assert first == last
    return first


@pytest.mark.parametrize(
    'text, make',
    [
        ('cosine', lambda o: L.CosineAnnealingLR(o, EPOCHS * BATCHES)),
        ('cosine(eta_min=1e-5)', lambda o: L.CosineAnnealingLR(o, EPOCHS * BATCHES, 1e-5)),
        ('cosine(T_max=4, eta_min=2e-4)', lambda o: L.CosineAnnealingLR(o, 4 * BATCHES, 2e-4)),
        ('restarts', lambda o: L.CosineAnnealingWarmRestarts(o, 5 * BATCHES)),
        ('restarts(T_0=2, T_mult=2, eta_min=1e-7)', lambda o: L.CosineAnnealingWarmRestarts(o, 2 * BATCHES, 2, 1e-7)),
        ('restarts(3, 3)', lambda o: L.CosineAnnealingWarmRestarts(o, 3 * BATCHES, 3)),
        ('step', lambda o: L.StepLR(o, 4 * BATCHES)),
        ('step(2, gamma=.9)', lambda o: L.StepLR(o, 2 * BATCHES, 0.9)),
        ('cosine(warmup=1.5, eta_min=1e-5)', lambda o: warmed(o, L.CosineAnnealingLR(o, 105, 1e-5), 15)),
        ('flat(warmup=2)', lambda o: warmed(o, L.ConstantLR(o, 1), 20)),
    ],
)
def test_a_schedule_that_moves_by_batch_equals_torchs(text, make):
    np.testing.assert_allclose(by_batch(text), rates_of_torch(make, EPOCHS * BATCHES), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    'text, make',
    [
        ('cosine(by=epoch)', lambda o: L.CosineAnnealingLR(o, EPOCHS)),
        ("cosine(eta_min=1e-6, by='epoch')", lambda o: L.CosineAnnealingLR(o, EPOCHS, 1e-6)),
        ('restarts(by=epoch)', lambda o: L.CosineAnnealingWarmRestarts(o, 5)),
        ('restarts(T_0=5, T_mult=1, eta_min=1e-7, by=epoch)', lambda o: L.CosineAnnealingWarmRestarts(o, 5, 1, 1e-7)),
        ('restarts(T_0=1, T_mult=2, by=epoch)', lambda o: L.CosineAnnealingWarmRestarts(o, 1, 2)),
        ('step(5, .5)', lambda o: L.StepLR(o, 5, 0.5)),
    ],
)
def test_a_schedule_that_moves_by_epoch_equals_torchs(text, make):
    np.testing.assert_allclose(by_epoch(text), rates_of_torch(make, EPOCHS), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    'numbers',
    [{}, dict(factor=0.5, patience=3), dict(factor=0.2, patience=0, threshold=0.2), dict(patience=1, min_lr=2e-5)],
)
@pytest.mark.parametrize('on', ['valid', 'train'])
def test_a_plateau_equals_torchs_on_its_monitored_loss(numbers, on):
    text = 'plateau(' + ', '.join(f'{k}={v}' for k, v in numbers.items() | dict(on=on).items()) + ')'
    rows = [dict(valid_loss=0, train_loss=0) | {f'{on}_loss': loss} for loss in LOSSES]
    ours = [parse_schedule(text).rate(i, len(rows), rows[:i], PEAK) for i in range(len(rows))]
    make = lambda o: L.ReduceLROnPlateau(o, **dict(patience=5) | numbers, eps=0)
    np.testing.assert_allclose(ours, rates_of_torch(make, len(rows), losses=LOSSES), rtol=1e-12)


@pytest.mark.parametrize('rise, div, final', [(0.3, 25, 1e4), (0.25, 10, 100)])
def test_one_cycle_equals_torchs_between_its_first_and_its_last_step(rise, div, final):
    steps = 120
    make = lambda o: L.OneCycleLR(o, PEAK, total_steps=steps, pct_start=rise, div_factor=div, final_div_factor=final)
    share = (rise * steps - 1) / (steps - 1)  # torch ends at the last step, a stage after it
    schedule = parse_schedule(f'onecycle(pct_start={share!r}, div_factor={div}, final_div_factor={final})')
    ours = [schedule.rate(i / (steps - 1), 1, [], PEAK) for i in range(steps)]
    np.testing.assert_allclose(ours, rates_of_torch(make, steps), rtol=1e-9)


def warmup_restarts(steps, T_0, T_mult, T_up, gamma, low=1e-6):
    "The counters of the CosineAnnealingWarmUpRestarts of competition scripts, one step at a time."
    done, length, cycle, rates = 0, T_0, 0, []
    for _ in range(steps):
        peak = PEAK * gamma**cycle
        if done < T_up:
            rates.append(low + (peak - low) * done / T_up)
        else:
            rates.append(low + (peak - low) * (1 + math.cos(math.pi * (done - T_up) / (length - T_up))) / 2)
        done += 1
        if done >= length:
            done, cycle, length = 0, cycle + 1, (length - T_up) * T_mult + T_up
    return rates


@pytest.mark.parametrize('T_0, T_mult, T_up, gamma', [(4, 1, 1, 0.5), (5, 2, 2, 1.0), (3, 3, 0, 0.9), (10, 2, 3, 0.7)])
def test_warm_up_restarts_equal_the_loop_of_competition_scripts(T_0, T_mult, T_up, gamma):
    text = f'warmup_restarts(T_0={T_0}, T_mult={T_mult}, T_up={T_up}, gamma={gamma}, eta_min=1e-6, by=epoch)'
    np.testing.assert_allclose(by_epoch(text, 40), warmup_restarts(40, T_0, T_mult, T_up, gamma), rtol=1e-9)


def old_factor(name, at, epochs, losses):
    "What the bare names have always meant."
    if name == 'flat':
        return 1.0
    if name == 'cosine':
        return (1 + math.cos(math.pi * at / epochs)) / 2
    if name == 'restarts':
        return (1 + math.cos(math.pi * (at % 5) / 5)) / 2
    if name == 'step':
        return 0.1 ** int(at / max(1, math.ceil(epochs / 3)))
    if name == 'plateau':
        best, bad, f = math.inf, 0, 1.0
        for loss in losses:
            best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
            if bad > 5:
                f, bad = f * 0.1, 0
        return f
    share = at / epochs
    if share < 0.3:
        return 1 + (1 / 25 - 1) * (1 + math.cos(math.pi * share / 0.3)) / 2
    return 1 / 25 / 1e4 + (1 - 1 / 25 / 1e4) * (1 + math.cos(math.pi * (share - 0.3) / (1 - 0.3))) / 2


@pytest.mark.parametrize('name', ['flat', 'cosine', 'restarts', 'step', 'plateau', 'onecycle'])
def test_a_bare_name_keeps_its_rates_to_the_last_bit(name):
    for epochs in (1, 3, 8, 25):
        for i in range(7 * epochs):
            at, rows = i / 7, [dict(valid_loss=loss) for loss in LOSSES[: i // 7]]
            want = 7e-4 * old_factor(name, at, epochs, [row['valid_loss'] for row in rows])
            assert Stage(epochs, 7e-4, name).rate(at, rows) == want


@pytest.mark.parametrize(
    'text, words',
    [
        ('cosin', 'did you mean cosine'),
        ('Restarts(T_0=3)', 'did you mean restarts'),
        ('restarts(T0=3)', 'did you mean T_0'),
        ('restarts(T_0=0)', 'T_0 of restarts'),
        ('restarts(T_0=2.5)', 'T_0 of restarts'),
        ('restarts(T_0=2, T_mult=101)', 'T_mult of restarts'),
        ('restarts(eta_min=-1e-9)', 'eta_min of restarts'),
        ('restarts(eta_min=1e999)', 'eta_min'),
        ('restarts(by=step)', "'batch' or 'epoch'"),
        ('step(2, gamma=nan)', 'gamma of step'),
        ('step(2, gamma=1.5)', 'gamma of step'),
        ('step(2, gamma=0)', 'gamma of step'),
        ('step(2, gamma=.5, gamma=.5)', 'is not understood'),
        ('step(2, step_size=3)', 'gives step_size twice'),
        ('step(1, .1, 7)', 'takes 2 arguments'),
        ('step([2])', 'is not understood'),
        ('step(None)', 'is not understood'),
        ('step(True)', 'step_size of step'),
        ('step(2, at=1)', "has no 'at'"),
        ('restarts(T_0=5, T_up=2)', 'warmup_restarts has'),
        ('warmup_restarts(eta_max=.1)', "the recipe's own lr"),
        ('plateau(lr=1)', "has no 'lr'"),
        ('plateau(factor=1)', 'factor of plateau'),
        ('plateau(on=metric)', "'valid' or 'train'"),
        ('onecycle(pct_start=1)', 'pct_start of onecycle'),
        ('flat(1, 2)', 'takes'),
        ('warmup_restarts(T_0=3, T_up=3)', 'leaves no epoch'),
        ('cosine(eta_min=.5)', 'is above lr'),
        ('plateau(min_lr=.5)', 'is above lr'),
        ('__import__("os").system("true")', 'is not understood'),
        ('step(open("x"))', 'step_size of step'),
        ('step(' + '(' * 280, 'is not understood'),
        ('step(' + '1' * 5000 + ')', 'is not understood'),
        ('cosine\0', 'is not understood'),
        ('', 'is not understood'),
    ],
)
def test_an_impossible_schedule_is_refused_by_the_recipe(text, words):
    for scheduler in (text, ('cosine', text)):
        with pytest.raises(KitError, match='scheduler') as e:
            Recipe('exp0001', scheduler=scheduler)
        assert words in str(e.value)


def test_two_spellings_of_a_schedule_are_one_recipe():
    first, second = (Recipe('exp0001', scheduler=s) for s in ('step( 2,gamma=0.90 )', 'step(gamma=.9, step_size=2)'))
    assert first.params() == second.params()
    assert Recipe(scheduler='restarts(T_0=5, by=batch)').scheduler == 'restarts'
    assert Recipe(**first.params()).scheduler == first.scheduler == 'step(step_size=2, gamma=0.9)'


def test_each_stage_has_its_own_schedule_and_numbers():
    r = Recipe(epochs=(2, 6), lr=(1e-3, 1e-4), scheduler=('step(1, .5)', 'cosine(eta_min=1e-5)'))
    assert [s.rate(1) for s in r.stages()] == pytest.approx([5e-4, 1e-5 + 9e-5 * (1 + math.cos(math.pi / 6)) / 2])
    with pytest.raises(KitError, match='is above lr'):
        Recipe(epochs=(2, 6), lr=(1e-3, 1e-4), scheduler='cosine(eta_min=5e-4)')


def test_a_run_on_all_rows_takes_a_plateau_on_the_training_loss_alone():
    assert Recipe(train_all=True, scheduler='plateau(on=train)').scheduler == "plateau(on='train')"
    with pytest.raises(KitError, match='no rows for validation'):
        Recipe(train_all=True, scheduler='plateau(factor=.5)')


def test_a_schedule_of_a_page_is_checked_by_its_own_annotations():
    from typing import Annotated
    from pydantic import Field
    from kagglekit.training.schedules import schedule

    def linear(at, epochs, losses, end: Annotated[float, Field(ge=0, lt=1)] = 0.0):
        return 1 - (1 - end) * at / epochs

    schedule(linear)
    try:
        assert parse_schedule('linear(end=.5)').rate(1, 2, [], 1.0) == 0.75
        with pytest.raises(KitError, match='end of linear'):
            parse_schedule('linear(end=7)')
    finally:
        del SCHEDULERS['linear']


def test_schedules_are_checked_without_torch():
    code = "import sys, kagglekit.training.schedules as s; s.parse_schedule('step(2)'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'False\n'
