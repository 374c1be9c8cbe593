# `make book` is all a reader needs; `.ci/run` is what a change must pass.
PYTHON ?= python3
VENV   ?= .venv

# Windows puts the programs of an environment elsewhere, and something else between the folders of PATH.
ifeq ($(OS),Windows_NT)
BIN := Scripts
SEP := ;
else
BIN := bin
SEP := :
endif

BUILD     := _build
INSTALLED := $(VENV)/.installed
TESTED    := $(VENV)/.tested
RAN       := $(BUILD)/.notebooks-ran
WIDGETS   := $(BUILD)/widgets-7
OLDEST    := $(BUILD)/oldest/.installed
COLAB     := $(BUILD)/colab/.installed
SOURCES   := pyproject.toml $(wildcard chapters/*.ipynb chapters/solutions/*.ipynb) \
             $(shell find fslib results tests/notebooks_plugin.py -name '*.py' -o -name '*.jsonl' -o -name '*.safetensors' -o -path '*/figures/*')

# The kernel is the environment's own, and nothing in a home folder changes what a notebook does.
export PATH := $(abspath $(VENV))/$(BIN)$(SEP)$(PATH)
export IPYTHONDIR := $(CURDIR)/$(BUILD)/home/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/$(BUILD)/home/jupyter

# A shell for every line: make 3.81, which macOS has, runs simple ones without, and seeks programs in the PATH from outside.
SHELL := sh

# Threads that wait for one another leave the processor to others: beside other work, spinning takes fifteen times as long.
export OMP_WAIT_POLICY := passive

# The book and the tests are about the project's own ledger.
unexport FSLIB_RESULTS

# The tests of the package and of what builds the book, but for those of a built site.
UNITS := pytest -q -n 2 --ignore=tests/test_site.py --ignore=tests/test_browser.py --ignore=tests/test_notebook_figures.py

# Two threads everywhere, so that CPU seconds compare.
RUN_NOTEBOOKS := OMP_NUM_THREADS=2 python -m pytest -q -p tests.notebooks_plugin --nbval-lax --nbval-build=$(BUILD) \
	--nbval-cell-timeout=300

.PHONY: book test units oldest colab colab-image pretend everywhere gpu browser chromium links lab serve bench coursework \
	lint address release clean
.DELETE_ON_ERROR:

# Ends in a site, on any machine: what failed is listed, and shows on the pages.
book: $(INSTALLED) $(RAN)
	@rm -rf $(BUILD)/html
	@echo "Building the pages, half a minute."
	jupyter-book build . --all -n --keep-going > $(BUILD)/pages.log 2>&1 || test -f $(BUILD)/html/index.html \
		|| { cat $(BUILD)/pages.log; exit 1; }
	@python -m tests.notebooks_report
	@echo "The book is at $(CURDIR)/$(BUILD)/html/index.html"

# Is strict: what make book lists, fails here.
test: units
	@rm -f $(RAN)
	@$(MAKE) --no-print-directory $(RAN)
	@test "$$(cat $(RAN))" = 0

units: $(TESTED)
	OMP_NUM_THREADS=1 python -m $(UNITS)

# With the oldest PyTorch and NumPy.
oldest: $(OLDEST)
	OMP_NUM_THREADS=1 $(BUILD)/oldest/$(BIN)/python -m $(UNITS)

# The notebooks as Colab runs them, in place of the run in our own environment: strict, and the book is built from it.
# COLAB_PYTHON is an interpreter that has what Colab has, in place of one with the versions on record.
colab: $(INSTALLED) $(if $(COLAB_PYTHON),,$(COLAB))
	@rm -rf $(RAN) $(BUILD)/.jupyter_cache $(BUILD)/notebooks.json
	@mkdir -p "$(IPYTHONDIR)"
	@run=$$(mktemp -d) && trap 'rm -rf "$$run"' EXIT && \
	echo "Making the environments of the notebooks and the data set, and trying one that must fail." && \
	OMP_NUM_THREADS=2 python -m tests.colab prepare "$$run" && \
	echo "Running the notebooks as Colab does, some 5 minutes on two cores; a line each." && { \
		export JUPYTER_PATH="$(CURDIR)/$(BUILD)/colab"; \
		$(RUN_NOTEBOOKS) --nbval-kernel-name=colab --nbval-root="$$run" "$$run/chapters"; \
		status=$$?; test $$status -le 1 && echo $$status > $(RAN); }
	@test "$$(cat $(RAN))" = 0

# The same in the image that Google publishes of Colab, some 15 GB, by its name, COLAB_IMAGE; needs Docker. There git must
# be told to trust the folder, which is another user's, and Python makes environments without pip.
colab-image:
	docker run --rm --entrypoint sh --volume "$(CURDIR):/book" --workdir /book \
		--env GIT_CONFIG_COUNT=1 --env GIT_CONFIG_KEY_0=safe.directory --env GIT_CONFIG_VALUE_0=/book \
		$(or $(COLAB_IMAGE),$(error Say which image: make colab-image COLAB_IMAGE=…)) -ec '\
		python3 -m venv --without-pip /tmp/venv; \
		python3 -m pip --python /tmp/venv install --quiet pip; \
		make colab VENV=/tmp/venv COLAB_PYTHON=$$(command -v python3)'

# The chapters on a GPU that is pretended, trainings cut short: does their code run on one, and wait for it?
pretend: $(INSTALLED)
	python -m tests.devices.run_chapters

# The chapters on other machines, and with other luck, as far as this one can play them: what they claim must hold on all.
# AGAIN=1 repeats what passed before.
everywhere: $(TESTED) $(OLDEST)
	python -m tests.everywhere $(if $(CHAPTERS),--chapters $(CHAPTERS)) $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

# What a machine with a GPU is asked for, in one go: the device tests, three chapters, the speed.
gpu:
	@if ! $(PYTHON) -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then \
		echo "There is no CUDA GPU here, so nothing was tried on one; make pretend tries a pretended one."; \
		exit 0; \
	fi; \
	status=0; \
	$(PYTHON) -m pytest -q tests/devices || status=1; \
	$(PYTHON) -m tests.devices.run_chapters $(foreach n,02 04 07,chapters/$(n)_*.ipynb) || status=1; \
	$(PYTHON) benchmarks/speed.py || status=1; \
	exit $$status

# The built site in a real browser: errors, accessibility, drawing by hand and by keyboard; and the figures in JupyterLab.
browser: $(TESTED) $(WIDGETS)
	@rm -rf $(BUILD)/wheel
	python -m pip install --quiet --no-deps --target $(BUILD)/wheel .
	python -m pytest -q tests/test_site.py
	python -m pytest -q -n 2 --dist loadgroup tests/test_browser.py tests/test_notebook_figures.py

# Chromium for these tests, where the system has none.
chromium: $(TESTED)
	python -m playwright install chromium

# Asks every address elsewhere that the built site links to.
links: $(INSTALLED)
	python book/_tools/links.py

# The chapters in JupyterLab.
lab: $(INSTALLED)
	jupyter lab chapters

serve:
	@echo "The book is at http://localhost:8000 (stop with Ctrl-C)"
	@$(PYTHON) -m http.server --directory $(BUILD)/html 8000

bench: $(TESTED)
	python benchmarks/speed.py
	python benchmarks/losses.py
	python benchmarks/against_easyfsl.py
	python benchmarks/backbones.py

# Notebooks and notes of all assignments. MASTERS is a private folder of them, KEY a file that holds the key of the course.
coursework: $(INSTALLED)
	python coursework/make.py $(if $(MASTERS),--masters "$(MASTERS)") $(if $(KEY),--key "$(KEY)")

lint: $(TESTED)
	ruff check .
	mypy

address: $(INSTALLED)
	python book/_ext/address.py
	python book/_tools/exercises.py

# A version that a course can hold on to: make release VERSION=0.2.0
release: $(INSTALLED) $(COLAB)
	@python book/_tools/release.py "$(VERSION)"

clean:
	rm -rf $(BUILD)

# With the oldest versions that pyproject.toml admits; make everywhere leaves out what needs them, if they cannot be had.
$(OLDEST): pyproject.toml | $(INSTALLED)
	@echo "Installing the oldest PyTorch and NumPy that the package admits, some minutes."
	$(PYTHON) -m venv $(BUILD)/oldest
	-$(BUILD)/oldest/$(BIN)/python -m pip install --quiet $$(python -m tests.everywhere --oldest) -e ".[book,test]"
	@touch $@

# The widgets of Colab, beside everything else.
$(WIDGETS): pyproject.toml | $(INSTALLED)
	python -m pip install --quiet --no-deps --upgrade --target $@ $$(python -c \
		"import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['tool']['fslib']['colab-widgets'])")
	@touch $@

$(INSTALLED): pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the book needs, some minutes."
	python -m pip install --quiet -e ".[book]"
	@touch $@

# What the tests need beside: other libraries that compute the same, and a browser's driver.
$(TESTED): pyproject.toml | $(INSTALLED)
	@echo "Installing what the tests need, a minute."
	python -m pip install --quiet -e ".[test,oracles]"
	@touch $@

# What Colab has of the packages that notebooks import, and nothing of ours.
$(COLAB): pyproject.toml | $(INSTALLED)
	@echo "Installing what Colab has, some minutes."
	@rm -rf $(BUILD)/colab/env
	$(PYTHON) -m venv $(BUILD)/colab/env
	$(BUILD)/colab/env/$(BIN)/python -m pip install --quiet $$(python -c \
		"import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['tool']['fslib']['colab'])")
	@touch $@

# Each notebook runs once, as a test; the book is built from that run. The cache does not see the
# package, so it goes when anything changed.
$(RAN): $(INSTALLED) $(SOURCES)
	@rm -rf $@ $(BUILD)/.jupyter_cache $(BUILD)/notebooks.json
	@mkdir -p "$(IPYTHONDIR)"
	@echo "Making the data set of the book, once, some 20 seconds."
	@OMP_NUM_THREADS=2 python -c "from fslib import data; data.load('glyphs')"
	@echo "Running the notebooks, some 3 minutes on two cores; a line each."
	@$(RUN_NOTEBOOKS) chapters; status=$$?; test $$status -le 1 && echo $$status > $@
