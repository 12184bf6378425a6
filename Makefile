# Everything a fresh machine needs is python3 with pip, and make.
SHELL := /bin/sh
BIN := .venv/bin
PORT ?=
SEED ?= 1
SIZE ?= 1
ARGS ?=

.PHONY: help install run test check lint bench torture wheel screenshots lock golden clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

install: ## Install everything run, test and wheel need into .venv
	@sh scripts/bootstrap.sh test

run: ## Install what is needed and start the console on http://127.0.0.1:8080
	@sh scripts/bootstrap.sh run && exec $(BIN)/storage-console up $(if $(PORT),--port $(PORT))

lint: ## Lint, format check, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

check: lint ## Lint and the fast tests, in seconds
	$(BIN)/python -m pytest -q tests/unit $(ARGS)

test: ## Install everything, lint, then every test, in a real browser and against real servers
	@sh scripts/bootstrap.sh test
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

bench: install ## Run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

torture: install ## Run the long fault and property campaigns: make torture SEED=7 SIZE=3
	SEED=$(SEED) SIZE=$(SIZE) $(BIN)/python -m pytest -m torture --timeout=0 $(ARGS)

wheel: ## Build the wheel, with the frontend inside, into dist/
	@sh scripts/bootstrap.sh wheel
	@ls -l dist/*.whl

screenshots: install ## Photograph every page
	$(BIN)/python scripts/screenshots.py

lock: ## Resolve the dependencies again into requirements/
	@sh scripts/bootstrap.sh lock

golden: ## Write the golden files again; read the diff before committing
	GOLDEN=refresh $(BIN)/python -m pytest -q tests/unit/test_golden.py

clean: ## Remove what the other targets made, except .venv
	rm -rf .web .web.lock storage_console/_frontend storage_console/_frontend.new dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
