// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"enarx.dev/enarx/internal/collateral/cachefile"
)

// A cache is good when its file is there, can be read for what it is, and is of
// this time. Who uses it verifies it; this is about what to run.

// cache opens a probe of a file in dir: help is empty until there is a folder.
func (m *Machine) cache(label, dir string) (p Probe, ok bool) {
	p = Probe{Name: label}
	if _, err := os.ReadDir(m.path(dir)); err != nil {
		p.Help = "enarx expects the directory `" + dir + "` to exist and be readable"
		return p, false
	}
	return p, true
}

// dated judges a piece of collateral by when its vendor promised the next.
func (m *Machine) dated(p Probe, what string, next time.Time, info, command string) Probe {
	p.Pass, p.Info = m.now.Before(next), info
	if !p.Pass {
		p.Info = fmt.Sprintf("%s expired on %s, %d days ago", what, stamp(next), int(m.now.Sub(next).Hours())/24)
		p.Help = "Run `" + command + "` to get the current one"
	}
	return p
}

// broken is a file that is of no use.
func (m *Machine) broken(p Probe, err error, missing, command string) Probe {
	p.Info = strings.TrimPrefix(err.Error(), strings.TrimSuffix(m.root, "/"))
	if errors.Is(err, fs.ErrNotExist) {
		p.Info = missing
	}
	p.Help = "Run `" + command + "` to create it"
	return p
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (m *Machine) crlCache(label, dir, command string) Probe {
	p, ok := m.cache(label, dir)
	if !ok {
		return p
	}
	path := filepath.Join(dir, cachefile.CRLs)
	_, next, err := cachefile.ReadCRLs(m.path(path))
	if err != nil {
		return m.broken(p, err, "", command)
	}
	return m.dated(p, "CRL", next, fmt.Sprintf("%s, next update %s", path, stamp(next)), command)
}

func (m *Machine) tcbCache() Probe {
	p, ok := m.cache("TCB & FMSPC cache", cachefile.IntelDir)
	if !ok {
		return p
	}
	fmspc, err := cachefile.ReadFMSPC(m.path(filepath.Join(cachefile.IntelDir, cachefile.FMSPC)))
	if err != nil {
		return m.broken(p, err, "Missing FMSPC", "enarx platform sgx cache-pck")
	}
	info, err := cachefile.ReadTCB(m.path(filepath.Join(cachefile.IntelDir, cachefile.TCB)))
	if err != nil {
		return m.broken(p, err, "Missing TCB", "enarx platform sgx cache-tcb")
	}
	if info.FMSPC != fmspc {
		p.Info = fmt.Sprintf("the TCB is of FMSPC %X, the machine of %X", info.FMSPC, fmspc)
		p.Help = "Run `enarx platform sgx cache-tcb` to get the right one"
		return p
	}
	return m.dated(p, "Intel TCB", info.NextUpdate, "Next update: "+stamp(info.NextUpdate), "enarx platform sgx cache-tcb")
}

// vcekCache looks for the file of this chip if the chip says which it is, and
// for any otherwise.
func (m *Machine) vcekCache() Probe {
	p, ok := m.cache("SEV-SNP VCEK key cache file", cachefile.AMDDir)
	if !ok {
		return p
	}
	const command = "enarx platform snp update"
	files := cachefile.VCEKs(m.path(cachefile.AMDDir))
	if chip, err := m.Chip(); err == nil {
		files = []string{m.path(filepath.Join(cachefile.AMDDir, chip.VCEKName()))}
	}
	err := fs.ErrNotExist
	for _, name := range files {
		c, e := cachefile.ReadVCEK(name)
		if err = e; e == nil {
			return m.dated(p, "VCEK", c.NotAfter, filepath.Join(cachefile.AMDDir, filepath.Base(name)), command)
		}
	}
	return m.broken(p, err, "", command)
}
