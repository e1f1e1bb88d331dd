# make demo   shows the main job on a real container (HOST=1: on this machine, without a guest)
# make test   sets up what is missing and runs all tests, those in guests included
# make bench  measures, and prints a report of ratios
# make lint   gofmt, go vet, staticcheck
GO ?= go
export CGO_ENABLED = 0
LDFLAGS := -s -w
PROGRAMS := hook/oci-apparmor-hook shim/oci-apparmor-runtime install/oci-apparmor
GUESTS ?= all

# What the host must have: to build and boot guests, and to compile profiles and run containers in tests.
PACKAGES := qemu-system-x86 mmdebstrap debian-archive-keyring e2fsprogs xz-utils zstd apparmor runc crun busybox-static

.PHONY: all build setup test demo bench lint clean
all: build

build:
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./,$(PROGRAMS))

# Installs what is missing, on Debian and Ubuntu; says so first.
setup:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done | xargs); \
	if [ -n "$$missing" ]; then \
		echo "installing: $$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	fi

test: setup build
	$(GO) vet ./...
	OCI_APPARMOR_GUESTS=$(GUESTS) $(GO) test -timeout 80m ./...

demo: build
ifdef HOST
	$(GO) run ./integration/demo --host --bin bin
else
	@$(MAKE) --no-print-directory setup
	$(GO) run ./integration/demo --bin bin
endif

bench: setup build
	$(GO) run ./integration/bench

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@latest ./...

clean:
	rm -rf bin
