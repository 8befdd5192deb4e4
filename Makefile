# Everything happens inside this folder: the virtual environment in .venv, results in build.
# The Python to build it with: the first of these that is 3.11 to 3.13, or `make PYTHON=...`.
PYTHON := python3 python3.13 python3.12 python3.11 python
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

comma := ,

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
INSTALLED := .venv/installed
# Where the notebooks are, and where their pages go.
FOLDER := notebooks
PAGES := $(if $(filter notebooks/zh,$(FOLDER)),build/zh,build)
NAMES := $(notdir $(basename $(sort $(wildcard $(FOLDER)/*.ipynb))))
NUMBERS := $(foreach name,$(NAMES),$(firstword $(subst _, ,$(name))))
numbered = $(filter $(addsuffix _%,$(1)),$(NAMES))

# Tests run side by side, each process with one thread: those of several would wait for each other.
# On two cores more than two at once gain nothing.
JOBS := 2
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1

# Nothing is written outside this folder: what would go to the home folder goes to build/.
export IPYTHONDIR := $(CURDIR)/build/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/build/jupyter/config
export JUPYTER_DATA_DIR := $(CURDIR)/build/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CURDIR)/build/jupyter/runtime
export KERAS_HOME := $(CURDIR)/build/keras
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export XDG_CACHE_HOME := $(CURDIR)/build/cache
export UV_CACHE_DIR := $(CURDIR)/build/uv
export PIP_NO_CACHE_DIR := 1
# A configuration of IPython's of our own, so that nobody's start-up files run with ours.
KERNEL_SETTINGS := build/ipython/profile_default/ipython_kernel_config.json
export TF_CPP_MIN_LOG_LEVEL := 3
export PYDEVD_DISABLE_FILE_VALIDATION := 1
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest --numprocesses $(JOBS)
NBVAL := $(PYTEST) -p no:cacheprovider --dist loadfile --nbval-lax --nbval-current-env \
	--nbval-cell-timeout=1800 --nbval-kernel-startup-timeout=120
# Of a progress bar that was redrawn in place, keep what it showed last.
TIDY := $(BIN)/python -m nbconvert --log-level ERROR --to notebook --inplace \
	--CoalesceStreamsPreprocessor.enabled=True

.PHONY: help run run-all test test-all test-full lint unit chapters outside browser chapters-digits \
	solutions slow workers browser-all as-committed many-models chinese margins lab site zh refresh \
	lock bench clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) $(KERNEL_SETTINGS)  ## run notebooks 1 and 2, or ONLY="03 04"; pages go to build/
	$(call run-notebooks,$(call numbered,$(or $(ONLY),01 02)))

run-all: $(INSTALLED) $(KERNEL_SETTINGS)  ## run every notebook; pages go to build/
	$(call run-notebooks,$(NAMES))

# Asked before anything is set up: is there a notebook for each number?
UNKNOWN := $(filter-out $(NUMBERS),$(ONLY))
ifneq ($(UNKNOWN),)
$(error ONLY: expected numbers of notebooks, some of: $(NUMBERS); found: $(UNKNOWN))
endif

run-notebooks = @$(BIN)/python tools/run_notebooks.py --pages $(PAGES) $(patsubst %,$(FOLDER)/%.ipynb,$(1))

READY := $(INSTALLED) $(KERNEL_SETTINGS)
# All of them are run, even if one fails; at the end there is a line for each.
STAGES = MAKE="$(MAKE)" $(BIN)/python tools/stages.py

test: $(READY)  ## what a change may break: in minutes
	@$(BIN)/python -m tools.chinese --stale
	@$(STAGES) lint unit chapters outside browser

test-all: $(READY)  ## the rest: the other data, solutions, killed workers, every page
	@$(STAGES) chapters-digits solutions slow workers browser-all

test-full: $(READY)  ## weekly: notebooks as committed, all steps, and the Chinese edition
	@$(STAGES) as-committed many-models chinese

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

# The package: against Keras, NumPy and finite differences; the loader against faulty mirrors.
unit: $(READY)
	$(PYTEST) -m "not end_to_end and not slow and not browser and not weekly"

# Each chapter once in its short form. Only cells that ask for it have their output compared.
chapters: $(READY)
	$(NBVAL) $$($(BIN)/python tools/short_notebooks.py build/short --notebooks $(FOLDER) --without-slow)

chapters-digits: $(READY)
	$(NBVAL) $$($(BIN)/python tools/short_notebooks.py build/digits --notebooks $(FOLDER) --source digits)

solutions: $(READY)
	$(NBVAL) $$($(BIN)/python tools/short_notebooks.py build/short --notebooks $(FOLDER) --part solutions)

# make, the wheel and a kernel, seen from outside.
outside: $(READY)
	$(PYTEST) -m "end_to_end and not slow and not browser"

# The programs of the museum, downloads that are killed.
slow: $(READY)
	$(PYTEST) -m "slow and not workers and not browser"

# Workers that are killed, stopped or interrupted.
workers: $(READY)
	$(PYTEST) -m workers

# Without a browser there is nothing to set up, and the tests say how to get one. One test after the
# other: a browser that waits for its turn gives up.
BROWSER := $(shell command -v chromedriver)$(filter required,$(BN_TUTORIAL_BROWSER))
IN_BROWSER := $(READY) $(if $(BROWSER),build/site/index.html build/axe/installed)
browser: $(IN_BROWSER)
	$(BIN)/python -m pytest -m "browser and not slow"

browser-all: $(IN_BROWSER)
	$(BIN)/python -m pytest -m "browser and slow"

as-committed: $(READY)
	$(NBVAL) $(wildcard $(FOLDER)/*.ipynb $(FOLDER)/solutions/*.ipynb)

# The tools on a hundred models as they are drawn, and on those that have nothing wrong.
many-models: $(READY)
	$(PYTEST) -m weekly

chinese: $(READY)
	$(BIN)/python -m tools.chinese --check

margins: $(READY)  ## how far each claim is from failing: two hours, or CLAIMS="03 tests/test_networks.py"
	$(BIN)/python -m tools.margins $(CLAIMS)

lab: $(INSTALLED) $(KERNEL_SETTINGS)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

# The committed outputs: one run from top to bottom, without time stamps and dead progress bars.
REFRESHED = $(foreach name,$(call numbered,$(or $(ONLY),$(NUMBERS))),\
	$(wildcard $(FOLDER)/$(name).ipynb $(FOLDER)/solutions/$(name).ipynb))
refresh: $(INSTALLED) $(KERNEL_SETTINGS)  ## run the committed notebooks in place, or ONLY="03 04"
	$(BIN)/python -m nbconvert --to notebook --inplace --execute \
		--ExecutePreprocessor.timeout=1800 --ExecutePreprocessor.record_timing=False $(REFRESHED)
	$(TIDY) $(REFRESHED)
	$(BIN)/python tools/readme_figure.py
	$(BIN)/python -m tools.chinese

# Code and outputs are those of the English notebooks, so these are never run.
zh: $(INSTALLED)  ## make the Chinese edition, from the English texts and translations/zh/
	$(BIN)/python -m tools.chinese

lock: $(INSTALLED)  ## make both requirements.lock again, from pyproject.toml
	$(call compile-lock,pyproject.toml --extra test,requirements.lock)
	$(call compile-lock,--group site,site/requirements.lock)

# $(call compile-lock,REQUIREMENTS,FILE)
compile-lock = $(BIN)/uv pip compile $(1) --universal --python-version 3.11 \
	--no-python-downloads --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade -o $(2)

# Everything about the site is in an environment of its own, without TensorFlow.
SITE_BIN := build/site-environment/$(notdir $(BIN))
SITE_SOURCES := $(wildcard *.md notebooks/*.ipynb notebooks/*/*.ipynb notebooks/*/*/*.ipynb notebooks/*.png \
	benchmarks/* examples/*.py site/* site/*/* data/*.md bn_tutorial/*.py bn_tutorial/*/*)
site: build/site/index.html  ## the notebooks as web pages, in build/site; no TensorFlow

build/site/index.html: build/site-environment/installed $(SITE_SOURCES)
	rm -rf build/site
	$(SITE_BIN)/python site/gather.py build/site-source
	$(call make-pages,en,build/site)
	$(call make-pages,zh,build/site/zh)
	rm -r build/site/jupyter_execute  # what MyST-NB keeps beside the Chinese pages
	@touch $@
	@echo "The site: $(abspath $@)"

# $(call make-pages,LANGUAGE,FOLDER)
make-pages = $(SITE_BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --tag $(1) \
	--doctree-dir build/site-doctrees/$(1) --conf-dir site build/site-source/$(1) $(2)

build/site-environment/installed: site/requirements.lock
	$(call make-environment,build/site-environment,320 MB$(comma) half a minute)
	$(SITE_BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r site/requirements.lock
	@touch $@

# axe-core says whether everybody can read the pages. Without npm its tests say how to get it.
build/axe/installed: tests/browser/package-lock.json
	@mkdir -p $(@D)
	@cp tests/browser/package.json tests/browser/package-lock.json $(@D)
	@if command -v npm > /dev/null; then \
		npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent && touch $@; \
	fi

bench: $(INSTALLED)  ## speed, side by side; writes benchmarks/README.md
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m tools.chinese benchmarks

clean:  ## remove the environment and all results; downloaded data stay
	rm -rf .venv build notebooks/checkpoints notebooks/zh/checkpoints .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call make-environment,FOLDER,SIZE): a virtual environment with the first Python that will do.
define make-environment
	@found=; seen=; for python in $(PYTHON); do \
		version=$$("$$python" --version 2>&1) || continue; \
		if "$$python" -c "$(SUITABLE)"; then found="$$python"; break; fi; \
		seen="$$seen $$python is $$version;"; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is needed; found:$${seen:- none at all;} name another with: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$found" -c "import ensurepip, venv" 2>/dev/null; then \
		echo "$$found has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Setting up $(1) with $$("$$found" --version) ($(2))"; \
	"$$found" -m venv --clear $(1)
endef

$(INSTALLED): requirements.lock pyproject.toml
	$(call make-environment,.venv,about 3 GB$(comma) a few minutes the first time)
	$(install)
	@touch $@

# By uv, which takes less than half of pip's time; pip brings it, with its hash. Modules are compiled
# at once, as pip does; else each first import of TensorFlow takes ten seconds. Where uv has no wheel
# pip does it all: first pip itself, since older ones say nothing while they unpack half a gigabyte.
# What each line of the lock is needed for is in its comments.
define install
	@mkdir -p build
	@$(call locked-alone,uv)
	@if $(PIP) install --quiet --only-binary :all: --require-hashes -r build/uv.lock; then \
		$(BIN)/uv pip install --python .venv --compile-bytecode --require-hashes -r requirements.lock && \
		$(BIN)/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .; \
	else \
		echo "Going on without uv."; \
		$(call locked-alone,pip); \
		$(PIP) install --quiet --require-hashes -r build/pip.lock && \
		$(PIP) install --progress-bar on --require-hashes -r requirements.lock && \
		PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .; \
	fi
endef

# $(call locked-alone,PACKAGE): its lines of the lock, in build/PACKAGE.lock.
locked-alone = awk '/^[^ \#]/ { wanted = /^$(1)==/ } wanted' requirements.lock > build/$(1).lock

# The weekly workflow tries what pyproject.toml allows, not what is locked.
ifdef NEWEST
define install
	$(PIP) install --upgrade pip "setuptools>=77"
	$(PIP) install --upgrade --editable .[test]
endef
endif

$(KERNEL_SETTINGS):
	@mkdir -p $(@D)
	@echo '{"IPKernelApp": {"log_level": 40}}' > $@
