// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// tree writes files under a new root and returns the machine they make.
func tree(t *testing.T, files map[string]string) *Machine {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return at(root)
}

// find returns the probe with this name, wherever it is nested.
func find(t *testing.T, probes []Probe, name string) Probe {
	t.Helper()
	for _, p := range probes {
		if p.Name == name {
			return p
		}
		for _, s := range p.Sub {
			if found := findIn(s, name); found != nil {
				return *found
			}
		}
	}
	t.Fatalf("no probe %q", name)
	return Probe{}
}

func findIn(p Probe, name string) *Probe {
	if p.Name == name {
		return &p
	}
	for _, s := range p.Sub {
		if found := findIn(s, name); found != nil {
			return found
		}
	}
	return nil
}

// cpuidFile is the cpuid device as a file: 16 bytes at each leaf's offset. A
// sparse file reaches the extended leaves.
func cpuidFile(t *testing.T, m *Machine, leaf uint32, r regs) {
	t.Helper()
	path := m.path("dev/cpu/0/cpuid")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b []byte
	for _, v := range []uint32{r.a, r.b, r.c, r.d} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	if _, err := f.WriteAt(b, int64(leaf)); err != nil {
		t.Fatal(err)
	}
}

func TestAMD(t *testing.T) {
	m := tree(t, map[string]string{
		"proc/cpuinfo":                          "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7763 64-Core Processor\nflags\t\t: fpu sme sev sev_es sev_snp fsgsbase rdrand\n\nprocessor\t: 1\n",
		"dev/sev":                               "",
		"sys/module/kvm_amd/parameters/sev_snp": "Y\n",
	})
	cpuidFile(t, m, leafSEV, regs{a: 0x1f | 1<<2, b: 51 | 5<<6, c: 509, d: 100})
	b := m.sev()
	for name, info := range map[string]string{
		"SEV-SNP is enabled in host kernel":  "",
		"Microcode support":                  "",
		"CPU":                                "AMD EPYC 7763 64-Core Processor | AuthenticAMD",
		"Physical address bit reduction":     "5",
		"C-bit location in page table entry": "51",
		"Number of encrypted guests supported simultaneously":            "509",
		"Minimum ASID value for SEV-enabled, SEV-ES disabled guest":      "100",
		"Secure Encrypted Virtualization Secure Nested Paging (SEV-SNP)": "",
		"Page Flush MSR available":                                       "",
		"Secure Memory Encryption (SME)":                                 "",
	} {
		if p := find(t, b.Probes, name); !p.Pass || p.Info != info {
			t.Errorf("%s = %v %q, want true %q", name, p.Pass, p.Info, info)
		}
	}
	if p := find(t, b.Config, "SEV-SNP VCEK key cache file"); p.Pass {
		t.Errorf("%+v", p)
	}
	// The other vendor's probes fail, without facts about this CPU.
	if p := find(t, m.sgx().Probes, "SGX Support"); p.Passed() {
		t.Errorf("%+v", p)
	}
	if Passed(b.Probes) {
		t.Error("everything passes, with a /dev/kvm that does not exist")
	}
}

func TestIntel(t *testing.T) {
	m := tree(t, map[string]string{
		"proc/cpuinfo":              "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: sgx sgx_lc sgx1 sgx2 rdrand\n\n",
		"dev/sgx_enclave":           "",
		"var/run/aesmd/aesm.socket": "",
		"sys/devices/system/node/node0/x86/sgx_total_bytes": "68719476736\n",
		"sys/devices/system/node/node1/x86/sgx_total_bytes": "68719476736\n",
	})
	b := m.sgx()
	for name, info := range map[string]string{
		"Driver": "/dev/sgx_enclave", "Version 1": "", "Version 2": "", "FLC Support": "", "EPC Size": "128 GiB",
	} {
		if p := find(t, b.Probes, name); !p.Pass || p.Info != info {
			t.Errorf("%s = %v %q, want true %q", name, p.Pass, p.Info, info)
		}
	}
	if p := find(t, b.Probes, "Intel CRL cache file"); p.Pass || p.Help == "" {
		t.Errorf("%+v", p)
	}
	if !Passed(b.Config) {
		t.Errorf("%+v", b.Config)
	}
	if p := find(t, m.kvm().Probes, "CPU supports FSGSBASE instructions"); p.Pass {
		t.Errorf("%+v", p)
	}
}

// TestNothing is a machine of which nothing can be learned.
func TestNothing(t *testing.T) {
	m := tree(t, nil)
	for _, b := range m.Backends() {
		if Passed(b.Probes) {
			t.Errorf("%s passes on a machine that is not there", b.Name)
		}
	}
}

func TestHost(t *testing.T) {
	if System() == "" {
		t.Error("no system name")
	}
	for _, b := range Host().Backends() {
		t.Logf("%s: %v", b.Name, Passed(b.Probes))
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 512: "512 bytes", 513: "0 KiB", 1024: "1 KiB",
		8 << 20: "8 MiB", 64 << 30: "64 GiB", 512 << 30: "512 GiB", 1 << 40: "1 TiB", ^uint64(0): "unlimited"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
