// SPDX-License-Identifier: Apache-2.0

package fakevendor

import (
	"encoding/hex"
	"fmt"
	"strings"

	"enarx.dev/enarx/attest/attesttest"
)

// Of returns a vendor of what the vendors of that world publish, for its
// default machine and for the chip of each AMD product line that is named
// "chip".
func Of(w *attesttest.World) *Vendor {
	v := New()
	for _, p := range w.AMD.Products() {
		v.Set("/vcek/v1/"+p.Name+"/cert_chain", Document{Body: attesttest.PEM(p.ASK(), p.ARK())})
		v.Set("/vlek/v1/"+p.Name+"/cert_chain", Document{Body: attesttest.PEM(p.ASVK(), p.ARK())})
		v.Set("/vcek/v1/"+p.Name+"/crl", Document{Body: p.CRL()})
		v.Set("/vlek/v1/"+p.Name+"/crl", Document{Body: p.CRL()})
		v.AddChip(p.Chip("chip"), p.TCB)
	}
	v.intel(w)
	v.AddMachine(w.Machine())
	return v
}

// AddChip has the VCEK of the chip at that TCB served. It returns its address.
func (v *Vendor) AddChip(c *attesttest.Chip, t attesttest.TCB) (path string) {
	id, fmc := c.ID[:], ""
	if c.Name == "Turin" {
		id, fmc = id[:8], fmt.Sprintf("fmcSPL=%02d&", t.FMC)
	}
	path = fmt.Sprintf("/vcek/v1/%s/%x?%sblSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d",
		c.Name, id, fmc, t.Bootloader, t.TEE, t.SNP, t.Microcode)
	v.Set(path, Document{Body: c.Endorsement(t)})
	return path
}

const intelPath = "/certification/v4"

func (v *Vendor) intel(w *attesttest.World) {
	root := w.Intel.Root()
	signers := string(attesttest.PEM(w.Intel.TCBSigning(), root))
	v.Set("/IntelSGXRootCA.der", Document{Body: w.Intel.RootCRL()})
	v.Set("/sgx"+intelPath+"/rootcacrl", Document{Body: []byte(hex.EncodeToString(w.Intel.RootCRL()))})
	for _, ca := range []string{attesttest.ProcessorCA, attesttest.PlatformCA} {
		v.Set("/sgx"+intelPath+"/pckcrl?ca="+strings.ToLower(ca)+"&encoding=der", Document{
			Body: w.Intel.PCKCRL(ca), Header: map[string]string{"SGX-PCK-CRL-Issuer-Chain": string(attesttest.PEM(w.Intel.CA(ca), root))}})
	}
	for tee, id := range map[string]string{"/sgx": "QE", "/tdx": "TD_QE"} {
		v.Set(tee+intelPath+"/qe/identity", Document{
			Body: w.Intel.QEIdentity(id), Header: map[string]string{"SGX-Enclave-Identity-Issuer-Chain": signers}})
	}
}

// AddMachine has the TCB infos for machines like m served.
func (v *Vendor) AddMachine(m *attesttest.Machine) {
	for _, kind := range []string{"SGX", "TDX"} {
		v.SetTCBInfo(m, kind, m.TCBInfo(kind))
	}
}

// SetTCBInfo has info served as that kind of TCB info for machines like m.
func (v *Vendor) SetTCBInfo(m *attesttest.Machine, kind string, info []byte) {
	path := fmt.Sprintf("/%s%s/tcb?fmspc=%X", strings.ToLower(kind), intelPath, m.FMSPC)
	v.Set(path, Document{Body: info, Header: map[string]string{"TCB-Info-Issuer-Chain": string(attesttest.PEM(m.TCBSigning(), m.Root()))}})
}

// SetPCK has the machine's certificate served to whoever names it so.
func (v *Vendor) SetPCK(m *attesttest.Machine, encryptedPPID, cpusvn, pcesvn, pceid string) {
	path := "/sgx" + intelPath + "/pckcert?cpusvn=" + cpusvn + "&encrypted_ppid=" + encryptedPPID + "&pceid=" + pceid + "&pcesvn=" + pcesvn
	v.Set(path, Document{Body: attesttest.PEM(m.Certificate()), Header: map[string]string{
		"SGX-PCK-Certificate-Issuer-Chain": string(attesttest.PEM(m.Intel.CA(m.CA), m.Root()))}})
}
