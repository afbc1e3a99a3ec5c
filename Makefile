# `make demo` and `make test` do all their set-up themselves, inside .venv; nothing is installed globally, but chromium by root.

BIN := .venv/bin
DEMO_TASK ?= examples/support-routing/task.yaml
DEMO_MODEL ?= qwen2.5-coder-1.5b-instruct
TEST_MODEL := smollm2-135m-instruct
# What the numbers, the chats and the memory of llama.cpp are held to; the rest does not know which one is there.
ENGINE_TESTS := tests/integration tests/real tests/unit/test_gguf.py
# For example: make test PYTEST_ARGS='-m "not real"'
PYTEST_ARGS ?=
# For example: make bench-engine ARGS='--model my.gguf'
ARGS ?=
# For example: make demo GPU=cuda (or metal, rocm, vulkan); llama.cpp is then built for it, and uses it from then on
GPU ?=

.PHONY: help demo test test-outside test-newest test-vulkan coverage check lint format types setup setup-dev setup-outside bench-engine bench-peers bench-induction bench-methods bench-classification clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

demo: setup  ## find a better prompt than a hand-written one for an example task, on a real model, in three minutes
	@$(BIN)/localprompt models pull $(DEMO_MODEL)
	$(BIN)/localprompt optimize $(DEMO_TASK) --model $(DEMO_MODEL) --max-minutes 3 $(ARGS)

test: check  ## everything that must hold: format, lint, layers, types, tests
	@$(BIN)/localprompt models pull $(TEST_MODEL)
	$(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-outside: setup-dev setup-outside  ## exported prompts in the programs that take them: llama.cpp's server, DSPy, LangChain, lm-eval, promptfoo
	@$(BIN)/localprompt models pull $(TEST_MODEL)
	$(BIN)/pytest tests/outside $(PYTEST_ARGS)

test-vulkan:  ## scores with all layers on Mesa's software GPU against the CPU's, built apart (up to an hour, once)
	@bash scripts/vulkan_software.sh $(PYTEST_ARGS)

test-newest:  ## the engine's tests with the newest llama-cpp-python, in an environment of its own beside the pinned one
	@bash scripts/setup.sh --newest
	.venv-newest/bin/localprompt models pull $(TEST_MODEL)
	.venv-newest/bin/pytest $(ENGINE_TESTS) $(PYTEST_ARGS)

coverage: setup-dev  ## which lines and branches the tests leave out; twice as slow
	$(BIN)/pytest --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

check: lint types  ## what needs no model

lint: setup-dev  ## ruff and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: setup-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup-dev  ## mypy, strict
	$(BIN)/mypy

bench-engine: setup-dev  ## unique tokens per second against plain prefill
	$(BIN)/python benchmarks/engine_rate.py $(ARGS)

bench-peers: setup-dev  ## prompts scored per second against other ways to do it
	$(BIN)/python benchmarks/peers.py $(ARGS)

bench-induction: setup-dev  ## APE against empty and hand-written instructions
	$(BIN)/python benchmarks/induction.py $(ARGS)

bench-methods: setup-dev  ## all methods with the same budget: ARGS="DATA --tasks antonyms --seeds 1"
	$(BIN)/python benchmarks/methods.py $(ARGS)

bench-classification: setup-dev  ## all methods against what people have: ARGS="DATA --json FILE --store FILE"
	$(BIN)/python benchmarks/classification.py $(ARGS)

setup: .venv/.installed$(if $(GPU),-for-$(GPU))  ## the environment to use localprompt

setup-dev: .venv/.installed-dev  ## the environment to work on it

setup-outside: .venv-outside/.installed  ## the environment of the programs outside

# The stamps are the newest files of a finished installation: a second `make` starts at once.
.venv/.installed: pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh
	@touch $@

.venv/.installed-for-$(GPU): pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh --gpu $(GPU)
	@touch .venv/.installed $@

.venv/.installed-dev: .venv/.installed
	@bash scripts/setup.sh --dev
	@touch $@

.venv-outside/.installed: pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh --outside
	@touch $@

clean:  ## remove the environment and the tools' caches; models stay
	rm -rf .venv .venv-outside .venv-newest .venv-vulkan .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
