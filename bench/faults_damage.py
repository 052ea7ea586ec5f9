"Damaged runs, strangers among the runs, hostile text, and the manners of the commands."

import html.parser
import json
import os
import shutil
import subprocess
from faults_tools import COMP, KIT, ROOT, kit, manners, refusal, run

DAMAGE = {  # name → what becomes of a file's bytes
    'empty': lambda b: b'',
    'cut': lambda b: b[: len(b) // 2],
    'garbage': lambda b: b'\x00\xff' * 50,
    'a list': lambda b: b'[1, 2]',
    'a number': lambda b: b'7',
    'an empty object': lambda b: b'{}',
    'text': lambda b: '안녕 hello'.encode('cp949'),
    'null': lambda b: b'null',
    'nested null': lambda b: b'{"recipe": null, "state": null, "folds": null, "classes": null, "diff": null}',
    'a conflict': lambda b: b'<<<<<<< HEAD\n' + b + b'=======\n' + b + b'>>>>>>> mine\n',
}
LOOKS = [
    ('status',),
    ('status', COMP),
    ('show', f'{COMP}/exp0001'),
    ('show', f'{COMP}/exp0002'),
    ('journal', COMP),
    ('journal', COMP, '--html'),
    ('compare', f'{COMP}/exp0001', f'{COMP}/exp0002'),
    ('note', f'{COMP}/exp0002', 'a note'),
    ('score', f'{COMP}/exp0002', '--public', '.5'),
    ('submit', f'{COMP}/exp0002', '--to', 'local'),
    ('reproduce', f'{COMP}/exp0001'),
]


def _two_runs(card, space):
    for exp in ('exp0001', 'exp0002'):
        done = run('run', COMP, exp)
        if done.code:
            card.add(f'{exp} to damage', done.text[-300:])
    return space / 'outputs' / COMP


def damage(card, space, given):
    "Each file of a run damaged in each way: every command ends with a message or a row, and the other run is served."
    home = _two_runs(card, space)
    kit('submit', f'{COMP}/exp0001', '--to', 'local')
    files = [
        p.relative_to(home) for p in sorted((home / 'exp0001').rglob('*')) if p.is_file() and '.lock' not in p.name
    ]
    small = [
        f
        for f in files
        if f.suffix in ('.json', '.csv', '.md', '.parquet') and 'fold1' not in str(f) and 'fold2' not in str(f)
    ]
    kept = space / 'kept'
    shutil.copytree(home, kept)
    for file in [*small, 'submissions.csv']:
        for name, change in DAMAGE.items():
            if not (home / file).exists():
                continue
            (home / file).write_bytes(change((home / file).read_bytes()))
            for look in LOOKS:
                _look(card, f'{file}: {name}', look)
            shutil.rmtree(home)
            shutil.copytree(kept, home)
    for what, make in STRANGERS.items():
        make(home)
        for look in LOOKS:
            _look(card, what, look)
        shutil.rmtree(home)
        shutil.copytree(kept, home)


def _look(card, case, look):
    outcome = kit(*look)
    served = 'exp0002' in ' '.join(look) and look[0] in ('show', 'note') and 'submissions' not in case
    why = manners(outcome) or (
        f'exp0002 was not served: {outcome.err.strip()[-200:]}' if served and outcome.code else ''
    )
    if look[0] in ('status', 'journal') and outcome.code and 'submissions' not in case:
        why = why or f'the table of all runs stopped: {outcome.err.strip()[-200:]}'
    card.add(f'{case}; kagglekit {" ".join(look)}', why)


def _folder(name, **files):
    def make(home):
        (home / name).mkdir()
        for file, text in files.items():
            (home / name / file.replace('_', '.')).write_text(text)

    return make


STRANGERS = {
    'a copied folder': lambda home: shutil.copytree(home / 'exp0001', home / 'exp0001 copy'),
    'an empty folder': _folder('exp0009'),
    'a folder with a list': _folder('exp0009', params_json='[]'),
    'a folder with half a file': _folder('exp0009', params_json='{"comp": "sha'),
    'a folder in Korean': _folder('실험', params_json='{}'),
    'a folder of another competition': _folder('exp0009', params_json='{"comp": "seti", "exp": "x"}'),
    'a file where a folder is': lambda home: (home / 'exp0009').write_text('x'),
    'a dangling link': lambda home: (home / 'exp0009').symlink_to(home / 'none'),
    'a folder where a file is': lambda home: (home / 'exp0009' / 'params.json').mkdir(parents=True),
    'another competition of a strange name': lambda home: (home.parent / 'my comp' / 'exp0001').mkdir(
        parents=True, exist_ok=True
    ),
}


class Tags(html.parser.HTMLParser):
    "Collects what could be executed."

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        on = [k for k, v in attrs if k.startswith('on') or (v or '').strip().lower().startswith('javascript:')]
        if on or dict(attrs).get('src') == 'x' or tag == 'evil':
            self.found.append((tag, attrs))


HOSTILE = (
    '<img src=x onerror=alert(1)>',
    '"><evil>',
    "' onmouseover='alert(1)",
    '<script>alert(1)</script>',
    '$\\frac{1$',
    '$',
    'a_b^c$',
    '</style><evil>',
    '[x](javascript:alert(1))',
    '{{7*7}}',
    '가나다\u202e',
)


def hostile(card, space, given):
    "Text of people stays text in the journal's page, and ends nothing."
    from kagglekit.core.storage import read_json, write_json

    home = _two_runs(card, space)
    for text in HOSTILE:
        params = read_json(home / 'exp0002' / 'params.json')
        write_json(
            home / 'exp0002' / 'params.json', params | dict(reason=text, diff={'augment': [text]}, not_comparable=text)
        )
        kit('note', f'{COMP}/exp0002', text)
        outcome = kit('journal', COMP, '--html')
        page = Tags()
        path = home / 'journal.html'
        if path.exists():
            page.feed(path.read_text(encoding='utf8'))
        card.add(
            f'journal of {text!r}', manners(outcome, (0,)) or (f'it executes: {page.found[:2]}' if page.found else '')
        )
    for commit in ('--output=FILE', '-x', '$(touch pwned)', 'HEAD; touch pwned', '../x', 'g' * 40, '', None, 5):
        params = read_json(home / 'exp0001' / 'params.json')
        write_json(home / 'exp0001' / 'params.json', params | dict(commit=commit))
        (space / 'FILE').write_text('kept')
        outcome = kit('reproduce', f'{COMP}/exp0001')
        hurt = (
            not (space / 'FILE').read_text()
            or (ROOT / 'FILE').exists()
            or (ROOT / 'pwned').exists()
            or (space / 'pwned').exists()
        )
        card.add(f'reproduce of commit {commit!r}', manners(outcome) or ('something was executed' if hurt else ''))


def shell(card, space, given):
    "Commands with slips, in an empty workspace and beside a run; pipes, encodings."
    for args in (('status',), ('status', COMP)):
        card.add(' '.join(args) + ', empty', manners(kit(*args), (0, 2)))
    for args in (
        ('journal', 'nope'),
        ('status', 'nope'),
        ('show', 'exp0001'),
        ('note', 'exp0001', 'x'),
        ('score', 'exp0001', '--public', '.5'),
        ('compare', 'a', 'b'),
        ('submit', 'exp0001'),
        ('reproduce', 'exp0001'),
        ('replay', 'exp0001'),
        ('rehearse', 'nope'),
        ('practice', 'nope'),
        ('scores', 'nope'),
        ('journal', '../../x'),
        ('journal', '../../x', '--html'),
        ('journal', 'shapes-practise'),
        ('check', 'nope'),
        ('run', 'nope', 'exp0001'),
    ):
        card.add(' '.join(args), refusal(kit(*args)))
    for args in ((), ('nope',), ('run',), ('score', 'x', '--public', 'many')):
        card.add(f'usage: {args}', manners(kit(*args), (2,)))
    card.add('check', manners(kit('check', COMP), (0, 2)))
    done = run('run', COMP, 'exp0001')
    card.add(
        'run ends with its score',
        '' if done.code == 0 and 'CV' in ''.join(done.out.splitlines(True)[-12:]) else done.text[-300:],
    )
    again = run('run', COMP, 'exp0001')
    card.add('a done run again', '' if again.code == 0 else again.text[-300:])
    pages = {p.name: p.read_bytes() for p in (space / 'outputs' / COMP / 'exp0001').glob('*.ipynb')}
    clash = run('run', COMP, 'exp0001', '-p', 'lr', '.5')
    card.add('a clash', refusal(clash, 'exp0001'))
    card.add(
        'the page is kept',
        ''
        if pages and pages == {p.name: p.read_bytes() for p in (space / 'outputs' / COMP / 'exp0001').glob('*.ipynb')}
        else 'it changed',
    )
    for command in ('show exp0001', 'status', f'journal {COMP}', '--help'):
        piped = subprocess.run(
            f'{KIT} {command} | head -1 >/dev/null', shell=True, cwd=ROOT, capture_output=True, text=True
        )
        card.add(f'{command} | head', piped.stderr.strip()[-200:])
        plain = subprocess.run(
            [KIT, *command.split()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | dict(LC_ALL='C', PYTHONUTF8='0', PYTHONIOENCODING='ascii'),
        )
        card.add(
            f'{command} in ASCII', '' if plain.returncode == 0 and 'Error' not in plain.stderr else plain.stderr[-200:]
        )
    text = json.dumps('두 줄\nforged: - 2026-01-01 00:00 x')
    card.add('a note of two lines', manners(kit('note', 'exp0001', json.loads(text)), (0,)))
