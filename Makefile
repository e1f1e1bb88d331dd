# make demo   shows the main job on a real container (HOST=1: on this machine, without a guest)
# make test   sets up what is missing and runs the tests, those in guests included, and prints where the time went and what it left out
# make test-all  the same, with every test in every guest, on kernels that boot as machines' do, and the long runs
# make bench  measures, and prints a report of ratios (ONLY=shim,ctr: these parts; OLD=directory: beside an older build's programs)
# make lint   gofmt, go vet, staticcheck, and no function with more than 20 branches (gocyclo)
# make images  the container image of the DaemonSet, for amd64 and arm64, as bin/images/oci-apparmor.tar (IMAGE=NAME:TAG, PUSH=1)
# make install, make uninstall   the programs, their man pages and completions, and the units for systemd (PREFIX=/usr/local, DESTDIR=)
# make deb rpm   packages of the same, below bin/packages (GOARCH=: for another architecture)
GO ?= go
export CGO_ENABLED = 0
# What the programs print for --version. Without it they print the version of the module.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X github.com/oci-apparmor/oci-apparmor/hook/version.set=$(VERSION))
# no_grpc: containerd's shim talks ttrpc, and grpc would make up half of it.
TAGS := no_grpc
PROGRAMS := hook/oci-apparmor-hook shim/oci-apparmor-runtime shim/containerd-shim-apparmor-v2 install/oci-apparmor
# The programs whose man pages are written by hand. Those of oci-apparmor are made from its commands.
PAGES := hook/oci-apparmor-hook shim/oci-apparmor-runtime shim/containerd-shim-apparmor-v2
GUESTS ?= all

# What the host must have, as PROGRAM:PACKAGE of Debian and Ubuntu: to compile profiles and run containers, and to build
# and boot guests.
HERE := apparmor_parser:apparmor runc:runc busybox:busybox-static git:git
GUEST := qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mke2fs:e2fsprogs xz:xz-utils zstd:zstd \
	/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
NEEDED := $(HERE) crun:crun rpm:rpm $(GUEST)

PREFIX ?= /usr/local
BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib/oci-apparmor
SHARE := $(DESTDIR)$(PREFIX)/share
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
UNIT := oci-apparmor.service
AGENT := oci-apparmor-agent.service
# What engines are wired is written there; see install/wire.
RECORD := /var/lib/oci-apparmor/wiring/record.json
# systemd is only asked where it is this machine that things are installed on.
SYSTEMCTL := $(if $(DESTDIR),,$(shell test -d /run/systemd/system && command -v systemctl))

# Pinned, as later versions need a module that is not to be had everywhere.
NFPM := GOOS= GOARCH= $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
# The date of all files in packages, so that one commit makes the same bytes wherever it is built.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)

.PHONY: all build images install uninstall deb rpm packages setup test test-all demo bench lint clean
all: build

# The pages and completions are made on this machine, whichever one the programs are for.
build:
	@mkdir -p bin
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./,$(PROGRAMS))
	@rm -rf bin/share
	GOOS= GOARCH= $(GO) run ./install/manual bin/share
	@mkdir -p bin/share/man/man5
	@cp $(addsuffix /*.8,$(PAGES)) bin/share/man/man8/
	@cp policy/policyfile/*.5 bin/share/man/man5/

# Each file is written beside its place and renamed, so that no container is started while there is none, or half of one.
# Programs of an earlier version stay as long as one of them runs; see hook/programs.
install: build
	install/place.sh bin $(DESTDIR)$(PREFIX) '$(or $(VERSION),unknown)'
	install -d $(UNITS)
	set -e; for unit in $(UNIT) $(AGENT); do \
		sed 's,/usr/local/,$(PREFIX)/,' install/systemd/$$unit >$(UNITS)/.$$unit.new; \
		chmod 644 $(UNITS)/.$$unit.new; \
		mv -f $(UNITS)/.$$unit.new $(UNITS)/$$unit; done
	set -e; files=$$(cd bin/share && find . -type f); for f in $$files; do install -D -m 644 bin/share/$$f $(SHARE)/$$f; done
	$(if $(SYSTEMCTL),$(SYSTEMCTL) daemon-reload)
	$(if $(SYSTEMCTL),-$(SYSTEMCTL) try-restart $(AGENT))
	$(if $(DESTDIR),,-$(BIN)/oci-apparmor prune)

# The policy, what was made of it, and the profiles stay: containers may run under them. So do programs that run.
uninstall:
	$(if $(DESTDIR),,if test -x $(BIN)/oci-apparmor; then $(BIN)/oci-apparmor removable --uninstall --bin $(PREFIX)/bin; \
		elif test -e $(RECORD) && tr -d ' \n' <$(RECORD) | grep -qE '"(engines|changes)":\{"'; then \
		echo 'there is no program $(BIN)/oci-apparmor, and engines may be wired to it: run make install first' >&2; exit 1; fi)
	$(if $(SYSTEMCTL),-$(SYSTEMCTL) disable --quiet $(UNIT))
	$(if $(SYSTEMCTL),-$(SYSTEMCTL) disable --quiet --now $(AGENT))
	rm -f $(addprefix $(BIN)/,$(notdir $(PROGRAMS))) $(addprefix $(UNITS)/,$(UNIT) $(AGENT))
	rm -f $(SHARE)/man/man8/oci-apparmor.8 $(SHARE)/man/man8/oci-apparmor-*.8 $(SHARE)/man/man8/containerd-shim-apparmor-v2.8 \
		$(SHARE)/man/man5/oci-apparmor-policy.yaml.5 $(SHARE)/man/man5/oci-apparmor-tests.yaml.5 $(SHARE)/bash-completion/completions/oci-apparmor \
		$(SHARE)/zsh/site-functions/_oci-apparmor $(SHARE)/fish/vendor_completions.d/oci-apparmor.fish
	$(if $(SYSTEMCTL),$(SYSTEMCTL) daemon-reload)
	-last=$$(readlink $(LIB)/current); rm -f $(LIB)/current; \
		$(if $(DESTDIR),rm -rf $(LIB)/programs,test -z "$$last" || $(LIB)/$$last/oci-apparmor prune)

# What packages have beside the programs. The scripts of install/packages put these in place on a node.
packages: build
	rm -rf bin/packages
	mkdir -p bin/packages
	cp -r bin/share bin/packages/share
	find bin/packages/share/man -type f -exec gzip -9n {} +
	set -e; for unit in $(UNIT) $(AGENT); do sed 's,/usr/local/,/usr/,' install/systemd/$$unit >bin/packages/$$unit; done
	printf '%s\n' '$(VERSION)' >bin/packages/version

deb rpm: packages
	version=$$(install/packages/version.sh '$(VERSION)' $(SOURCE_DATE_EPOCH)) && \
	arch=$${GOARCH:-$$($(GO) env GOARCH)} && \
	PACKAGE_VERSION="$$version" PACKAGE_ARCH="$$arch" SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
		$(NFPM) package --config install/packages/nfpm.yaml --packager $@ --target bin/packages/

# The container image of the DaemonSet (install/kubernetes), built without a container engine.
IMAGE ?= ghcr.io/oci-apparmor/oci-apparmor:latest
ARCHES ?= amd64 arm64
images:
	rm -rf bin/images
	set -e; for arch in $(ARCHES); do mkdir -p bin/images/$$arch; \
		GOOS=linux GOARCH=$$arch $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/images/$$arch/ $(addprefix ./,$(PROGRAMS)); done
	GOOS= GOARCH= $(GO) run ./install/kubernetes/makeimage --reference '$(IMAGE)' --version '$(or $(VERSION),unknown)' \
		--date $(SOURCE_DATE_EPOCH) $(if $(PUSH),--push) bin/images/oci-apparmor.tar $(foreach arch,$(ARCHES),$(arch)=bin/images/$(arch))

# Installs what is missing, on Debian and Ubuntu, and says so first. Nothing is ever removed for it: a runc that came with
# an engine's own packages stays.
setup:
	@missing=; for p in $(NEEDED); do \
		test -e "$${p%%:*}" || PATH="$$PATH:/usr/sbin:/sbin" command -v "$${p%%:*}" >/dev/null || missing="$$missing $${p#*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-remove --no-install-recommends $$missing >/dev/null; \
	fi

# The tests in guests come last, with their list of times before go test's own line. go test takes them from its cache
# where nothing has changed, and the list is then that of the run that it has kept.
REPORT := $(CURDIR)/bin/report
LIMIT := 80m
test-all: LIMIT := 240m
test-all: export OCI_APPARMOR_EVERYTHING := yes
test-all: export OCI_APPARMOR_ACCEL ?= qemu
test-all: NEEDED += gcc:gcc /usr/include/stdio.h:libc6-dev # a part of CRI-O is in C
test test-all: export OCI_APPARMOR_REPORT := $(REPORT)
test test-all: export OCI_APPARMOR_GUESTS := $(GUESTS)
test test-all: setup build
	$(GO) vet ./...
	@$(GO) run ./integration/guest/run $(GUESTS) # builds the guests, and says what tests skip for want of a package
	@touch bin/began; failed=0; \
	$(GO) test $$($(GO) list ./... | grep -v /integration$$) || failed=1; \
	echo "$(GO) test ./integration, in guests: this takes long, and prints when it is done"; \
	$(GO) test -timeout $(LIMIT) ./integration >bin/tested 2>&1 || failed=1; \
	if [ $(REPORT) -nt bin/began ] || grep -q '(cached)$$' bin/tested; then cat $(REPORT) 2>/dev/null; fi; \
	cat bin/tested; exit $$failed

ifdef HOST
demo: NEEDED := $(HERE)
demo: DEMO := --host
else
demo: NEEDED := $(HERE) $(GUEST)
endif
demo: setup build
	@$(GO) run ./integration/demo --bin bin $(DEMO)

# Reading audit records is measured beside libapparmor's parser and aa-logprof's.
bench: NEEDED += gcc:gcc /usr/include/stdio.h:libc6-dev /usr/include/aalogparse/aalogparse.h:libapparmor-dev \
	/usr/lib/python3/dist-packages/apparmor/logparser.py:python3-apparmor \
	/usr/sbin/aa-logprof:apparmor-utils
bench: setup build
	$(GO) run ./integration/bench --only '$(ONLY)' --old '$(OLD)'

lint:
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && test -z "$$unformatted" || { echo "not as gofmt has it: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	$(GO) run github.com/fzipp/gocyclo/cmd/gocyclo@v0.6.0 -over 20 -ignore '_test\.go$$' .

clean:
	rm -rf bin
