# Five jobs, each installs what it needs and says so.  Details: noxfile.py.

.PHONY: walk test lint bench docs
.NOTPARALLEL:

NOX = .cache/bootstrap/bin/nox --reuse-venv=yes

# From an empty machine to Redis answering in a pod.
walk:
	@tools/setup.sh venv debian-walk
	@.venv/bin/rundlet walk

# The pages; then every test: pure ones here, the others inside throw-away nodes, then Kubernetes' conformance suite.
test:
	@tools/setup.sh bootstrap debian-test
	@$(NOX) -s docs crictl unit kernel conformance

lint:
	@tools/setup.sh bootstrap
	@$(NOX) -s lint types imports

# Every figure beside its peers, and docs/performance.md made of them; some 20 minutes.
bench:
	@tools/setup.sh venv debian-test
	@.venv/bin/python -m benchmarks

# Checks the pages and makes the site of them in .cache/site; a warning is an error.
docs:
	@tools/setup.sh bootstrap
	@$(NOX) -s docs
