"""Python without its imports: a process that has imported the package, and forks for each request.

A request is a line of JSON on its input, and the process id of the fork a line of its output. The exit status goes
into the file that the request names. A fork that starts Python in its turn, as `kagglekit run` starts a kernel, has
spare forks that wait for it: its own children, in which nothing has happened either.
"""

import atexit
import json
import os
import pickle
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from itertools import dropwhile
from warm import read_package_pages, warm

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
FIRST_FREE = 100  # descriptors below it may be those of a request


def put_at(files):
    "Put descriptors where the request has them: number → descriptor."
    high = {number: os.dup2(fd, FIRST_FREE + i) for i, (number, fd) in enumerate(files.items())}
    for fd in set(files.values()):
        os.close(fd)
    for number, fd in high.items():
        os.dup2(fd, number)
        os.close(fd)


def opened(given, out, err):
    "The descriptors of standard files; of a pipe with a name, once the other end is open."
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    first, second = os.open(given, os.O_RDONLY), os.open(out, flags)
    return {0: first, 1: second, 2: os.dup(second) if err == out else os.open(err, flags)}


def become(args, cwd, env, files, session=False, ignore=(), spares=0, any_code=False, starts=None, ready=lambda: None):
    "Do what `python *args` does, in this process."
    if session:
        os.setsid()
    ready()
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ignore:
        signal.signal(number, signal.SIG_IGN)
    lend_spares(spares, any_code, starts)
    put_at(files if isinstance(files, dict) else opened(*files))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    end(run(args))


def lend_spares(n, any_code=False, starts=None):
    "Let the next processes of Python that this one starts be its spares; `starts` is a table like STARTS."
    waiting = []
    for _ in range(n):
        waiting.append(Spare(waiting))
    more = dict(any_code=any_code, starts=starts or STARTS)
    subprocess.Popen._execute_child = with_spares(subprocess.Popen._execute_child, waiting, **more)


def run(args):
    "The exit status of a command."
    try:
        execute(args)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code):
    "End as Python does, but take nothing apart that all forks have in common."
    threading._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            file.flush()
    os._exit(code)


def execute(args):
    "Run a script, `-m` a module, or `-c` a line of code."
    if args[0] == '-m':
        sys.argv = args[1:]
        if args[1] == 'ipykernel_launcher':  # chosen when matplotlib was imported
            sys.modules['matplotlib'].rcParams['backend'] = 'module://matplotlib_inline.backend_inline'
        runpy.run_module(args[1], run_name='__main__', alter_sys=True)
    elif args[0] == '-c':
        sys.argv = ['-c', *args[2:]]
        sys.path.insert(0, '')
        exec(compile(args[1], '<string>', 'exec'), dict(__name__='__main__'))
    else:
        sys.argv = args
        sys.path.insert(0, os.path.dirname(os.path.abspath(args[0])))
        runpy.run_path(args[0], run_name='__main__')


class Spare:
    "A child that waits until it is needed."

    def __init__(self, older):
        self.end, other = socket.socketpair()
        self.pid = os.fork()
        if self.pid:
            other.close()
            return
        for spare in [*older, self]:
            spare.end.close()
        wait_for_order(other)

    def start(self, order, descriptors):
        "Let it become a process; it answers once it is in its group."
        socket.send_fds(self.end, [pickle.dumps(order)], descriptors)
        self.end.recv(1)
        self.end.close()


def wait_for_order(other):
    "In a spare: become what is asked for, or end with the parent."
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order, descriptors, _, _ = socket.recv_fds(other, 1 << 20, 16)
    if not order:
        os._exit(0)
    order = pickle.loads(order)
    prepare, numbers = order.pop('prepare'), order.pop('numbers')
    if prepare:
        prepare()
    become(**order, files=dict(zip(numbers, descriptors)), ready=other.close)


STARTS = {  # beginning of a command → processes of Python that it starts
    '-m ipykernel_launcher': 0,
    '-m papermill': 1,
    '-m torch.distributed.run': 2,
    '-c from kagglekit.cli': 1,
    '-c from kagglekit.runs.workers': 0,
}
OPTIONS = ('-B', '-u', '-Xfrozen_modules=off')  # of Python, which forks need not be told


def spares_of(args, env, any_code, starts):
    "How many spares a spare needs to become it; None if it is none of those, or has other code than is imported here."
    same_code = any_code or (env or os.environ).get('PYTHONPATH') == os.environ.get('PYTHONPATH')
    if not same_code or args[:1] != [sys.executable]:
        return None
    return next((n for start, n in starts.items() if ' '.join(args[1:3]).startswith(start)), None)


def with_spares(start, waiting, any_code, starts):
    "Popen's method that starts a program, with a spare where there is one."

    def _execute(self, args, program, prepare, close, keep, cwd, env, info, flags, shell, *more):
        words = [] if isinstance(args, str) else [*args[:1], *dropwhile(OPTIONS.__contains__, args[1:])]
        pipes, session = more[:6], more[11]
        spares = spares_of(words, env, any_code, starts)
        if not waiting or shell or spares is None:
            return start(self, args, program, prepare, close, keep, cwd, env, info, flags, shell, *more)
        spare = waiting.pop()
        ours = [pipes[0], pipes[3], pipes[5]]
        files = {number: fd if fd >= 0 else number for number, fd in enumerate(ours)} | {fd: fd for fd in keep}
        order = dict(args=words[1:], cwd=cwd or os.getcwd(), env=dict(env or os.environ), numbers=[*files])
        more = dict(prepare=prepare, session=session, spares=spares, any_code=any_code, starts=starts)
        spare.start(order | more, [*files.values()])
        self.pid, self._child_created = spare.pid, True
        self._close_pipe_fds(*pipes)

    return _execute


def collect(running):
    "Write the exit status of each fork that has ended."
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        path = running.pop(pid)
        with open(path + '.part', 'w') as f:
            f.write(str(os.waitstatus_to_exitcode(status)))
        os.rename(path + '.part', path)


def serve():
    "Fork for each line, until the input ends; in a fork, do what it says."
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running = {}
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 1 << 10)
            collect(running)
        if 0 not in ready:
            continue
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        code = request.pop('code')
        pid = os.fork()
        if not pid:
            become(**request)
        running[pid] = code
        print(pid, flush=True)


if __name__ == '__main__':
    warm()
    read_package_pages()
    serve()
