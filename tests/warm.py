"What a process imports before others fork from it."

import gc
import inspect
import os
import weakref
from importlib import import_module
from importlib.util import find_spec

PACKAGE = (
    'kagglekit.blend.blend_run',
    'kagglekit.blend.diagnostics',
    'kagglekit.fit.plots',
    'kagglekit.fit.train',
    'kagglekit.launch.kernel',
    'kagglekit.report.reproduce',
)
KERNEL = (  # what a kernel, papermill or torchrun imports; but ipykernel.kernelapp asks there whose child it is
    'IPython.core.shellapp',
    'ipykernel.control',
    'ipykernel.debugger',
    'ipykernel.ipkernel',
    'ipykernel.kernelspec',
    'papermill.cli',
    'torch.distributed.launcher.api',
)
PAGES = (  # and what the cells of most pages do
    'IPython.core.completerlib',
    'IPython.core.logger',
    'IPython.core.magics.execution',
    'IPython.core.oinspect',
    'IPython.core.pylabtools',
    'IPython.extensions.storemagic',
    'PIL.JpegImagePlugin',
    'matplotlib.backends.backend_agg',
    'pandas.io.formats.html',
    'pandas.io.formats.string',
    'pyarrow.dataset',
    'pyarrow.pandas_compat',
    'seaborn',
    'sqlite3',
    'stack_data',
)
KAGGLE = ('bleach', 'kagglesdk', 'requests') if find_spec('kaggle') else ()  # what Kaggle's tool imports


def warm():
    "Import the package and what runs it, in which no fork looks for garbage; never wait for the disk (conftest.py)."
    gc.disable()
    os.environ['PYDEVD_DISABLE_FILE_VALIDATION'] = '1'  # of the debugger that every kernel imports
    for name in PACKAGE + KERNEL + PAGES + KAGGLE:
        import_module(name)
    fill_caches()
    draw_once()
    keep_whole()
    gc.freeze()
    gc.enable()
    os.fsync = lambda file: None


def fill_caches():
    "Look up once what every fork would look up."
    import nbformat
    from matplotlib.backends import backend_registry

    backend_registry.list_all()  # reads the entry points of all installed packages
    nbformat.reads(nbformat.writes(nbformat.v4.new_notebook()), 4)  # compiles the schema of notebooks
    inspect.getmodule(compile('', 'no module', 'exec'))  # resolves the paths of all modules


def draw_once():
    "Draw a figure when it is shown; IPython would also have it drawn after each cell, which nobody sees."
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg.draw_idle = lambda canvas, *args, **kwargs: None


def keep_whole():
    "At the end of a fork, leave alone what was imported before it; torch would take its libraries apart."
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False


def read_package_pages():
    "Read the pages of competitions that the package holds, as every command does, and none of a workspace."
    from kagglekit.core.paths import workspace
    from kagglekit.data.competition import load_pages

    with workspace():
        assert not load_pages()
