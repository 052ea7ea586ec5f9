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
        'optuna>=5',  # searches are tested with the real one
    trees=['lightgbm>=4.5'],  # blend, method stack_trees: where a second level of LightGBM's trees is fitted
