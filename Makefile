# SPDX-License-Identifier: Apache-2.0
# Every target is a few commands you could type. `demo` and `test` install what
# they need first (scripts/setup.sh); docs/testing.md says what each lane proves.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
FUZZTIME    ?= 30s
export CGO_ENABLED := 0

# A Keep's images must come out the same whoever builds them, wherever and
# whenever: scripts/repro.sh builds them twice with exactly these settings.
IMAGE_ENV     := CGO_ENABLED=0 GOOS=linux GOARCH=amd64 GOAMD64=v1 GOFLAGS=-mod=readonly
IMAGE_FLAGS   := -trimpath -buildvcs=false
IMAGE_LDFLAGS := -s -w -buildid=
IMAGES        := internal/images/bin

# The shim is linked where it runs, in the upper half of the address space: a
# negative -T is that of its first page, less one for the ELF header.
SHIM_LDFLAGS := -E main.start -T -0x7ffff000

# Go rewrites or touches its output even when nothing changed; a copy made only
# when the bytes differ keeps the old time stamp, and with it go's test cache.
copy = @mkdir -p $(dir $(2)); cmp -s $(1) $(2) || install -m 0755 $(1) $(2)

.PHONY: build images setup examples demo test test-kvm check bench fuzz clean

build: images
	go build -trimpath -buildvcs=false -ldflags "-s -w" -tags keepimages -o build/enarx ./cmd/enarx
	$(call copy,build/enarx,bin/enarx)
	go build -trimpath -buildvcs=false -ldflags "-s -w" -o build/enarx-steward ./cmd/enarx-steward
	$(call copy,build/enarx-steward,bin/enarx-steward)
	go build -trimpath -buildvcs=false -ldflags "-s -w" -o build/enarx-drawbridge ./cmd/enarx-drawbridge
	$(call copy,build/enarx-drawbridge,bin/enarx-drawbridge)
	@go run ./internal/loader/layout/show build/enarx-shim-kvm

images:
	$(IMAGE_ENV) go build $(IMAGE_FLAGS) -ldflags "$(IMAGE_LDFLAGS)" -o build/enarx-exec ./cmd/enarx-exec
	$(call copy,build/enarx-exec,$(IMAGES)/enarx-exec)
	@sha256sum < build/enarx-exec | cut -c1-64 > $(IMAGES)/enarx-exec.sha256
	$(IMAGE_ENV) go build $(IMAGE_FLAGS) -ldflags "-buildid= $(SHIM_LDFLAGS)" -o build/enarx-shim-kvm.sym ./internal/shim/kvm
	@go run ./internal/shim/gate build/enarx-shim-kvm.sym
	$(IMAGE_ENV) go build $(IMAGE_FLAGS) -ldflags "$(IMAGE_LDFLAGS) $(SHIM_LDFLAGS)" -o build/enarx-shim-kvm ./internal/shim/kvm
	$(call copy,build/enarx-shim-kvm,$(IMAGES)/enarx-shim-kvm)

setup:
	scripts/setup.sh

examples: setup build
	examples/build.sh

demo: examples
	examples/demo.sh
	scripts/steward-demo.sh
	scripts/drawbridge-demo.sh

test: examples
	CGO_ENABLED=1 CC=clang go test -race $$(go list ./workload/... ./attest/... ./drawbridge/... ./oidctest/... ./internal/... | grep -v /lanes)
	go test -timeout 15m -skip '^TestKVM$$' . ./cmd/... ./examples/... ./internal/lanes/...
	go -C bench test ./...
	$(MAKE) --no-print-directory test-kvm

# The KVM backend, on this machine's KVM or in an emulated machine. Not cached:
# go does not see what a test builds.
test-kvm: examples
	@rm -f build/kvm.txt; code=0; \
	go test -count=1 -timeout 2h -v -run '^TestKVM$$' ./internal/lanes || code=$$?; \
	[ ! -e build/kvm.txt ] || cat build/kvm.txt; exit $$code

check: build
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "not gofmt-ed:"; echo "$$out"; exit 1; }
	go vet ./...
	go vet -tags keepimages ./cmd/... ./internal/...
	go -C bench vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go mod tidy -diff
	scripts/generate-diff.sh
	go test .
	scripts/repro.sh
	scripts/repro.sh --selftest

bench: build
	go -C bench run .
	go run ./internal/lanes/keepbench
	go run ./internal/lanes/attestbench
	go -C tools/servers build -o ../../build/servers/ github.com/distribution/distribution/v3/cmd/registry
	go run ./internal/lanes/drawbridgebench

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin build $(IMAGES)/enarx-exec $(IMAGES)/enarx-exec.sha256 $(IMAGES)/enarx-shim-kvm
