// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/collateral/cachefile"
)

// TestCaches holds every probe of a cache against files that are current, out
// of date, broken, of another machine, or not there.
func TestCaches(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	w := attesttest.New("caches", now)
	machine := w.Machine()
	list := func(crls ...[]byte) string {
		var all []attest.CRLEntry
		for _, crl := range crls {
			all = append(all, attest.CRLEntry{URL: "x", DER: crl})
		}
		return string(attest.MarshalCRLList(all))
	}
	tcb, err := cachefile.EncodeTCB(nil, machine.TCBInfo("SGX"))
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]string{
		"var/cache/amd-sev/crls.der":                        list(w.AMD.Genoa.CRL(), w.AMD.Milan.CRL()),
		"var/cache/amd-sev/vcek-00-04-00-24-219":            string(w.Chip().Endorsement(w.AMD.Milan.TCB)),
		"var/cache/amd-sev/vcek-00-04-00-24-219.lck":        "",
		"var/cache/intel-sgx/crls.der":                      list(w.Intel.RootCRL(), w.Intel.PCKCRL(attesttest.PlatformCA)),
		"var/cache/intel-sgx/fmspc.txt":                     "90C06F000000",
		"var/cache/intel-sgx/tcb.der":                       string(tcb),
		"sys/module/kvm_amd/parameters/of_no_interest_here": "",
	}
	const (
		amdCRL, vcek  = "AMD CRL cache file", "SEV-SNP VCEK key cache file"
		intelCRL, tcs = "Intel CRL cache file", "TCB & FMSPC cache"
	)
	for _, tt := range []struct {
		name   string
		change map[string]string // "-": gone
		days   int               // from now
		probe  string
		pass   bool
		info   string
		help   string
	}{
		{"AMD CRLs", nil, 0, amdCRL, true, "/var/cache/amd-sev/crls.der, next update 2027-05-30T00:00:00Z", ""},
		{"stale AMD CRLs", nil, 363 + 5, amdCRL, false, "CRL expired on 2027-05-30T00:00:00Z, 5 days ago", "Run `enarx platform snp cache-crl` to get the current one"},
		{"no AMD CRLs", map[string]string{"var/cache/amd-sev/crls.der": "-"}, 0, amdCRL, false, "", "Run `enarx platform snp cache-crl` to create it"},
		{"bad AMD CRLs", map[string]string{"var/cache/amd-sev/crls.der": "x"}, 0, amdCRL, false, "/var/cache/amd-sev/crls.der: ", "Run `enarx platform snp cache-crl` to create it"},
		{"a bad AMD CRL", map[string]string{"var/cache/amd-sev/crls.der": list([]byte{0x30, 0})}, 0, amdCRL, false, "/var/cache/amd-sev/crls.der: ", ""},
		{"empty AMD CRLs", map[string]string{"var/cache/amd-sev/crls.der": list()}, 0, amdCRL, false, "/var/cache/amd-sev/crls.der: no revocation list in it", ""},
		{"VCEK", nil, 0, vcek, true, "/var/cache/amd-sev/vcek-00-04-00-24-219", ""},
		{"stale VCEK", nil, 366 * 25, vcek, false, "VCEK expired on 2049-06-30T23:59:59Z", "Run `enarx platform snp update` to get the current one"},
		{"only a lock", map[string]string{"var/cache/amd-sev/vcek-00-04-00-24-219": "-"}, 0, vcek, false, "", "Run `enarx platform snp update` to create it"},
		{"bad VCEK", map[string]string{"var/cache/amd-sev/vcek-00-04-00-24-219": "x"}, 0, vcek, false, "/var/cache/amd-sev/vcek-00-04-00-24-219: ", ""},
		{"Intel CRLs", nil, 0, intelCRL, true, "/var/cache/intel-sgx/crls.der, next update 2026-06-29T00:00:00Z", ""},
		{"stale Intel CRLs", nil, 28, intelCRL, false, "CRL expired on 2026-06-29T00:00:00Z, 0 days ago", "Run `enarx platform sgx cache-crl` to get the current one"},
		{"TCB", nil, 0, tcs, true, "Next update: 2026-06-29T00:00:00Z", ""},
		{"stale TCB", nil, 30, tcs, false, "Intel TCB expired on 2026-06-29T00:00:00Z, 2 days ago", "Run `enarx platform sgx cache-tcb` to get the current one"},
		{"no FMSPC", map[string]string{"var/cache/intel-sgx/fmspc.txt": "-"}, 0, tcs, false, "Missing FMSPC", "Run `enarx platform sgx cache-pck` to create it"},
		{"bad FMSPC", map[string]string{"var/cache/intel-sgx/fmspc.txt": "FMSPC"}, 0, tcs, false, "/var/cache/intel-sgx/fmspc.txt: \"FMSPC\" is not an FMSPC", ""},
		{"no TCB", map[string]string{"var/cache/intel-sgx/tcb.der": "-"}, 0, tcs, false, "Missing TCB", "Run `enarx platform sgx cache-tcb` to create it"},
		{"bad TCB", map[string]string{"var/cache/intel-sgx/tcb.der": "0\x00"}, 0, tcs, false, "/var/cache/intel-sgx/tcb.der: not a TCB info with its signers", ""},
		{"another's TCB", map[string]string{"var/cache/intel-sgx/fmspc.txt": "00606a000000\n"}, 0, tcs, false,
			"the TCB is of FMSPC 90C06F000000, the machine of 00606A000000", "Run `enarx platform sgx cache-tcb` to get the right one"},
	} {
		files := maps.Clone(good)
		for name, content := range tt.change {
			if files[name] = content; content == "-" {
				delete(files, name)
			}
		}
		m := tree(t, files)
		m.now = now.AddDate(0, 0, tt.days)
		var all []Probe
		for _, b := range m.Backends() {
			all = append(append(all, b.Probes...), b.Config...)
		}
		p := find(t, all, tt.probe)
		if p.Pass != tt.pass || !strings.HasPrefix(p.Info, tt.info) || tt.info == "" && p.Info != "" || tt.help != "" && p.Help != tt.help || tt.pass != (p.Help == "") {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
	if p := find(t, tree(t, nil).sev().Config, amdCRL); p.Pass || p.Help != "enarx expects the directory `/var/cache/amd-sev` to exist and be readable" {
		t.Errorf("no folder: %+v", p)
	}
}

// TestChip: what is known of a chip without a security processor to ask.
func TestChip(t *testing.T) {
	for cpu, want := range map[string]string{
		"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n":   snp.Milan,
		"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n":  snp.Genoa,
		"vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n":   snp.Turin,
		"vendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 49\n":  "",
		"vendor_id\t: AuthenticAMD\ncpu family\t: 281\nmodel\t\t: 1\n":  "", // 25 if only one byte were looked at
		"vendor_id\t: AuthenticAMD\ncpu family\t: -231\nmodel\t\t: 1\n": "",
		"vendor_id\t: GenuineIntel\ncpu family\t: 25\nmodel\t\t: 1\n":   "",
		"": "",
	} {
		m := tree(t, map[string]string{"proc/cpuinfo": cpu + "\n\n"})
		if got := m.ProductLine(); got != want {
			t.Errorf("%q: %q, want %q", cpu, got, want)
		}
		if c, err := m.Chip(); !errors.Is(err, ErrNoChip) || want != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %v, %v", cpu, c, err)
		}
	}
	// A file that is no device answers no command.
	m := tree(t, map[string]string{"proc/cpuinfo": "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\n", "dev/sev": ""})
	if c, err := m.Chip(); !errors.Is(err, ErrNoChip) {
		t.Errorf("%v, %v", c, err)
	}
}

// TestSEVCommand: the number follows from the structure's size, linux/psp-sev.h.
func TestSEVCommand(t *testing.T) {
	if want := uint32(3<<30 | sevIssueSize<<16 | 'S'<<8); want != sevIssueCmd { // _IOWR('S', 0, struct sev_issue_cmd)
		t.Errorf("%#x, want %#x", sevIssueCmd, want)
	}
}
