# Everything runs from .venv; `make install` makes it, every other target needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install check test test-ray demo clean
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "p2prec needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev -e '.[swarm,results,simulator]'
	@touch $(STAMP)

check: $(STAMP)
	$(BIN)/ruff check p2prec topology peers tests scenarios
	$(BIN)/ruff format --check p2prec topology peers tests scenarios
	$(BIN)/lint-imports
	$(BIN)/mypy

test: $(STAMP) check
	$(BIN)/pytest tests -n 2 --dist loadgroup

# Apart from the others: Ray takes 240 MB.
test-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/pytest tests/e2e/test_simulate.py tests/sim/test_simulation.py -k ray

demo: $(STAMP)
	$(BIN)/p2prec demo

clean:
	rm -rf $(VENV) results .pytest_cache .mypy_cache .ruff_cache
