# Two commands do everything: `make demo` and `make test`. Both set up what they need.
VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN     = $(VENV)/bin

.PHONY: demo test prove lint smoke docs install clean

demo: install
	$(BIN)/edgepose compress --recipe recipes/resnet18_5mb.yaml
	$(BIN)/edgepose bench --target host

test: install lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --ignore tests/slow --durations 20

# Minutes, not seconds: a network that learns 64 pictures by heart, and runs that are killed.
prove: install
	$(BIN)/pytest tests/slow -rs --durations 10

lint: install
	$(BIN)/ruff check edgepose tests benchmarks docs
	$(BIN)/ruff format --check edgepose tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: install
	$(BIN)/edgepose compress --recipe recipes/smoke.yaml
	$(BIN)/edgepose bench --target host --quick

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo build/site/index.html

install: $(VENV)/.installed

# torch first and pinned: a range would pull gigabytes of CUDA packages on a machine without torch.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgepose needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
