"All tests: the pages, then those of pytest. What they start are forks of one process that has imported the package."

import os
import sys
from pathlib import Path
from warm import warm
from zygote import end, lend_spares, run

HERE = Path(__file__).parent
WORKERS = 2
PAGES = [str(HERE / 'pages.py'), '--n-workers', str(WORKERS), '--timing']
PYTEST = ['-m', 'pytest', '-q', '-n', str(WORKERS), '--dist', 'loadfile', '--no-loadscope-reorder', '--durations', '12']
PYTEST += ['-W', 'ignore::pytest.PytestAssertRewriteWarning']  # of plugins that are imported already
STARTS = {  # what pytest starts → processes that each starts in its turn
    '-c import sys;exec(eval(sys.stdin.readline()))': 1,  # a worker
    str(HERE / 'zygote.py'): 0,  # a worker's own
}


def in_fork(words, spares=0):
    "The exit status of `python *words`."
    pid = os.fork()
    if not pid:
        lend_spares(spares, starts=STARTS)
        end(run(words))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == '__main__':
    warm()
    sys.exit(in_fork(PAGES) or in_fork([*PYTEST, str(HERE)], spares=WORKERS))
