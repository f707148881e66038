// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"enarx.dev/enarx/internal/diag"
)

// Backend names a way to make a Keep.
type Backend string

// The backends, those that protect most first. Only SGX and SEV are TEEs: KVM
// isolates the host from the workload, and Nil does less than that.
const (
	SGX Backend = "sgx"
	SEV Backend = "sev"
	KVM Backend = "kvm"
	Nil Backend = "nil"
)

// TEE says whether the backend protects a workload from its host.
func (b Backend) TEE() bool { return b == SGX || b == SEV }

// backends is the order in which one is chosen. why says why a backend cannot
// be used here, or nothing.
var backends = []struct {
	name Backend
	why  func() string
}{
	{SGX, func() string { return "this build has no SGX Keep yet" }},
	{SEV, func() string { return "this build has no SEV-SNP Keep yet" }},
	{KVM, sync.OnceValue(noKVM)},
	{Nil, func() string { return "" }},
}

// Backends returns every backend, in order of preference.
func Backends() []Backend {
	var names []Backend
	for _, b := range backends {
		names = append(names, b.name)
	}
	return names
}

var (
	// ErrUnknownBackend says that there is no backend of that name.
	ErrUnknownBackend = errors.New("loader: no such backend")
	// ErrUnavailable says that a backend cannot be used here; the text says why.
	ErrUnavailable = errors.New("loader: backend not available")
	// ErrNoTEE says that a TEE was demanded and there is none.
	ErrNoTEE = errors.New("loader: no TEE available")
)

// backendError is upstream's sentence with one of the sentinels above.
type backendError struct {
	text string
	kind error
}

func (e *backendError) Error() string { return e.text }
func (e *backendError) Unwrap() error { return e.kind }

// Why says why a Keep cannot be made with the known backend b here and now,
// or returns "".
func Why(b Backend) string {
	for _, known := range backends {
		if known.name == b {
			return known.why()
		}
	}
	return "there is no such backend"
}

// Probe says whether a Keep can be made with backend b here and now.
func Probe(b Backend) error {
	for _, known := range backends {
		if known.name != b {
			continue
		}
		if why := known.why(); why != "" {
			return &backendError{fmt.Sprintf("Keep backend %q is not available on this platform: %s", b, why), ErrUnavailable}
		}
		return nil
	}
	return diag.Hint(&backendError{fmt.Sprintf("Keep backend identifier %q is unknown", b), ErrUnknownBackend},
		"the backends are sgx, sev, kvm and nil")
}

// Choose returns the backend to use: the named one, or without a name the
// first that works. tee demands one that protects the workload.
func Choose(name string, tee bool) (Backend, error) {
	if name != "" {
		b := Backend(name)
		if err := Probe(b); err != nil {
			return "", diag.Hint(err, "see `enarx platform info`")
		}
		if tee && !b.TEE() {
			return "", diag.Hint(&backendError{fmt.Sprintf("backend %q is not a TEE, and --require-tee was given", b), ErrNoTEE},
				"leave out --backend to have a TEE chosen")
		}
		return b, nil
	}
	i := slices.IndexFunc(backends, func(known struct {
		name Backend
		why  func() string
	}) bool {
		return (!tee || known.name.TEE()) && known.why() == ""
	})
	if i < 0 {
		return "", diag.Hint(&backendError{"no TEE is usable on this platform, and --require-tee was given", ErrNoTEE},
			"`enarx platform info` says what is missing; without --require-tee the workload runs unprotected")
	}
	return backends[i].name, nil
}
