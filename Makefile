bench:
	python benchmarks/train_speed.py --output=benchmarks/results/train_speed

test:
	python -m pytest -q tests

lint:
	ruff check .

.PHONY: bench test lint
