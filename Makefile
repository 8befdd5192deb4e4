# Everything happens inside this folder: the virtual environment in .venv, results in build.
# The Python to build it with: the first of these that is 3.11 to 3.13, or `make PYTHON=...`.
PYTHON := python3 python3.13 python3.12 python3.11 python
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
INSTALLED := .venv/installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
SHORT := $(filter notebooks/01% notebooks/02%,$(NOTEBOOKS))
LONG := $(filter-out $(SHORT),$(NOTEBOOKS))
NAMES := $(notdir $(basename $(NOTEBOOKS)))

# Kernels get settings of their own, so that nobody's IPython start-up files run with ours.
export IPYTHONDIR := $(CURDIR)/build/ipython
KERNEL_SETTINGS := build/ipython/profile_default/ipython_kernel_config.json
export TF_CPP_MIN_LOG_LEVEL := 3
export PYDEVD_DISABLE_FILE_VALIDATION := 1
NBVAL := $(BIN)/python -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env \
	--nbval-cell-timeout=600 --nbval-kernel-startup-timeout=120
# Of a progress bar that was redrawn in place, keep what it showed last.
TIDY := $(BIN)/python -m nbconvert --log-level ERROR --to notebook --inplace \
	--CoalesceStreamsPreprocessor.enabled=True

.PHONY: help run test unit lint notebooks lab refresh bench fuzz clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) $(KERNEL_SETTINGS)  ## run the notebooks; pages and executed notebooks go to build/
	@for name in $(NAMES); do \
		echo "$$name"; \
		$(BIN)/python -m papermill --log-level WARNING --progress-bar --cwd notebooks \
			notebooks/$$name.ipynb build/$$name.ipynb || exit 1; \
		$(TIDY) build/$$name.ipynb || exit 1; \
		PYTHONPATH=notebooks $(BIN)/python -m nbconvert --log-level ERROR --to html_page.HtmlPage \
			build/$$name.ipynb || exit 1; \
	done
	@echo "Done. Open one of these pages in a browser, or the notebook beside it in JupyterLab:"
	@for name in $(NAMES); do echo "  $(CURDIR)/build/$$name.html"; done

test: lint unit notebooks  ## lint, unit tests, and the notebooks under nbval

lint: $(INSTALLED)  ## check style, types hinted, docstrings; package, tests and notebooks
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

unit: $(INSTALLED)  ## the tests of the package
	$(BIN)/python -m pytest

# On MNIST if it can be had, then on the embedded digits: the claims a notebook asserts must hold on
# both. The short notebooks run as committed; the long ones are copies with a tenth of the steps.
# Only cells that ask for it have their output compared.
notebooks: $(INSTALLED) $(KERNEL_SETTINGS)  ## run the notebooks under nbval, on MNIST and on digits
	$(call prepare,$(LONG),quick,-p BUDGET 0.1)
	$(call prepare,$(SHORT),digits,-p SOURCE digits)
	$(call prepare,$(LONG),digits,-p SOURCE digits -p BUDGET 0.1)
	$(NBVAL) $(SHORT) $(LONG:notebooks/%=build/quick/%)
	$(NBVAL) $(NOTEBOOKS:notebooks/%=build/digits/%)

# $(call prepare,NOTEBOOKS,FOLDER,PARAMETERS): copies in build/FOLDER with other parameters.
define prepare
	@mkdir -p build/$(2)
	@for notebook in $(1); do \
		$(BIN)/python -m papermill --log-level ERROR --prepare-only $(3) \
			$$notebook build/$(2)/$${notebook#notebooks/} || exit 1; \
	done
endef

lab: $(INSTALLED)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks

# The committed outputs: one run from top to bottom, without time stamps and dead progress bars.
refresh: $(INSTALLED) $(KERNEL_SETTINGS)  ## run the committed notebooks in place
	$(BIN)/python -m nbconvert --to notebook --inplace --execute \
		--ExecutePreprocessor.timeout=1800 --ExecutePreprocessor.record_timing=False $(NOTEBOOKS)
	$(TIDY) $(NOTEBOOKS)
	$(BIN)/python notebooks/readme_figure.py

bench: $(INSTALLED)  ## speed, side by side; writes benchmarks/README.md
	$(BIN)/python -m benchmarks.report

fuzz: $(INSTALLED)  ## damaged files for the MNIST loader, SECONDS=60
	$(BIN)/python -m tests.fuzz_read_idx --seconds $(or $(SECONDS),60)

clean:  ## remove the environment and all results; downloaded data stay
	rm -rf .venv build notebooks/checkpoints .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
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
	echo "Setting up .venv with $$("$$found" --version) (about 3 GB, a few minutes the first time)"; \
	"$$found" -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(KERNEL_SETTINGS):
	@mkdir -p $(@D)
	@echo '{"IPKernelApp": {"log_level": 40}}' > $@
