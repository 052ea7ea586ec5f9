"""Python without its imports: a process that has imported the package, and forks for each request.

A request is a line of JSON on its input; the exit status of the fork is a line of its output.
"""

import json
import os
import runpy
import sys
import kagglekit.blend.blend_run  # noqa: F401
import kagglekit.fit.train  # noqa: F401


def become(args, cwd, env, out, err):
    "Do what `python *args` does, in this process."
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = args
    if args[0] == '-c':
        sys.path.insert(0, '')
        exec(compile(args[1], '<string>', 'exec'), dict(__name__='__main__'))
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(args[0])))
        runpy.run_path(args[0], run_name='__main__')


for line in sys.stdin:
    child = os.fork()
    if not child:
        become(**json.loads(line))
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
