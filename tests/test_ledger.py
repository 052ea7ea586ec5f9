"The ledger of submissions: mistakes in the file are named by line."

import pytest

from kagglekit.core.paths import out_dir, workspace
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.handin.ledger import ledger_path, read_ledger

GOOD = """time,exp,hash,message,public,private,status,left
2026-11-23 14:50:00Z,exp0001,00000000000000aa,"a start, 첫 제출",0.8412,,scored,4
2026-11-23 15:10:00Z,exp0002,00000000000000bb,bigger,,,sent,3
"""


@pytest.mark.parametrize(
    'text, words',
    [
        (GOOD.replace('status', 'staus'), 'line 1 must be time,exp'),
        (GOOD.replace('left', 'left,by'), 'line 1 must be time,exp'),
        (GOOD.replace('2026-11-23 15:10:00Z', '23.11.2026'), "line 3: the time '23.11.2026'"),
        (GOOD.replace('exp0002', 'exp002'), "line 3: there is no run 'exp002' (did you mean exp0002?)"),
        (GOOD.replace('00000000000000bb', ''), "line 3: the hash '' is none"),
        (GOOD.replace('0.8412', '.84!'), "line 2: the public score '.84!' is no number"),
        (GOOD.replace('0.8412', '0,8412'), 'line 2: 9 fields instead of 8'),
        (GOOD.replace('0.8412', 'nan'), "score 'nan'"),
        (GOOD.replace('bigger,', 'bigger, flipped,'), 'line 3'),
        (GOOD.replace('bigger,,,sent,3', 'bigger'), 'line 3: 4 fields instead of 8'),
        (GOOD.replace(',sent', ',snet'), 'did you mean sent'),
        (GOOD.replace(',,sent', ',,scored'), 'line 3: it is scored and has no score'),
        (GOOD.replace('sent,3', 'sent,three'), "left 'three' is no whole number"),
        (GOOD.encode('cp949'), 'reads as cp949; convert it'),
        (GOOD.encode('utf-16'), 'not UTF-8'),
    ],
)
def test_a_mistake_is_named_by_line(tmp_path, text, words):
    with workspace(tmp_path), pytest.raises(KitError) as e:
        for exp in ('exp0001', 'exp0002'):
            write_json(out_dir('toy', exp) / 'params.json', dict(exp=exp))
        ledger_path('toy').write_bytes(text if isinstance(text, bytes) else text.encode())
        read_ledger('toy')
    assert words in str(e.value)
