// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"enarx.dev/enarx/internal/version"
)

// maxSignatures is far above the size of a signature file: 6,000 small numbers.
const maxSignatures = 1 << 20

// checkSignatures loads a signature file (spec/enarx.md 1.7): who built the
// shim and exec, for backends that start measured Keeps. None of those is
// there yet, but a file that does not load is an error all the same.
func checkSignatures(name string) error {
	fail := func(err error) error {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return fmt.Errorf("failed to load signatures from `%s`: %w", name, err)
	}
	f, err := os.Open(name)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSignatures+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > maxSignatures {
		return fail(errors.New("the file is too large"))
	}
	var s struct {
		Version string `json:"version"`
		SEV     *struct {
			IDBlock signature `json:"id_block"`
			IDAuth  signature `json:"id_auth"`
		} `json:"sev"`
		SGX signature `json:"sgx"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return fail(err)
	}
	if s.Version != version.Version {
		return fmt.Errorf("signature file version %s does not match current version %s", s.Version, version.Version)
	}
	if s.SEV != nil && (len(s.SEV.IDBlock) != 96 || len(s.SEV.IDAuth) != 4096) {
		return fail(errors.New("sev: wants an id_block of 96 and an id_auth of 4096 bytes"))
	}
	if s.SGX != nil && len(s.SGX) != 1808 {
		return fail(errors.New("sgx: wants a SIGSTRUCT of 1808 bytes"))
	}
	return nil
}

// signature is bytes, which these files write as a list of numbers.
type signature []byte

func (s *signature) UnmarshalJSON(data []byte) error {
	var numbers []uint8 // json reads []uint8 from base64, and a list into []uint16
	var list []uint16
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	for _, n := range list {
		if n > 255 {
			return fmt.Errorf("%d is not a byte", n)
		}
		numbers = append(numbers, uint8(n))
	}
	*s = numbers
	return nil
}
