# Everything happens inside this folder: the virtual environment is .venv, results go to build.
# It is made with the first of these that is Python 3.11, 3.12 or 3.13, or `make PYTHON=...`.
PYTHON := python3 python3.13 python3.12 python3.11 python
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := .venv/$(SCRIPTS)
READY := .venv/installed

# FOLDER has the notebooks, PAGES is for their pages, and ONLY chooses some by their numbers. A
# number that no notebook has is an error before anything is set up.
FOLDER := notebooks
PAGES := $(if $(filter notebooks/zh,$(FOLDER)),build/zh,build)
NOTEBOOKS := $(sort $(wildcard $(FOLDER)/*.ipynb))
CHOSEN := $(foreach number,$(ONLY),$(or $(wildcard $(FOLDER)/$(number)_*.ipynb),\
	$(error ONLY: expected numbers of notebooks, which are $(notdir $(NOTEBOOKS)); found: $(number))))

# Nothing is written outside this folder: what would go to the home folder goes to build.
export IPYTHONDIR := $(CURDIR)/build/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/build/jupyter/config
export JUPYTER_DATA_DIR := $(CURDIR)/build/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CURDIR)/build/jupyter/runtime
export KERAS_HOME := $(CURDIR)/build/keras
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export XDG_CACHE_HOME := $(CURDIR)/build/cache
export UV_CACHE_DIR := $(CURDIR)/build/uv
export npm_config_cache := $(CURDIR)/build/npm
export PIP_NO_CACHE_DIR := 1
export TF_CPP_MIN_LOG_LEVEL := 3
export PYDEVD_DISABLE_FILE_VALIDATION := 1

PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests run in two processes with one thread each, since threads of several would wait for each other.
PYTEST := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest --numprocesses 2
NBVAL := $(PYTEST) -p no:cacheprovider --dist loadfile --nbval-lax --nbval-current-env \
	--nbval-cell-timeout=1800 --nbval-kernel-startup-timeout=120
SHORT := $(BIN)/python tools/short_notebooks.py --notebooks $(FOLDER)
# This runs all the stages, even if one fails, and ends with a line for each.
STAGES = @MAKE="$(MAKE)" $(BIN)/python tools/stages.py

.PHONY: help run run-all test test-all test-full lint unit chapters outside browser chapters-digits \
	solutions slow workers browser-all as-committed many-models chinese margins lab site zh refresh \
	lock bench clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## run notebooks 1 and 2, or ONLY="03 04"; pages go to build/
	@$(BIN)/python tools/run_notebooks.py --pages $(PAGES) \
		$(or $(CHOSEN),$(wildcard $(FOLDER)/01_*.ipynb $(FOLDER)/02_*.ipynb))

run-all: $(READY)  ## run every notebook; pages go to build/
	@$(BIN)/python tools/run_notebooks.py --pages $(PAGES) $(NOTEBOOKS)

test: $(READY)  ## what a change may break: in minutes
	@$(BIN)/python -m tools.chinese --stale
	$(STAGES) lint unit chapters outside browser

test-all: $(READY)  ## the rest: the other data, solutions, killed workers, every page
	$(STAGES) chapters-digits solutions slow workers browser-all

test-full: $(READY)  ## weekly: notebooks as committed, all steps, and the Chinese edition
	$(STAGES) as-committed many-models chinese

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

# Of the package, and of `make`, the wheel and a kernel as seen from outside; of broken programs and
# downloads that are killed; of workers that are; and of a hundred models, drawn at random or healthy.
unit: MARKS = not end_to_end and not slow and not browser and not weekly
outside: MARKS = end_to_end and not slow and not browser
slow: MARKS = slow and not workers and not browser
workers: MARKS = workers
many-models: MARKS = weekly
unit outside slow workers many-models: $(READY)
	$(PYTEST) -m "$(MARKS)"

# Without a browser there is nothing to set up, and the tests say how to get one. They run one after
# the other, because a browser that waits for its turn gives up.
browser: MARKS = browser and not slow
browser-all: MARKS = browser and slow
browser browser-all: $(READY) $(if $(shell command -v chromedriver)$(filter required,\
		$(BN_TUTORIAL_BROWSER)),build/site/index.html build/axe/installed)
	$(BIN)/python -m pytest -m "$(MARKS)"

# Each notebook once in its short form. Only cells that ask for it have their output compared.
chapters: $(READY)
	$(NBVAL) $$($(SHORT) build/short --without-slow)

chapters-digits: $(READY)
	$(NBVAL) $$($(SHORT) build/digits --source digits)

solutions: $(READY)
	$(NBVAL) $$($(SHORT) build/short --part solutions)

as-committed: $(READY)
	$(NBVAL) $(NOTEBOOKS) $(wildcard $(FOLDER)/solutions/*.ipynb)

chinese: $(READY)
	$(BIN)/python -m tools.chinese --check

margins: $(READY)  ## how far each claim is from failing: two hours, or CLAIMS="03 tests/test_networks.py"
	$(BIN)/python -m tools.margins $(CLAIMS)

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

# The committed outputs are those of one run from top to bottom, without time stamps; of a progress
# bar that was redrawn in place they keep what it showed last.
refresh: $(READY)  ## run the committed notebooks in place, or ONLY="03 04"
	$(BIN)/python -m nbconvert --to notebook --inplace --execute \
		--ExecutePreprocessor.timeout=1800 --ExecutePreprocessor.record_timing=False \
		--NotebookExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor \
		$(wildcard $(foreach path,$(or $(CHOSEN),$(NOTEBOOKS)),$(path) $(FOLDER)/solutions/$(notdir $(path))))
	$(BIN)/python -m tools.chinese

# Code and outputs are those of the English notebooks, so these are never run.
zh: $(READY)  ## make the Chinese edition, from the English texts and translations/zh/
	$(BIN)/python -m tools.chinese

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --no-python-downloads --upgrade \
	--generate-hashes --no-emit-index-url --no-emit-find-links
lock: $(READY)  ## make both requirements.lock again, from pyproject.toml
	$(LOCK) pyproject.toml --extra test -o requirements.lock
	$(LOCK) --group site -o site/requirements.lock

# Everything about the site is in an environment of its own, without TensorFlow.
site: build/site/index.html  ## the notebooks as web pages, in build/site; no TensorFlow

SITE_BIN := build/site-environment/$(SCRIPTS)
SPHINX := $(SITE_BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --conf-dir site
build/site/index.html: build/site-environment/installed $(wildcard *.md notebooks/*.ipynb \
		notebooks/*/*.ipynb notebooks/*/*/*.ipynb notebooks/*.png benchmarks/* examples/*.py site/* \
		site/*/* data/*.md bn_tutorial/*.py bn_tutorial/*/*)
	rm -rf build/site
	$(SITE_BIN)/python site/gather.py build/site-source
	$(SPHINX) --tag en --doctree-dir build/site-doctrees/en build/site-source/en build/site
	$(SPHINX) --tag zh --doctree-dir build/site-doctrees/zh build/site-source/zh build/site/zh
	rm -r build/site/jupyter_execute  # what MyST-NB keeps beside the Chinese pages
	@touch $@
	@echo "The site: $(abspath $@)"

build/site-environment/installed: site/requirements.lock
	$(call make-environment,$(@D),320 MB and half a minute)
	$(SITE_BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

# axe-core says whether everybody can read the pages. Without npm its tests say how to get it.
build/axe/installed: tests/browser/package-lock.json
	@mkdir -p $(@D)
	@cp tests/browser/package.json tests/browser/package-lock.json $(@D)
	@if command -v npm > /dev/null; then \
		npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent && touch $@; \
	fi

bench: $(READY)  ## speed, side by side; writes benchmarks/README.md
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m tools.chinese benchmarks

clean:  ## remove the environment and all results; downloaded data stay
	rm -rf .venv build notebooks/checkpoints notebooks/zh/checkpoints .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call make-environment,FOLDER,WHAT IT TAKES): with the first Python that will do.
define make-environment
@for python in $(PYTHON); do \
	version=$$("$$python" --version 2>&1) || continue; \
	case "$$version" in "Python 3.11."* | "Python 3.12."* | "Python 3.13."*) \
		echo "Setting up $(1) with $$version ($(2))"; \
		exec "$$python" -m venv --clear $(1);; \
	esac; \
	seen="$$seen $$python is $$version;"; \
done; \
echo "Python 3.11, 3.12 or 3.13 is needed; found:$${seen:- none at all;} name another with: make PYTHON=/path/to/python3.12" >&2; exit 1
endef

# uv takes less than half of pip's time; pip brings it, with the hash that the lock has, and does all
# the work where uv can't. Modules are compiled at once, or else each first import of TensorFlow
# would take ten seconds. The last line keeps the kernels' warnings about how they are connected away.
# NEWEST=1, in the weekly workflow, tries what pyproject.toml allows and not what is locked.
$(READY): requirements.lock pyproject.toml
	$(call make-environment,$(@D),3 GB and a few minutes the first time)
ifdef NEWEST
	$(PIP) install --upgrade pip "setuptools>=77"
	$(PIP) install --upgrade --editable .[test]
else
	@mkdir -p build
	@awk '/^[^ #]/ { wanted = /^uv==/ } wanted' requirements.lock > build/uv.lock
	@$(PIP) install --quiet --only-binary :all: --require-hashes -r build/uv.lock && \
		$(BIN)/uv pip install --python .venv --compile-bytecode --require-hashes -r requirements.lock || \
		{ echo "Going on without uv."; $(PIP) install --require-hashes -r requirements.lock; }
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .
endif
	@mkdir -p build/ipython/profile_default
	@echo '{"IPKernelApp": {"log_level": 40}}' > build/ipython/profile_default/ipython_kernel_config.json
	@touch $@
