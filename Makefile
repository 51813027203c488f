# EPUFS. `make help` lists the targets. Your own settings go into config.mak (not in git), such as
# DEVELOPER=1 (warnings are errors) or CC=clang.
-include config.mak

VERSION   := 0.1.0
SOVERSION := 0

CC        ?= cc
PYTHON    ?= /usr/bin/python3
SUDO      ?= $(if $(filter 0,$(shell id -u)),,sudo)
CFLAGS    ?= -O2 -g
PREFIX    ?= /usr/local
LIBDIR    ?= $(PREFIX)/lib
COMMA     := ,
B         ?= build$(if $(SANITIZE),-$(firstword $(subst $(COMMA), ,$(SANITIZE))))
Q         := $(if $(V),,@)
say        = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(2)')

WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wundef -Wwrite-strings -Wpointer-arith \
        -Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough \
        $(if $(DEVELOPER),-Werror)
FORTIFY   ?= $(if $(SANITIZE),0,2)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -D_FORTIFY_SOURCE=$(FORTIFY) -DEPUFS_VERSION='"$(VERSION)"' \
             -I. -Iinclude -MMD -MP -fPIC -fvisibility=hidden -fstack-protector-strong -pthread \
             -fno-omit-frame-pointer $(WARN) $(CFLAGS) \
             $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
ALL_LDFLAGS = -pthread $(LDFLAGS) -Wl,-z,relro,-z,now \
              $(if $(SANITIZE),-fsanitize=$(SANITIZE))

# What each room links with. Only these rooms may use these libraries (see tests/layering).
STORE_LIBS   := -lcurl -lcrypto -lexpat -ljansson -lisal -lzstd
EPUFS_LIBS   := -ljansson -lcrypto
SERVICE_LIBS := -ljansson
COMPUTE_LIBS := -lcurl -ljansson -lcrypto
JANITOR_LIBS := -lrdkafka -lhiredis -lssl -lcrypto

src         = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c)))
obj         = $(patsubst %.c,$(B)/obj/%.o,$(1))
BASE_OBJ    := $(call obj,$(call src,base))
HTTP_OBJ    := $(call obj,$(call src,http))
STORE_OBJ   := $(call obj,$(call src,libstore libstore/s3 libstore/file))
EPUFS_OBJ   := $(call obj,$(call src,epufs))
SERVICE_OBJ := $(call obj,$(call src,service))
LIBS        := $(B)/service.a $(B)/epufs.a $(B)/store.a $(B)/http.a $(B)/base.a
ALL_LIBS    := $(SERVICE_LIBS) $(EPUFS_LIBS) $(STORE_LIBS)
PROGRAMS    := $(B)/bin/epufs-reader $(B)/bin/epufs-writer $(B)/bin/epufs-janitor $(B)/bin/epufs-compute \
               $(B)/bin/storectl
DEV_TOOLS   := $(B)/bin/devbroker $(B)/bin/store-conformance
TEST_TOOLS  := $(B)/bin/folder-kill $(B)/bin/folder-faults $(B)/bin/s3-faults \
               $(B)/bin/late-put
SANITIZER   := $(firstword $(foreach s,address thread memory,$(findstring $(s),$(SANITIZE))))
FAKESTORE_OBJ := $(call obj,$(addprefix bench/,fakestore.c fake_http.c fake_keys.c fake_small.c))
# A program's modules without its main.c: unit tests link them.
JANITOR_MODULES := $(call obj,$(filter-out janitor/main.c,$(call src,janitor)))
READER_MODULES  := $(call obj,$(filter-out reader/main.c,$(call src,reader)))
WRITER_MODULES  := $(call obj,$(filter-out writer/main.c,$(call src,writer)))
STORECTL_MODULES := $(call obj,$(filter-out storectl/main.c,$(call src,storectl)))
COMPUTE_MODULES := $(call obj,$(filter-out compute/main.c,$(call src,compute)))
FUZZ        := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
UNIT        := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c)) \
               $(FUZZ:%=$(B)/unit/test_fuzz_%)
# Every folder with C in it.
ROOMS       := base http libstore libstore/s3 libstore/file epufs service reader writer janitor storectl compute \
               examples bench tests/unit tests/fuzz tests/tools tests/conformance
HEADERS     := $(wildcard include/store/*.h $(ROOMS:%=%/*.h))
SOURCES     := $(wildcard $(ROOMS:%=%/*.c))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: programs lib ## Build the programs and libstore
programs: $(PROGRAMS)
lib: $(B)/libstore.a $(B)/libstore.so.$(SOVERSION)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

define archive
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^
endef
$(B)/base.a: $(BASE_OBJ) ; $(archive)
$(B)/http.a: $(HTTP_OBJ) ; $(archive)
$(B)/store.a: $(STORE_OBJ) ; $(archive)
$(B)/epufs.a: $(EPUFS_OBJ) ; $(archive)
$(B)/service.a: $(SERVICE_OBJ) ; $(archive)

# libstore for others: only store_* is visible, in the archive too.
$(B)/libstore.a: $(STORE_OBJ) $(HTTP_OBJ) $(BASE_OBJ)
	$(call say,AR,$@)
	$(Q)ld -r -o $(B)/libstore-all.o $^ && \
	    objcopy --localize-hidden $(B)/libstore-all.o && \
	    rm -f $@ && ar rcs $@ $(B)/libstore-all.o
$(B)/libstore.so.$(SOVERSION): $(STORE_OBJ) $(HTTP_OBJ) $(BASE_OBJ) libstore/libstore.map
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libstore.so.$(SOVERSION) -Wl,--as-needed \
	    -Wl,--version-script=libstore/libstore.map -o $@ $(filter %.o,$^) $(STORE_LIBS)

define link
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ALL_LIBS)
endef
$(B)/bin/epufs-reader: $(B)/obj/reader/main.o $(READER_MODULES) $(LIBS) ; $(link)
$(B)/bin/epufs-writer: $(B)/obj/writer/main.o $(WRITER_MODULES) $(LIBS) ; $(link)
$(B)/bin/epufs-janitor: $(B)/obj/janitor/main.o $(JANITOR_MODULES) $(LIBS) ; $(link) $(JANITOR_LIBS)
# Of libstore it has the error type alone.
$(B)/bin/epufs-compute: $(B)/obj/compute/main.o $(COMPUTE_MODULES) $(B)/obj/libstore/error.o \
                        $(B)/obj/epufs/scope.o $(B)/base.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(COMPUTE_LIBS)
$(B)/bin/storectl: $(B)/obj/storectl/main.o $(STORECTL_MODULES) $(B)/store.a $(B)/http.a $(B)/base.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(STORE_LIBS)
$(B)/bin/devbroker: $(B)/obj/tests/tools/devbroker.o ; $(link) -lrdkafka
# These take the store's objects, not the library, and disturb their calls: see faultline.h.
# Its malloc() is called before a sanitizer is ready, so that it is not to be instrumented.
$(B)/obj/tests/tools/faultline.o: CFLAGS += $(if $(SANITIZER),-DSANITIZER_$(SANITIZER))
$(B)/obj/tests/tools/faultline.o: override SANITIZE :=
tool         = $(patsubst %,$(B)/obj/tests/tools/%.o,$(1) faultline torture)
$(B)/bin/folder-kill: $(call tool,folder_kill folder_model) $(B)/store.a $(B)/http.a $(B)/base.a ; $(link)
$(B)/bin/folder-faults: $(call tool,folder_faults folder_model) $(B)/store.a $(B)/http.a $(B)/base.a ; $(link)
$(B)/bin/s3-faults: $(call tool,s3_faults s3_model fake_s3) $(B)/store.a $(B)/http.a $(B)/base.a ; $(link)
$(B)/bin/late-put: $(B)/obj/tests/tools/late_put.o $(B)/store.a $(B)/http.a $(B)/base.a ; $(link)
# With the archive that others link: it sees the public interface only.
$(B)/bin/store-conformance: ALL_LIBS := $(STORE_LIBS)
$(B)/bin/store-conformance: $(call obj,$(call src,tests/conformance)) $(B)/libstore.a ; $(link)
$(B)/bench/%: $(B)/obj/bench/%.o $(B)/obj/bench/program.o $(LIBS) ; $(link)
$(B)/bench/fakestore: $(FAKESTORE_OBJ) $(LIBS)
	$(link)
$(B)/bench/consume: ALL_LIBS += -lrdkafka
$(B)/bench/parse: ALL_LIBS += -lhttp_parser

# The same files that tests/integration/test_install.py builds against an installed libstore.
EXAMPLES := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
examples: $(EXAMPLES) ## Build the example programs of libstore
$(B)/examples/%: $(B)/obj/examples/%.o $(B)/libstore.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(STORE_LIBS)

tools: $(DEV_TOOLS) ## Build the development broker and the conformance suite
test-tools: $(TEST_TOOLS)

# ---- Tests ----
$(B)/unit/%: $(B)/obj/tests/unit/%.o $(JANITOR_MODULES) $(READER_MODULES) $(WRITER_MODULES) \
            $(STORECTL_MODULES) $(COMPUTE_MODULES) $(LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ALL_LIBS) $(JANITOR_LIBS) -lcmocka
# What the fuzz targets found before is replayed in the unit tests, with any compiler.
$(B)/unit/test_fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/unit/fuzz_replay.o $(LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ALL_LIBS) -lcmocka
$(B)/unit/test_fake_keys: $(B)/obj/bench/fake_keys.o
$(B)/unit/test_fake_small: $(B)/obj/bench/fake_small.o $(B)/obj/bench/fake_keys.o
$(B)/unit/test_fuzz_untar $(B)/fuzz/untar: $(B)/obj/compute/untar.o
$(B)/unit/test_s3_tls: ALL_LIBS += -lssl
# Time, queue and ledger of these are the tests' own: see tests/unit/janitor_fixture.h.
JANITOR_TESTS := $(patsubst %,$(B)/unit/test_%,steps crash sweep accept unfenced scan)
TAKEN_OVER    := clock_mono_ms clock_real_ms clock_real_s epoll_wait nanosleep getrandom log_event \
                 pulse_since_s pulse_store_now_s schedule_add \
                 queue_done queue_abandon queue_status queue_publish \
                 ledger_claim ledger_save ledger_release ledger_finish ledger_drop ledger_get
$(JANITOR_TESTS): ALL_LIBS += $(TAKEN_OVER:%=-Wl$(COMMA)--wrap=%)
unit: $(UNIT) ## Build and run the unit tests; T=name for one
	$(Q)for t in $(if $(T),$(B)/unit/test_$(T),$(UNIT)); do $$t || exit 1; done

# All the rest needs servers; tests/run starts them. `make test` is the whole: it installs what is
# missing on a fresh Debian 12, builds, and runs everything.
test-deps:
	$(Q)deploy/install-deps build demo test s3 versitygw kafka postgres
test: ## Install what is missing, build, run all tests (SANITIZE=address,undefined too)
	$(Q)$(MAKE) --no-print-directory test-deps
	$(Q)$(MAKE) --no-print-directory -j2 programs tools test-tools lib examples unit-programs
	$(Q)$(PYTHON) tests/run $(B) $(if $(SANITIZE),--sanitized)
check: ## Run the unit tests only; T="name name" for some; no network, no root
	$(Q)$(MAKE) --no-print-directory $(if $(T),$(patsubst %,$(B)/unit/test_%,$(T)),unit-programs)
	$(Q)$(PYTHON) tests/run $(B) --unit $(T)
unit-programs: $(UNIT)
# The tests that are marked so, at full size. A failure's log names a seed: EPUFS_SEED repeats its
# moments. T= is pytest's -k.
ROUNDS ?= 200
KEYS   ?= 100000
soak: programs tools ## Fault tests at full size: ROUNDS (200), KEYS (100000); T="word", EPUFS_SEED=
	$(Q)EPUFS_BIN=$(abspath $(B))/bin EPUFS_ROUNDS=$(ROUNDS) EPUFS_KEYS=$(KEYS) EPUFS_JOBS=1000 \
	    EPUFS_SECONDS=120 $(PYTHON) -m pytest -q -s --durations=0 --durations-min=5 -m soak \
	    tests/faults $(if $(T),-k '$(T)')

# ---- The model ----
model: ## Check the deletion protocol's model, and that it can fail: docs/model; T="NAME …" for some
	$(Q)deploy/install-deps model
	$(Q)$(PYTHON) docs/model/run $(B)/model $(T)

# ---- Fuzzing ----
# tests/fuzz/fuzz_NAME.c is a target, tests/fuzz/corpus/NAME what it starts from. What a run learns
# stays in the build's folder until `make fuzz-keep` brings the least that covers all of it into git.
FUZZ_SECONDS ?= 60
FUZZ_MAKE     = $(MAKE) -s --no-print-directory -j2 B=$(B)-fuzz CC=clang DEVELOPER= \
                CFLAGS='-O1 -g' SANITIZE=fuzzer-no-link,address,undefined fuzz-programs
$(B)/fuzz/%: $(B)/obj/tests/fuzz/fuzz_%.o $(LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ALL_LIBS)
# The second parser.
$(B)/fuzz/http_differential $(B)/unit/test_fuzz_http_differential: ALL_LIBS += -lhttp_parser
fuzz-programs: $(FUZZ:%=$(B)/fuzz/%)
fuzz: ## Fuzz each parser for FUZZ_SECONDS (60); T="name name" for some
	$(Q)deploy/install-deps build fuzz
	$(Q)$(FUZZ_MAKE)
	$(Q)$(PYTHON) tests/fuzz/run $(B)-fuzz/fuzz --seconds $(FUZZ_SECONDS) $(if $(T),$(T),$(FUZZ))
fuzz-keep: ## Bring what `make fuzz` learned into tests/fuzz/corpus
	$(Q)$(PYTHON) tests/fuzz/run $(B)-fuzz/fuzz --keep $(if $(T),$(T),$(FUZZ))

# ---- Coverage ----
# Of what decides and signs all lines and nearly all branches must be tested; of the rest it is shown.
# MISSING=1 lists what no test reaches. Without asserts, whose failing is not to be reached.
COVER_MUST   := libstore/s3/sigv4.c $(wildcard http/*.c libstore/s3/xml*.c) libstore/key.c libstore/retry.c
COVER_SHOW   := $(wildcard libstore/s3/url.c libstore/gate.c libstore/health.c)
COVER_TESTS  := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_sigv4*.c \
                  tests/unit/test_xml*.c tests/unit/test_http_*.c $(patsubst %,tests/unit/test_%.c,key retry url gate health)))
cover: ## Measure coverage of http, sigv4, xml, key, retry; MISSING=1
	$(Q)deploy/install-deps build test
	$(Q)$(MAKE) -s --no-print-directory -j2 B=$(B)-cover CFLAGS='-O0 -g --coverage -DNDEBUG' \
	    LDFLAGS=--coverage FORTIFY=0 SANITIZE= $(COVER_TESTS:%=$(B)-cover/unit/test_%)
	$(Q)$(PYTHON) tests/cover $(B)-cover --tests $(COVER_TESTS) --must $(COVER_MUST) \
	    --show $(COVER_SHOW) $(if $(MISSING),--missing)
conformance: $(B)/bin/store-conformance ## Judge a store by include/store; STORE_URL=…, FILTER='get/*'
	$(Q)$(B)/bin/store-conformance $(if $(STORE_URL),'$(STORE_URL)') $(if $(FILTER),--filter '$(FILTER)')

# ---- Mutants ----
# tests/mutants/*.toml break the code in chosen places: a test has to notice each.
mutants: ## Check that tests notice deliberate faults; CHANGED=1, T="id id" for some
	$(Q)deploy/install-deps build demo test
	$(Q)$(PYTHON) tests/mutants/run $(B)-mutants $(if $(CHANGED),--changed) $(T)
mutants-check: ## Check that tests/mutants/*.toml fit the code
	$(Q)$(PYTHON) tests/mutants/run --check

# ---- The stack for people: docs/devstack.md ----
# STORE=s3 takes Ceph RGW and Apache Kafka. Where Kafka's packages cannot be had, devstack says what
# takes its place. TRUSTED_KEYS, READER_OPTS, WRITER_OPTS and JANITOR_OPTS reach it by environment.
STACK = EPUFS_BIN=$(abspath $(B))/bin PYTHONPATH=tests $(PYTHON)
DEMO_S3 = $(or $(filter s3,$(STORE)),$(POSTGRES))
stack-deps:
	$(Q)deploy/install-deps build demo $(if $(DEMO_S3),s3) $(if $(POSTGRES),postgres)
	$(if $(DEMO_S3),$(if $(filter mock,$(EPUFS_BROKER)),,-$(Q)deploy/install-deps kafka))
	$(Q)$(MAKE) $(if $(V),,-s) --no-print-directory -j2 programs tools
demo: stack-deps ## Play the main job on real input and check it; STORE=s3; POSTGRES=1: a warm restart
	$(Q)$(STACK) -m demo $(if $(STORE),--store $(STORE)) $(if $(POSTGRES),--postgres)
run: stack-deps ## Start the stack and leave it up; STORE=s3, TRUSTED_KEYS=dir, READER_OPTS= …
	$(Q)$(STACK) -m devstack up $(if $(STORE),--store $(STORE))
stop: ## Stop what `make run` started
	$(Q)$(STACK) -m devstack down
deps: ## Install what building, make demo and make run need
	$(Q)deploy/install-deps build demo
fixtures: ## Make the PostgreSQL files of tests/fixtures anew
	$(Q)deploy/make-fixtures

# ---- Bench: docs/bench.md ----
# In a folder of its own, so that it never measures a debug or sanitizer build. QUICK=1 is a trial,
# BENCH=reader, deletion, million, endpoints, beside, burst, duplicates, compute or parser one part,
# BENCH_OBJECTS=N what deletion, million and beside remove.
BENCH_PROGRAMS = $(addprefix $(B)-bench/bench/,objects endpoints consume fakestore parse)
bench: ## Measure reader and janitor against peers and ceilings, as ratios; QUICK=1, BENCH=part
	$(Q)deploy/install-deps build demo s3 kafka bench
	$(Q)$(MAKE) -s --no-print-directory -j2 B=$(B)-bench CFLAGS='-O2 -g' SANITIZE= \
	    programs tools $(BENCH_PROGRAMS)
	$(Q)EPUFS_BIN=$(abspath $(B)-bench)/bin PYTHONPATH=tests:. $(PYTHON) -m bench \
	    --programs $(B)-bench/bench $(if $(QUICK),--quick) $(if $(BENCH),--only $(BENCH)) \
	    $(if $(BENCH_OBJECTS),--objects $(BENCH_OBJECTS))
# BENCH=delete, throttle, memory, transfer or tls: one part. Measures storectl where it is built,
# otherwise bench/objects, which does the same through libstore.
BENCH_TOOLS = $(addprefix $(B)-bench/bench/,objects fakestore transfer transfer_curl transfer_raw)
bench-store: ## Measure libstore against other S3 tools, curl and bare sockets, as ratios; QUICK=1
	$(Q)deploy/install-deps build demo s3 versitygw bench-store
	$(Q)PYTHON=$(PYTHON) bench/install-tools $${EPUFS_CACHE:-$$HOME/.cache/epufs}
	$(Q)$(MAKE) -s --no-print-directory -j2 B=$(B)-bench CFLAGS='-O2 -g' SANITIZE= \
	    $(BENCH_TOOLS) $(if $(wildcard storectl),$(B)-bench/bin/storectl)
	$(Q)EPUFS_BIN=$(abspath $(B)-bench)/bin PYTHONPATH=tests:. $(PYTHON) -m bench.store \
	    --programs $(B)-bench/bench $(if $(QUICK),--quick) $(if $(BENCH),--only $(BENCH)) \
	    $(if $(BENCH_OBJECTS),--objects $(BENCH_OBJECTS))

# ---- The manual's tables ----
docs: programs ## Write docs/config.md anew from the programs' option tables
	$(Q)docs/make-config $(B)/bin > $(B)/config.md
	$(Q)cmp -s $(B)/config.md docs/config.md || cp $(B)/config.md docs/config.md
docs-check: programs ## Check that docs/config.md is current
	$(Q)docs/make-config $(B)/bin | diff -u docs/config.md - || \
	    { echo "docs/config.md is not current: make docs"; exit 1; }

# ---- Installing ----
install: all ## Install programs and libstore; DESTDIR, PREFIX, LIBDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/store
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 include/store/*.h $(DESTDIR)$(PREFIX)/include/store
	install -m 644 $(B)/libstore.a $(DESTDIR)$(LIBDIR)
	install -m 755 $(B)/libstore.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)
	ln -sf libstore.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libstore.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@LIBS@|$(STORE_LIBS)|' \
	    libstore/libstore.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libstore.pc

.PHONY: all programs lib examples tools test-tools lint tidy format format-check layering shell-check unit unit-programs test test-deps check conformance install help clean hdr-check \
        stack-deps demo run stop deps fixtures bench bench-store docs docs-check fuzz fuzz-programs fuzz-keep cover \
        mutants mutants-check model soak
help: ## Show this
	@grep -hE '^[a-zA-Z_-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 16

# ---- Lint ----
# The analyzer takes a second or two a file; a file is looked at again when it or a header changed.
LINT_C       := $(filter-out tests/unit/% tests/fuzz/%,$(SOURCES))
LINT_SCRIPTS := $(shell grep -lE '^\#!.*sh$$' .ci/* bench/* deploy/* deploy/*/* docs/* tests/* 2>/dev/null)
TIDY_FLAGS   := -std=c11 -D_GNU_SOURCE -DEPUFS_VERSION='"$(VERSION)"' -I. -Iinclude
lint: ## Check format, layering, headers, scripts, docs/config.md, and what clang-tidy finds
	$(Q)deploy/install-deps build test lint
	$(Q)$(MAKE) --no-print-directory -j2 format-check layering mutants-check shell-check hdr-check \
	    tidy docs-check
tidy: $(patsubst %.c,$(B)/lint/%.tidy,$(LINT_C))
$(B)/lint/%.tidy: %.c $(HEADERS) .clang-tidy tests/lint/analyzer.h
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)clang-tidy --quiet $< -- $(TIDY_FLAGS) \
	    $(if $(filter libstore/error.c,$<),,-include tests/lint/analyzer.h) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
format: ## Bring the C files into form
	$(Q)clang-format -i $(SOURCES) $(HEADERS)
format-check:
	$(Q)clang-format --dry-run -Werror $(SOURCES) $(HEADERS)
layering: ## Check who includes whom
	$(Q)$(PYTHON) tests/lint/layering
shell-check:
	$(Q)shellcheck $(LINT_SCRIPTS)
hdr-check: ## Check that every header compiles alone
	$(Q)for h in $(HEADERS); do \
	    echo "#include \"$$h\"" | $(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -Wno-unused-macros -x c -fsyntax-only - \
	        || { echo "$$h does not compile alone"; exit 1; }; done

clean: ## Remove what was built
	$(Q)rm -rf build build-*

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
