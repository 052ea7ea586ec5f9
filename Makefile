# make demo   from nothing to a scored experiment and a journal
# make lint   ruff and mypy
# make test   the whole test suite
# make lab    JupyterLab on the workspace, with the map of all notebooks open
# make docs   a site of guides, notebooks and API with search, in build/site
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
COMP   := anomaly-practice
EXP    := exp0001
export PATH := $(CURDIR)/$(BIN):$(PATH)
# libraries' warnings to their developers would bury our own lines
export PYTHONWARNINGS := ignore
# a module is compiled once, not in every process
export PYTHONDONTWRITEBYTECODE :=
.PHONY: demo lint test lab docs install pages

# the stamp is written last, so an installation that was interrupted is done again
.venv/ok: setup.py settings.ini constraints.txt jupyterlab.json
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; got " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,demo,tensorboard]'
	@# pip would compile on one core
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@# JupyterLab saves a page when a person does, so running one leaves the tracked file as it is
	@install -D -m 644 jupyterlab.json .venv/share/jupyter/lab/settings/overrides.json
	@touch $@

install: .venv/ok

demo: .venv/ok
	@echo 'about 8 minutes on two idle cores, longer beside other work; each epoch says what is left'
	$(BIN)/kagglekit practice $(COMP)
	$(BIN)/kagglekit run $(COMP) $(EXP)
	$(BIN)/python -m papermill nbs/journal.ipynb outputs/$(COMP)/journal.ipynb -p comp $(COMP) --no-progress-bar
	$(BIN)/kagglekit journal $(COMP) --html
	@echo; $(BIN)/kagglekit show $(COMP)/$(EXP)
	@echo 'the journal    $(CURDIR)/outputs/$(COMP)/journal.html'

lint: .venv/ok
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# in a scratch workspace that holds the committed record, so that nobody's runs are touched
test: .venv/ok
	@scratch=$$(mktemp -d) && cp settings.ini $$scratch && (cd record && git ls-files outputs | xargs -r cp --parents -t $$scratch) && \
	export KAGGLEKIT_ROOT=$$scratch KAGGLEKIT_DATA= OMP_NUM_THREADS=1 && \
	$(BIN)/python tests/suite.py; code=$$?; rm -rf $$scratch; exit $$code

# without --notebook-dir the folder of the file would be the root, and data, docs and outputs out of reach
lab: .venv/ok
	$(BIN)/jupyter lab nbs/index.ipynb --notebook-dir=.

.venv/docs: .venv/ok
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'the site    $(CURDIR)/build/site/index.html'

# run every notebook, and keep its pictures
pages: .venv/ok
	@scratch=$$(mktemp -d) && cp settings.ini $$scratch && (cd record && git ls-files outputs | xargs -r cp --parents -t $$scratch) && \
	KAGGLEKIT_ROOT=$$scratch KAGGLEKIT_DATA= $(BIN)/nbdev-test --n-workers 1 --save; code=$$?; rm -rf $$scratch; \
	$(BIN)/nbdev-clean; exit $$code
