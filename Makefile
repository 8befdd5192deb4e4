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
# Solutions to exercises are tested and refreshed with the notebooks, and have no page.
SOLUTIONS := $(patsubst $(FOLDER)/%.ipynb,%,$(sort $(wildcard $(FOLDER)/solutions/*.ipynb)))
numbered = $(filter $(addsuffix _%,$(1)),$(NAMES))

# What `make test` gives each notebook: enough for its claims, and no more. The rest is as committed.
QUICK_01 := -p STEPS 10000
QUICK_02 := -p SEEDS 2
QUICK_03 := -p BUDGET 0.1 -p SEEDS 2
QUICK_04 := -p BUDGET 0.1 -p SEEDS 2
QUICK_05 := -p BUDGET 0.1 -p SEEDS 2
QUICK_06 := -p BUDGET 0.1 -p SEEDS 2
QUICK_07 := -p BUDGET 0.1 -p SEEDS 2
QUICK_08 := -p BUDGET 0.1

# Tests run side by side. On two cores more than two at once gain nothing.
JOBS := 2

# Nothing is written outside this folder: what would go to the home folder goes to build/.
export IPYTHONDIR := $(CURDIR)/build/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/build/jupyter/config
export JUPYTER_DATA_DIR := $(CURDIR)/build/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CURDIR)/build/jupyter/runtime
export KERAS_HOME := $(CURDIR)/build/keras
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export XDG_CACHE_HOME := $(CURDIR)/build/cache
export PIP_NO_CACHE_DIR := 1
# A configuration of IPython's of our own, so that nobody's start-up files run with ours.
KERNEL_SETTINGS := build/ipython/profile_default/ipython_kernel_config.json
export TF_CPP_MIN_LOG_LEVEL := 3
export PYDEVD_DISABLE_FILE_VALIDATION := 1
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS)
NBVAL := $(PYTEST) -p no:cacheprovider --dist loadfile --nbval-lax --nbval-current-env \
	--nbval-cell-timeout=1800 --nbval-kernel-startup-timeout=120
# Of a progress bar that was redrawn in place, keep what it showed last.
TIDY := $(BIN)/python -m nbconvert --log-level ERROR --to notebook --inplace \
	--CoalesceStreamsPreprocessor.enabled=True

.PHONY: help run run-all test test-full unit end-to-end lint notebooks browser lab site zh refresh lock bench fuzz clean
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

define run-notebooks
	@for name in $(1); do \
		echo "$$name"; \
		$(BIN)/python -m papermill --log-level WARNING --progress-bar --cwd $(FOLDER) \
			$(FOLDER)/$$name.ipynb $(PAGES)/$$name.ipynb || exit 1; \
		$(TIDY) $(PAGES)/$$name.ipynb || exit 1; \
		BN_TUTORIAL_PAGES="$(1)" PYTHONPATH=tools $(BIN)/python -m nbconvert --log-level ERROR --to html_page.HtmlPage \
			$(PAGES)/$$name.ipynb || exit 1; \
		echo "  its page: $(abspath $(PAGES))/$$name.html"; \
	done
	@echo "Done. Open one of these pages in a browser, or the notebook beside it in JupyterLab:"
	@for name in $(1); do echo "  $(abspath $(PAGES))/$$name.html"; done
endef

test: lint unit end-to-end notebooks browser  ## lint, all tests, the notebooks under nbval, and in a browser

lint: $(INSTALLED)  ## check style, types hinted, docstrings; package, tests and notebooks
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

unit: $(INSTALLED) $(KERNEL_SETTINGS)  ## the tests of the package, in a minute
	$(PYTEST) -m "not end_to_end and not browser"

end-to-end: $(INSTALLED) $(KERNEL_SETTINGS)  ## make, the wheel, a kernel and processes, from outside
	$(PYTEST) -m "end_to_end and not browser$(if $(SLOW),, and not slow)"

# On MNIST if it can be had, and on the embedded digits: the claims a notebook asserts must hold on
# both. They are copies with fewer steps. Only cells that ask for it have their output compared.
notebooks: $(INSTALLED) $(KERNEL_SETTINGS)  ## run the notebooks under nbval, on MNIST and on digits
	$(call prepare,quick)
	$(call prepare,digits,-p SOURCE digits)
	$(NBVAL) $(foreach folder,quick digits,$(patsubst %,build/$(folder)/%.ipynb,$(NAMES) $(SOLUTIONS)))

# Without a browser there is nothing to set up, and the tests say how to get one.
BROWSER := $(shell command -v chromedriver)$(filter required,$(BN_TUTORIAL_BROWSER))
# One after the other: notebooks train on all cores, and a browser that waits for its turn gives up.
browser: $(INSTALLED) $(KERNEL_SETTINGS) $(if $(BROWSER),site build/axe/installed)  ## notebooks and pages in a real browser, if there is one
	$(BIN)/python -m pytest -m browser

test-full: $(INSTALLED) $(KERNEL_SETTINGS)  ## the slow tests, every notebook as committed, each answer
	$(PYTEST) -m slow
	$(NBVAL) $(patsubst %,$(FOLDER)/%.ipynb,$(NAMES) $(SOLUTIONS))
	$(BIN)/python -m tools.try_it_yourself --source mnist --check

# $(call prepare,SUBFOLDER,PARAMETERS): copies in build/SUBFOLDER with these parameters and QUICK_….
prepare = $(foreach name,$(NAMES) $(SOLUTIONS),$(call prepare-one,$(name),$(1),$(2)))
define prepare-one
	@mkdir -p $(dir build/$(2)/$(1))
	@$(BIN)/python -m papermill --log-level ERROR --prepare-only $(3) \
		$(QUICK_$(firstword $(subst _, ,$(notdir $(1))))) $(FOLDER)/$(1).ipynb build/$(2)/$(1).ipynb

endef

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

# In an environment of its own: what makes the lock is no part of what it locks.
lock: build/uv/installed  ## make both requirements.lock again, from pyproject.toml
	$(call compile-lock,pyproject.toml --extra test,requirements.lock)
	$(call compile-lock,--group site,site/requirements.lock)

# $(call compile-lock,REQUIREMENTS,FILE)
compile-lock = build/uv/$(notdir $(BIN))/uv pip compile $(1) --universal --python-version 3.11 \
	--no-python-downloads --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade -o $(2)

build/uv/installed: $(INSTALLED)
	$(BIN)/python -m venv --clear build/uv
	build/uv/$(notdir $(BIN))/python -m pip --disable-pip-version-check install --quiet uv==0.9.*
	@touch $@

# Everything about the site is in an environment of its own, without TensorFlow.
SITE_BIN := build/site-environment/$(notdir $(BIN))
site: build/site-environment/installed  ## the notebooks as web pages, in build/site; no TensorFlow
	rm -rf build/site
	$(SITE_BIN)/python site/gather.py build/site-source
	$(call make-pages,en,build/site)
	$(call make-pages,zh,build/site/zh)
	rm -r build/site/jupyter_execute  # what MyST-NB keeps beside the Chinese pages
	@echo "The site: $(abspath build/site/index.html)"

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

fuzz: $(INSTALLED)  ## damaged files for the MNIST loader, SECONDS=60
	$(BIN)/python -m tests.mnist.fuzz_read_idx --seconds $(or $(SECONDS),60)

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

# First pip itself: older ones say nothing while they unpack half a gigabyte. What each line of the
# lock is needed for is in its comments.
define install
	@mkdir -p build
	@awk '/^[^ #]/ { wanted = /^pip==/ } wanted' requirements.lock > build/pip.lock
	$(PIP) install --quiet --require-hashes -r build/pip.lock
	$(PIP) install --progress-bar on --require-hashes -r requirements.lock
	PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .
endef

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
