// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/collateral/cachefile"
)

const (
	maxFile  = 4 << 20
	maxFiles = 1 << 16
)

// A Dir is a folder of collateral: certificates, revocation lists, TCB infos
// and QE identities, each file known by what is in it, not by its name. It is
// safe for concurrent use.
type Dir struct {
	path  string
	memo  *pki.Memo
	state atomic.Pointer[contents]
}

// contents is what a folder held when it was read. It does not change.
type contents struct {
	all      attest.Collateral // but for certificates of chips
	chips    map[[64]byte]*attest.Collateral
	problems []error
}

// OpenDir reads the folder. It fails if that cannot be read; files in it that
// are of no use are [Dir.Problems].
func OpenDir(path string, memo *pki.Memo) (*Dir, error) {
	d := &Dir{path: path, memo: memo}
	return d, d.Reload()
}

// Reload reads the folder again. Callers see what it held before or what it
// holds now. After an error it is as before.
func (d *Dir) Reload() error {
	next := &contents{chips: map[[64]byte]*attest.Collateral{}}
	names, err := os.ReadDir(d.path)
	if err == nil && len(names) > maxFiles {
		err = fmt.Errorf("%s: over %d files", d.path, maxFiles)
	}
	if err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") {
			continue
		}
		path := filepath.Join(d.path, n.Name())
		if err := next.file(path, d.memo); err != nil {
			next.problems = append(next.problems, err)
		}
	}
	for chip, c := range next.chips {
		next.chips[chip] = next.all.Merge(c)
	}
	d.state.Store(next)
	return nil
}

// Problems returns the files that were of no use when the folder was read.
func (d *Dir) Problems() []error { return d.state.Load().problems }

// For returns what the folder has for this evidence.
func (d *Dir) For(_ context.Context, ev *attest.Evidence) (*attest.Collateral, error) {
	s := d.state.Load()
	if ev.Technology == attest.SNP && len(s.chips) > 0 {
		if r, err := snp.ParseReport(ev.Report); err == nil {
			if c := s.chips[r.ChipID]; c != nil {
				return c, nil
			}
		}
	}
	return &s.all, nil
}

func (s *contents) file(path string, memo *pki.Memo) error {
	data, err := readRegular(path)
	if err != nil || data == nil {
		return err
	}
	var c attest.Collateral
	b, err := attest.Recognise([]attest.File{{Name: path, Data: data}}, memo)
	if err == nil {
		c = b.Collateral
	} else if signers, info, tcbErr := cachefile.DecodeTCB(data); tcbErr == nil {
		c = attest.Collateral{Certificates: signers, TCBInfos: []*dcap.TCBInfo{info}}
	} else {
		return err
	}
	if c.Empty() {
		return fmt.Errorf("%s: %s, which is not collateral", path, b.Found[0].What)
	}
	certs := c.Certificates
	c.Certificates = nil
	for _, cert := range certs {
		if chip, ok := chipOf(cert); ok {
			s.chips[chip] = s.chips[chip].Merge(&attest.Collateral{Certificates: []*x509.Certificate{cert}})
			continue
		}
		c.Certificates = append(c.Certificates, cert)
	}
	s.all = *s.all.Merge(&c)
	return nil
}

// chipOf returns the chip that a VCEK is of, as reports name it.
func chipOf(c *x509.Certificate) (chip [64]byte, ok bool) {
	e, err := snp.ParseEndorsement(c)
	if err != nil || e.Kind != snp.SignedByVCEK {
		return chip, false
	}
	copy(chip[:], e.HWID)
	return chip, true
}

// readRegular returns the contents of a regular file, and nil for a folder.
func readRegular(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: over %d bytes", path, maxFile)
	}
	if err == nil && len(data) == 0 {
		err = errors.New(path + ": empty")
	}
	return data, err
}
