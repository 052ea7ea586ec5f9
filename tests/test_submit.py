"Submissions and downloads with Kaggle's real tool, against a local server that answers its calls."

import http.server
import io
import json
import re
import threading
import zipfile
from pathlib import Path
import pandas as pd
import pytest
import kagglekit.handin.upload
from kagglekit.cli import main
from kagglekit.data.competition import Competition
from kagglekit.core.paths import own_data
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.data.download import download
from kagglekit.data.site_tools import ToolRefused
from kagglekit.handin.ledger import read_ledger
from kagglekit.handin.notebook import submit_notebook
from kagglekit.runs.run import Run
from kagglekit.handin.upload import fetch_scores, submit
from running import fork_tools

pytest.importorskip('kaggle', reason="Kaggle's tool is not installed: pip install 'kagglekit[kaggle]'")
TOKEN, SLUG = 'planted0token1planted2token3', 'toys-and-tools'
CREATE = ('CreateSubmission', 'CreateCodeSubmission')  # of a file; of a notebook


class Site(http.server.BaseHTTPRequestHandler):
    "Kaggle, as far as its tool sees it: a list of submissions, an upload in three calls, a zip."

    def log_message(self, *args):
        pass

    def reply(self, code, body=b'', **headers):
        self.send_response(code)
        for k, v in dict(headers, Content_Length=str(len(body))).items():
            self.send_header(k.replace('_', '-'), v)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked, call, s = (
            json.loads(self.rfile.read(int(self.headers['Content-Length'])) or '{}'),
            self.path.rsplit('/', 1)[1],
            self.server,
        )
        s.calls.append(call)
        s.known.append(self.headers.get('Authorization', ''))
        code, message = s.wrong.get(call, (200, ''))
        if code == 'silence':
            s.over.wait(30)
            return
        if code >= 400:
            return self.reply(
                code,
                json.dumps(dict(code=code, message=message)).encode() if message else b'',
                Content_Type='application/json' if message else 'text/html',
            )
        if call == 'DownloadDataFiles':
            return self.reply(302, Location=f'{s.url}/files/archive.zip')
        if call == 'CreateCodeSubmission':
            s.asked, s.name = asked, asked['fileName']
        if call in CREATE and not s.forgets:
            s.entries.insert(
                0,
                dict(
                    ref=len(s.entries) + 1,
                    fileName=s.name,
                    date='2026-11-24T01:00:00Z',
                    description=asked['submissionDescription'],
                    status=s.status,
                    publicScore=s.score,
                    privateScore='',
                ),
            )
        if call in CREATE:
            s.wrong |= s.afterwards
        if call == 'StartSubmissionUpload':
            s.name = asked['fileName']
        said = dict(
            ListSubmissions=dict(submissions=s.entries[: asked.get('pageSize', 20)]),
            StartSubmissionUpload=dict(token='blob', createUrl=f'{s.url}/upload'),
            **dict.fromkeys(CREATE, dict(message='Successfully submitted to Toys', ref=1)),
        )[call]
        self.reply(200, json.dumps(said).encode(), Content_Type='application/json')

    def do_PUT(self):
        self.server.files.append(self.rfile.read(int(self.headers['Content-Length'])))
        self.reply(self.server.wrong.get('upload', (200,))[0], b'{}')

    def do_GET(self):
        self.reply(200, self.server.zip, Content_Type='application/zip', Last_Modified='Tue, 24 Nov 2020 01:00:00 GMT')


@pytest.fixture
def site(tmp_path, monkeypatch):
    "The server; every request of this test's processes goes to it, whatever its address, and none leaves the machine."
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Site)
    server.url, server.over = f'http://127.0.0.1:{server.server_address[1]}', threading.Event()
    (
        server.wrong,
        server.calls,
        server.known,
        server.files,
        server.entries,
        server.forgets,
        server.status,
        server.score,
        server.afterwards,
    ) = {}, [], [], [], [], False, 'COMPLETE', '0.8125', {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for k in (
        'KAGGLE_API_TOKEN',
        'KAGGLE_KERNEL_RUN_TYPE',
        'HTTP_PROXY',
        'HTTPS_PROXY',
        'ALL_PROXY',
        'all_proxy',
        'NO_PROXY',
        'XDG_CONFIG_HOME',
    ):
        monkeypatch.delenv(k, raising=False)
    for k, v in dict(
        KAGGLE_API_ENVIRONMENT='LOCALHOST',
        http_proxy=server.url,
        https_proxy=server.url,
        no_proxy='127.0.0.1',
        KAGGLE_USERNAME='kim',
        KAGGLE_KEY=TOKEN,
        KAGGLE_CONFIG_DIR=str(tmp_path / 'home'),
        HOME=str(tmp_path / 'home'),
        KAGGLEKIT_ROOT=str(tmp_path / 'space'),
        KAGGLEKIT_DATA='',
    ).items():
        monkeypatch.setenv(k, v)
    (tmp_path / 'space').mkdir()
    (tmp_path / 'space' / 'settings.ini').write_text(f'[toy]\nsite = kaggle\nslug = {SLUG}\nquota = 2\n')
    monkeypatch.setattr(kagglekit.handin.upload, 'PAUSES', (0, 0.1))
    fork_tools(monkeypatch)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


TRAIN = pd.DataFrame(dict(id=['a', 'b'], file='x', target=[0, 1]))
COMP = Competition(
    'toy',
    TRAIN,
    TRAIN.assign(id=['c', 'd'], sample_id=['1', '0']),
    pd.DataFrame(dict(index=['0', '1'], label='cat')),
    ('cat', 'dog'),
    'macro_f1',
)


def begin(exp='exp0001', answers=('cat', 'dog')):
    "A run with a submission."
    run = Run('toy', exp)
    write_json(run.folder / 'params.json', dict(exp=exp, reason='첫 제출'))
    (run.folder / 'submission.csv').write_text('index,label\n' + ''.join(f'{i},{a}\n' for i, a in enumerate(answers)))
    return run


def fails(run, said):  # the error of a submission
    with pytest.raises(KitError) as e:
        submit(run, COMP, say=said.append)
    return e.value


def no_token(tmp_path, *texts):
    "Nowhere is the token: in no file of the workspace, and in nothing that was said."
    files = [p for p in (tmp_path / 'space').rglob('*') if p.is_file()]
    assert (
        files
        and not [p for p in files if TOKEN.encode() in p.read_bytes()]
        and not [t for t in texts if TOKEN in str(t)]
    )


def test_a_submission_is_sent_listed_scored_and_recorded(site, tmp_path):
    said, run = [], begin()
    assert submit(run, COMP, say=said.append) == 'scored'
    assert site.files == [b'index,label\n0,cat\n1,dog\n'] and site.name == 'submission.csv'
    line = read_ledger('toy').iloc[0]
    assert (line.exp, line.message, line.public, line.status, line.left) == (
        'exp0001',
        '첫 제출',
        0.8125,
        'scored',
        '1',
    ) and site.entries[0]['description'] == f'exp0001 {line.hash}: 첫 제출'
    assert run.read('leaderboard.json')['public'] == 0.8125 and said[0].startswith(
        'kaggle: 2 of 2 submissions left today'
    )
    assert 'scored, public 0.8125' in str(fails(begin('exp0002'), said)) and len(site.files) == 1  # the same file
    site.status, site.score = 'PENDING', ''
    assert submit(begin('exp0003', ('dog', 'cat')), COMP, say=said.append) == 'sent'
    assert (
        '0 of 2 submissions left today' in str(fails(begin('exp0004', ('dog', 'dog')), said)) and len(site.files) == 2
    )
    assert set(site.known) != {''}  # the token went to the site, and nowhere else
    no_token(tmp_path, *said)


@pytest.mark.parametrize(
    'call, code, message, words',
    [
        ('ListSubmissions', 401, '', 'does not know you'),
        ('ListSubmissions', 403, "Permission 'competitions.participate' was denied", "accept the competition's rules"),
        ('ListSubmissions', 404, '', 'correct its slug'),
        ('StartSubmissionUpload', 403, f'You must accept the rules, {TOKEN}', "accept the competition's rules"),
        (
            'CreateSubmission',
            400,
            'Submission not allowed:  Your team has used its daily Submission allowance (5) today, '
            'please try again tomorrow UTC',
            'are used up',
        ),
        ('ListSubmissions', 503, '', 'Nothing was sent'),
        ('upload', 400, '', 'failed, though the command exited with 0'),
    ],
)
def test_a_rejected_submission_says_what_to_do(site, tmp_path, call, code, message, words):
    said, run = [], begin()
    site.wrong[call] = (code, message)
    error = fails(run, said)
    assert isinstance(error, ToolRefused) and words in str(error)
    assert read_ledger('toy').status.tolist() == ['failed'] and not site.entries
    no_token(tmp_path, error, *said)


def test_an_accepted_file_that_is_not_listed_is_resolved_later(site, tmp_path):
    said, run = [], begin()
    site.forgets = True
    error = fails(run, said)
    assert 'Kaggle does not show the submission (Successfully submitted to Toys)' in str(error) and 'unsure' in str(
        error
    )
    assert read_ledger('toy').status.tolist() == ['unsure']
    site.forgets = False
    assert submit(run, COMP, say=said.append) == 'scored' and 'had not arrived' in said[-3]
    assert read_ledger('toy').status.tolist() == ['failed', 'scored']


def test_an_error_after_the_upload_is_no_failure(site):
    said, run = [], begin()
    site.wrong['CreateSubmission'] = (500, '')
    error = fails(run, said)  # 500, and not shown
    assert not isinstance(error, ToolRefused) and 'unsure' in str(error)
    site.entries.append(
        dict(
            ref=1,
            fileName='submission.csv',
            date='2026-11-24T01:00:00Z',
            description=f'exp0001 {read_ledger("toy").hash[0]}: x',
            status='COMPLETE',
            publicScore='0.7',
            privateScore='',
        )
    )
    assert (
        submit(run, COMP, say=said.append) == 'scored'
        and len(site.files) == 1
        and run.read('leaderboard.json')['public'] == 0.7
    )


@pytest.mark.parametrize('code', [401, 403, 404, 429, 503])
def test_a_refused_list_after_the_upload_leaves_the_file_unresolved(site, code):
    said, run = [], begin()
    site.afterwards = dict(ListSubmissions=(code, ''))
    error = fails(run, said)
    assert not isinstance(error, ToolRefused) and 'its list could not be read' in str(error) and 'unsure' in str(error)
    assert read_ledger('toy').status.tolist() == ['unsure']
    fails(run, said)  # and as long as the list is shut
    assert read_ledger('toy').status.tolist() == ['unsure'] and len(site.files) == 1
    site.wrong.clear()
    assert (
        submit(run, COMP, say=said.append) == 'scored' and len(site.files) == 1 and 'had arrived after all' in said[-1]
    )
    assert read_ledger('toy').status.tolist() == ['scored']


def test_a_list_that_recovers_in_time_is_enough(site, monkeypatch):
    site.afterwards = dict(ListSubmissions=(429, ''))
    monkeypatch.setattr(kagglekit.handin.upload.time, 'sleep', lambda pause: pause and site.wrong.clear())
    assert submit(begin(), COMP, say=print) == 'scored' and read_ledger('toy').status.tolist() == ['scored']


def test_an_uploaded_file_without_a_score_is_not_sent_again(site):
    said, run, site.status = [], begin(), 'ERROR'
    site.afterwards = dict(ListSubmissions=(429, ''))
    fails(run, said)
    site.wrong.clear()
    error = fails(run, said)
    assert (
        isinstance(error, ToolRefused)
        and 'had arrived, and the site refused it' in str(error)
        and 'had not arrived' not in ' '.join(said)
    )
    assert read_ledger('toy').status.tolist() == ['failed'] and len(site.files) == 1


def test_an_error_in_the_list_after_the_upload_is_a_rejection(site):
    run, site.status = begin(), 'ERROR'
    assert isinstance(fails(run, []), ToolRefused) and read_ledger('toy').status.tolist() == ['failed']


def test_a_submission_is_found_behind_twenty_later_ones(site):
    run = begin()
    site.afterwards = dict(ListSubmissions=(429, ''))
    fails(run, [])
    site.wrong.clear()
    site.entries[:0] = [dict(site.entries[0], ref=n, description='of a teammate') for n in range(2, 40)]
    assert submit(run, COMP, say=print) == 'scored' and len(site.files) == 1


def test_a_later_score_is_recorded(site):
    said, run = [], begin()
    site.status, site.score = 'PENDING', ''
    assert submit(run, COMP, say=said.append) == 'sent' and said[-1].endswith('; kaggle: 1 of 2 submissions left today')
    assert ': sent; the same file' in str(fails(run, said))  # still none
    site.wrong['ListSubmissions'] = (503, '')
    assert ': sent; the same file' in str(fails(run, said))  # nor a list
    site.wrong.clear()
    site.entries[0] |= dict(status='COMPLETE', publicScore='0.75', privateScore='0.625')
    assert 'scored, public 0.7500, private 0.6250' in str(fails(run, said)) and 'Kaggle has scored it' in said[-1]
    line = read_ledger('toy').iloc[0]
    assert (
        (line.public, line.private, line.status) == (0.75, 0.625, 'scored')
        and run.read('leaderboard.json')['private'] == 0.625
        and len(site.files) == 1
    )


def test_no_token_goes_out_with_the_message(site, tmp_path):
    submit(begin(), COMP, message=f'tried with {TOKEN}', say=print)
    assert site.entries[0]['description'].endswith(': tried with …') and read_ledger('toy').message[0] == 'tried with …'
    no_token(tmp_path)


def hand_in(said, exp='exp0001', version=7):
    "Submit a notebook; its status, or the error."
    try:
        return submit_notebook(begin(exp), f'Kim/Toys-Hand-In/{version}', say=said.append)
    except KitError as e:
        return e


def test_a_notebook_is_submitted_once_and_scored_later(site, tmp_path):
    said, site.status, site.score = [], 'PENDING', ''
    assert hand_in(said) == 'sent' and said[-1].endswith('; kaggle: 1 of 2 submissions left today')
    asked = {k: v for k, v in site.asked.items() if k != 'submissionDescription'}
    assert asked == dict(
        competitionName=SLUG, kernelOwner='kim', kernelSlug='toys-hand-in', kernelVersion=7, fileName='submission.csv'
    )
    line = read_ledger('toy').iloc[0]
    assert (line.status, line.message) == ('sent', '첫 제출 (notebook kim/toys-hand-in, version 7)')
    assert site.entries[0]['description'] == f'exp0001 {line.hash}: {line.message}' and not site.files
    assert 'was submitted as exp0001' in str(hand_in(said, 'exp0002')) and len(site.entries) == 1  # the same version
    site.entries[0] |= dict(status='COMPLETE', publicScore='0.75')
    assert fetch_scores('toy', say=said.append) == 1 and read_ledger('toy').public[0] == 0.75
    assert Run('toy', 'exp0001').read('leaderboard.json')['public'] == 0.75
    assert hand_in(said, version=8) == 'sent'
    assert '0 of 2 submissions left today' in str(hand_in(said, version=9)) and len(site.entries) == 2
    no_token(tmp_path, *said)


@pytest.mark.parametrize(
    'code, message, words',
    [
        (404, '', 'version 7: .*Is there such a version, finished, with submission.csv'),
        (403, 'You must accept the rules', "accept the competition's rules"),
        (400, 'Your team has used its daily Submission allowance (5) today', 'are used up'),
    ],
)
def test_a_rejected_notebook_spends_nothing(site, code, message, words):
    site.wrong['CreateCodeSubmission'] = (code, message)
    error = hand_in([])
    assert isinstance(error, ToolRefused) and re.search(words, str(error)), error
    assert read_ledger('toy').status.tolist() == ['failed'] and not site.entries


def test_a_notebook_without_an_answer_is_looked_up(site):
    said, site.afterwards = [], dict(ListSubmissions=(429, ''))
    assert 'unsure' in str(hand_in(said)) and read_ledger('toy').status.tolist() == ['unsure']
    site.wrong.clear()
    assert hand_in(said) == 'scored' and 'had arrived after all' in said[-1]
    assert site.calls.count('CreateCodeSubmission') == 1


def test_a_silent_tool_is_stopped(site, monkeypatch):
    "A call that is not answered is given up; what it did is asked afterwards."
    run, tool = begin(), kagglekit.handin.upload.kaggle_tool
    site.wrong['CreateSubmission'] = ('silence', '')
    monkeypatch.setattr(
        kagglekit.handin.upload,
        'kaggle_tool',
        lambda *args, seconds=120: tool(*args, seconds=8 if args[1] == 'submit' else 120),
    )
    error = fails(run, [])
    assert 'no answer within 8 s' in str(error) and read_ledger('toy').status.tolist() == ['unsure']


def zipped():
    "A zip with a Korean name."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('train/사진.png', b'x' * 5000)
        z.writestr('sample_submission.csv', 'index,label\n')
    return out.getvalue()


def test_downloads_are_checked_and_unpacked(site, tmp_path):
    site.zip, said = zipped()[:200], []
    with pytest.raises(KitError, match='download it again'):
        download('toy', say=said.append)
    assert not own_data('toy').exists()
    site.zip = zipped()
    assert (download('toy', say=said.append) / 'train' / '사진.png').read_bytes() == b'x' * 5000
    assert sorted(p.name for p in own_data('toy').parent.iterdir()) == ['.toy.lock', 'toy'] and download(
        'toy', say=said.append
    ) == own_data('toy')
    assert SLUG in said[0] and 'the data are in' in said[-1]
    site.wrong['DownloadDataFiles'] = (403, "You must accept this competition's rules")
    (tmp_path / 'space' / 'settings.ini').write_text(f'[other]\nsite = kaggle\nslug = {SLUG}\n')
    with pytest.raises(ToolRefused, match="accept the competition's rules"):
        download('other', say=said.append)
    no_token(tmp_path, *said)


def test_submit_and_score_as_commands(tmp_path, monkeypatch, capsys):
    "A practice submission is scored locally, its score can be corrected, and a repeated file is noticed."
    working = tmp_path / 'kaggle' / 'working'
    working.mkdir(parents=True)
    (working / 'settings.ini').write_text((Path(__file__).parent.parent / 'settings.ini').read_text())
    monkeypatch.chdir(working)
    monkeypatch.delenv('KAGGLEKIT_ROOT', raising=False)
    monkeypatch.setenv('KAGGLE_KERNEL_RUN_TYPE', 'Interactive')
    monkeypatch.setenv('DACON_TOKEN', 'planted0dacon1token')

    def kit(*args):
        with pytest.raises(SystemExit) as e:
            main(list(args))
        return e.value.code, *capsys.readouterr()

    assert kit('practice', 'shapes-practice')[0] == 0 and (working / 'data' / 'shapes-practice').exists()
    run = working / 'outputs' / 'shapes-practice' / 'exp0001'
    run.mkdir(parents=True)
    (run / 'params.json').write_text('{"exp": "exp0001", "reason": "circles, says planted0dacon1token"}')
    (run / 'submission.csv').write_bytes((working / 'data' / 'shapes-practice' / 'sample_submission.csv').read_bytes())
    code, out, err = kit('submit', 'exp0001')
    assert code == 0 and 'exp0001: scored' in out, err
    assert kit('score', 'exp0001', '--public', '.125')[0] == 0
    ledger = (run.parent / 'submissions.csv').read_text()
    assert (
        ledger.splitlines()[0] == 'time,exp,hash,message,public,private,status,left'
        and ledger.splitlines()[1].endswith('scored,')
        and ',0.125,' in ledger
        and 'planted' not in ledger
    )
    code, _, err = kit('submit', 'exp0001')
    assert code == 2 and 'this very file was submitted' in err
