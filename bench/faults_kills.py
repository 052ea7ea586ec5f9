"Kills at random moments, and many processes at once."

import os
import random
import signal
import subprocess
import time
import pandas as pd
import psutil
from faults_tools import COMP, KIT, ROOT, kit, run

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
TARGETS = ('tree', 'command', 'child', 'kernel')
FILES = ('oof.parquet', 'test.parquet', 'submission.csv', *(f'fold{k}/model.safetensors' for k in range(3)))


def start(exp):
    "A run in a session of its own."
    return subprocess.Popen(
        [KIT, 'run', COMP, exp], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def family(process):
    "The processes of a run: the command and all that it started."
    try:
        return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        return []


def command_of(process):
    "The command line of a process; empty where it has ended."
    try:
        return ' '.join(process.cmdline())
    except psutil.Error:
        return ''


def victims(people, target):
    "The processes of `people` that `target` names."
    kernels = [p for p in people if 'ipykernel_launcher' in command_of(p)]
    return dict(tree=people, command=people[:1], child=people[1:2] or people[:1], kernel=kernels or people[:1])[target]


def gone(people, seconds):
    "Wait until processes have ended; those that have not."
    return psutil.wait_procs(people, timeout=seconds)[1]


def true_state(exp):
    "The state that `kagglekit status` shows; '' where there is no such run."
    lines = [line.split() for line in kit('status', COMP).out.splitlines() if f'/{exp} ' in line + ' ']
    return lines[0][1] if lines else ''


def differing(folder, wanted):
    "The files of a run that are not the same to the byte as those of an undisturbed one."
    files = [f for f in FILES if not (folder / f).exists() or (folder / f).read_bytes() != (wanted / f).read_bytes()]
    history = [pd.read_csv(f / 'history.csv').drop(columns='seconds') for f in (folder, wanted)]
    return files + ['history.csv'] * (not history[0].equals(history[1]))


def litter(space, folder):
    "Files that no run should leave."
    named = [p for pattern in ('*.part', 'resume.pt', '.train*', 'best*.safetensors') for p in folder.rglob(pattern)]
    return [p.name for p in named + list((space / '.cache').glob('*.part'))]


def kill_once(space, exp, target, number, moment):
    "Kill a run at a moment, look, and take it up again; what was wrong with its status and with its end."
    process = start(exp)
    time.sleep(moment)
    claimed = (space / 'outputs' / COMP / exp / 'status.json').exists()  # on a busy machine this takes a while
    people = family(process)
    for p in victims(people, target) if people else []:
        try:
            p.send_signal(number)
        except psutil.NoSuchProcess:
            pass
    began = time.time()
    left = gone(people, 5)
    process.poll()
    state, wrong = true_state(exp), []
    wanted = ('interrupted', 'failed', 'done') if claimed else ('interrupted', 'failed', 'done', '')
    if left:
        wrong.append(f'{len(left)} processes live on: {command_of(left[0])[:80]}')
    if state not in wanted:
        wrong.append(f'after {time.time() - began:.1f} s its state is {state!r}')
    for p in left:
        p.kill()
    gone(left, 10)
    return wrong


def kills(card, space, given):
    "Runs killed at random moments end with the bytes of an undisturbed one; the status is true within 5 s."
    first = time.time()
    done = run('run', COMP, 'exp0001')
    whole, outputs = time.time() - first, space / 'outputs' / COMP
    if done.code:
        return card.add('the undisturbed run', done.text[-300:])
    kept = space / 'kept'
    os.rename(outputs / 'exp0001', kept)
    chance = random.Random(given.seed)
    for i in range(given.n):
        target, number = TARGETS[i % 4], SIGNALS[i // 4 % 4]
        moment = chance.uniform(0.5, whole)
        if i < given.first:
            continue
        case = f'{target} {number.name} after {moment:.1f} s of {whole:.1f}'
        wrong = kill_once(space, 'exp0001', target, number, moment)
        again = run('run', COMP, 'exp0001')
        folder = outputs / 'exp0001'
        if again.code:
            wrong.append(f'resumed: exit {again.code}: {again.text.strip()[-200:]}')
        else:
            wrong += [f'{name} differs' for name in differing(folder, kept)]
        wrong += [f'left behind: {name}' for name in litter(space, folder)]
        card.add(case, '; '.join(wrong))
        print(f'    {case}: {"; ".join(wrong) or "right"}', flush=True)
        subprocess.run(['rm', '-rf', str(folder)], check=True)


def _many(commands):
    "Start commands at once; their exit statuses."
    started = [
        subprocess.Popen([KIT, *map(str, c)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for c in commands
    ]
    return [(p.wait(), p.stderr.read().decode()) for p in started]


def crowd(card, space, given):
    "16 processes at once: notes, scores, and starts of one id."
    done = run('run', COMP, 'exp0001')
    if done.code:
        return card.add('a run to write on', done.text[-300:])
    folder = space / 'outputs' / COMP / 'exp0001'
    for round in range(5):
        _many([('note', 'exp0001', f'note {round}-{i} 메모') for i in range(16)])
        codes = _many([('score', 'exp0001', '--public', f'.{round + 1}{i:02d}') for i in range(16)])
        bad = [err for code, err in codes if code]
        card.add(f'16 scores, round {round}', bad[0][-200:] if bad else '')
    notes = (folder / 'notes.md').read_text(encoding='utf8')
    for round in range(5):
        for i in range(16):
            card.add(f'note {round}-{i}', '' if f'note {round}-{i} 메모' in notes else 'it is lost')
    started = _many([('run', COMP, 'exp0002')] * 16)
    codes = sorted(code for code, _ in started)
    card.add('16 starts of one id', '' if codes == [0] + [2] * 15 else f'exit statuses {codes}')
