# Two commands on a fresh machine: `make demo` and `make test`. Each sets up .venv by itself, once.
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

.PHONY: help demo test check format bench clean
.DEFAULT_GOAL := help

help:            ## what can be made
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml constraints.txt scripts/install
	scripts/install $(VENV)
	@touch $@

demo: $(VENV)/.installed  ## set up, grow a small model and run the whole story on it (about 5 minutes on 2 cores)
	$(BIN)/ontogeny demo --no-serve

test: $(VENV)/.installed  ## set up and run every test
	scripts/browser
	$(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.installed ## format, lint and types; never fixes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p ontogeny

format: $(VENV)/.installed ## what `check` would complain of and a machine can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## ours against the floors and the peers; `make bench ARGS=--full` for the long form
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:           ## drop the environment and caches; workspaces stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
