# These targets do all the set-up on a machine that has Python (3.11 or newer), pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SET_UP := pyproject.toml constraints.txt

.PHONY: help demo test docs clean

help:
	@echo "make demo    train, evaluate and predict on rendered scenes; writes demo/report.html"
	@echo "make test    lint, types, tests"
	@echo "make docs    the documentation as a site, in site/"
	@echo "make clean   remove what they made"

demo: $(VENV)/.installed
	$(BIN)/memorysam demo --out demo

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open site/index.html; nothing on it needs a server or a network"

clean:
	rm -rf $(VENV) demo site

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("memorysam needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SET_UP) | $(BIN)/python
	@echo "installing into $(VENV); with PyTorch this takes minutes"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: $(SET_UP) | $(BIN)/python
	@echo "installing into $(VENV); with PyTorch this takes minutes"
	$(INSTALL) --editable '.[test,browser]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: $(SET_UP) | $(BIN)/python
	@echo "installing into $(VENV); with PyTorch this takes minutes"
	$(INSTALL) --editable '.[docs]'
	@touch $@ $(VENV)/.installed
