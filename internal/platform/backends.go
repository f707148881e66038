// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/collateral/cachefile"
)

// Backend is what one backend needs: of the machine, and of its configuration.
type Backend struct {
	Name   string
	Probes []Probe
	Config []Probe
}

// Backends returns the probes of every backend with hardware or a hypervisor
// behind it, best protection first. Names and nesting are upstream's, with
// spec/enarx.md 4.6, so that what reads its output reads ours.
func (m *Machine) Backends() []Backend {
	return []Backend{m.sgx(), m.sev(), m.kvm()}
}

func (m *Machine) kvmDriver() Probe {
	p := m.opens("Driver", "/dev/kvm", os.O_RDWR)
	version, err := kvmVersion(m.path("/dev/kvm"))
	api := Probe{Name: "API Version", Pass: err == nil && version == kvmAPIVersion}
	if err == nil {
		api.Info = strconv.Itoa(version)
	}
	p.Sub = []Probe{api}
	return p
}

func (m *Machine) kvm() Backend {
	return Backend{Name: "kvm", Probes: []Probe{
		m.kvmDriver(),
		{Name: "CPU", Pass: m.cpu.vendor != "", Info: m.cpu.describe(), Sub: []Probe{
			m.cpu.has("CPU supports FSGSBASE instructions", "fsgsbase"),
			m.cpu.has("CPU supports RDRAND instruction", "rdrand"),
		}},
	}}
}

// AMD APM volume 3, E.4.17: CPUID leaf 0x8000001F, encrypted memory.
const leafSEV = 0x8000001f

func (m *Machine) sev() Backend {
	c := m.cpu
	cpu := Probe{Name: "CPU", Pass: c.vendor == amd, Info: c.describe()}
	sme := c.has("Secure Memory Encryption (SME)", "sme")
	sev := c.has("Secure Encrypted Virtualization (SEV)", "sev")
	flush := Probe{Name: "Page Flush MSR available"}
	if r, ok := c.leaf(leafSEV, 0); ok && c.vendor == amd {
		sme.Sub = []Probe{
			{Name: "Physical address bit reduction", Pass: true, Info: strconv.Itoa(int(r.b >> 6 & 0x3f))},
			{Name: "C-bit location in page table entry", Pass: true, Info: strconv.Itoa(int(r.b & 0x3f))},
		}
		sev.Sub = []Probe{
			{Name: "Number of encrypted guests supported simultaneously", Pass: true, Info: strconv.Itoa(int(r.c))},
			{Name: "Minimum ASID value for SEV-enabled, SEV-ES disabled guest", Pass: true, Info: strconv.Itoa(int(r.d))},
		}
		flush.Pass = r.a&(1<<2) != 0
	}
	epyc := Probe{Name: "Microcode support", Pass: containsWord(c.brand, "EPYC")}
	cpu.Sub = []Probe{epyc, sme, sev, c.has("Secure Encrypted Virtualization Secure Nested Paging (SEV-SNP)", "sev_snp"), flush}

	enabled := m.text("/sys/module/kvm_amd/parameters/sev_snp")
	return Backend{Name: "sev",
		Probes: []Probe{
			m.exists("Driver", "/dev/sev", Probe{Name: "SEV-SNP is enabled in host kernel", Pass: enabled == "Y" || enabled == "1"}),
			m.kvmDriver(),
			cpu,
		},
		Config: []Probe{
			named(m.opens("/dev/sev is readable by user", "/dev/sev", os.O_RDONLY)),
			named(m.opens("/dev/sev is writable by user", "/dev/sev", os.O_WRONLY)),
			memlock(),
			m.vcekCache(),
			m.crlCache("AMD CRL cache file", cachefile.AMDDir, "enarx platform snp cache-crl"),
		},
	}
}

// named drops the file name from a probe whose label holds it.
func named(p Probe) Probe {
	p.Info = ""
	return p
}

// perKeep is the memory that one SEV Keep locks, upstream's estimate.
const perKeep = 5 << 20

func memlock() Probe {
	var l unix.Rlimit
	p := Probe{Name: "MEMLOCK rlimit allows for"}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return p
	}
	p.Pass = l.Cur >= perKeep
	p.Info = fmt.Sprintf("~%d keeps (soft limit = %s, hard limit = %s)", l.Cur/perKeep, size(l.Cur), size(l.Max))
	if l.Cur == unix.RLIM_INFINITY {
		p.Info = "any number of keeps"
	}
	if !p.Pass {
		p.Help = "raise the limit on locked memory, for instance with `ulimit -l`"
	}
	return p
}

// Intel SDM volume 3D, 38.7.2: CPUID leaf 0x12, SGX resources.
const leafSGX = 0x12

func (m *Machine) sgx() Backend {
	c := m.cpu
	cpu := Probe{Name: "CPU", Pass: c.vendor == intel, Info: c.describe()}
	support := c.has("SGX Support", "sgx")
	one, two := c.has("Version 1", "sgx1"), c.has("Version 2", "sgx2")
	one.Pass = one.Pass || (support.Pass && !c.flags["sgx1"]) // listed since Linux 6.0 only; implied by sgx
	support.Sub = []Probe{one, two, c.has("FLC Support", "sgx_lc")}
	if r, ok := c.leaf(leafSGX, 0); ok && c.vendor == intel {
		support.Sub = append(support.Sub,
			Probe{Name: "Max Size (32-bit)", Pass: true, Info: size(1 << (r.d & 0xff))},
			Probe{Name: "Max Size (64-bit)", Pass: true, Info: size(1 << (r.d >> 8 & 0x3f))},
			Probe{Name: "MiscSelect", Pass: true, Info: fmt.Sprintf("%#x", r.b)})
	}
	if r, ok := c.leaf(leafSGX, 1); ok && c.vendor == intel {
		support.Sub = append(support.Sub,
			Probe{Name: "Features", Pass: true, Info: fmt.Sprintf("%#x", uint64(r.b)<<32|uint64(r.a))},
			Probe{Name: "Xfrm", Pass: true, Info: fmt.Sprintf("%#x", uint64(r.d)<<32|uint64(r.c))})
	}
	epc := m.epc()
	support.Sub = append(support.Sub, Probe{Name: "EPC Size", Pass: epc > 0, Info: nonzero(epc)})
	cpu.Sub = []Probe{support}

	return Backend{Name: "sgx",
		Probes: []Probe{
			m.opens("Driver", "/dev/sgx_enclave", os.O_RDWR),
			cpu,
			m.crlCache("Intel CRL cache file", cachefile.IntelDir, "enarx platform sgx cache-crl"),
			m.tcbCache(),
		},
		Config: []Probe{m.exists("AESM Daemon Socket", "/var/run/aesmd/aesm.socket")},
	}
}
