# Two commands do everything:   make demo   make test
# make PYTHON=python3.12 …      another Python (3.10 to 3.14)
# make demo DEMO=train_HAT_demo_SRx4      a smaller HAT from scratch, in place of fine-tuning the one in the package
# make TORCH_INDEX=https://download.pytorch.org/whl/cpu …      torch without CUDA: a far smaller download

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
DEMO ?= train_HAT_demo_SRx4_finetune

.PHONY: demo test docs install clean

demo: $(VENV)/.installed
	$(BIN)/basicsr data demo
	$(BIN)/basicsr train -opt $(DEMO) --auto_resume
	$(BIN)/basicsr report -opt $(DEMO)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The book, in site/: open site/index.html, or read it while you write: .venv/bin/mkdocs serve
docs: $(VENV)/.installed-docs
	$(BIN)/python docs/tools/reference.py
	$(BIN)/mkdocs build --strict

install: $(VENV)/.installed

# basicsr asks for torch to build itself. Without isolation it is built beside the torch that is there already.
$(VENV)/.installed: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v < (3, 15) else f"hat_arch needs Python 3.10 to 3.14, and {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip setuptools
	$(PIP) torch torchvision $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	PYTHONPATH="$$PWD/build_support" $(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build site *.egg-info
