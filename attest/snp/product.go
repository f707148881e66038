// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"encoding/hex"
	"strings"
)

// The product lines that have SEV-SNP, as AMD's key distribution service names
// them. Bergamo and Siena are of the Genoa line.
const (
	Milan = "Milan"
	Genoa = "Genoa"
	Turin = "Turin"
)

// ProductLine returns the product line of a processor, or "" if none with
// SEV-SNP is known under that family and model.
func ProductLine(family, model uint8) string {
	switch {
	case family == 0x19 && model <= 0x0f:
		return Milan
	case family == 0x19 && (model >= 0x10 && model <= 0x1f || model >= 0xa0 && model <= 0xaf):
		return Genoa
	case family == 0x1a && model <= 0x11:
		return Turin
	}
	return ""
}

// ProductLines returns the product lines that the report can be of: one for a
// report that says, none if it names an unknown one, and the two that came
// with reports of version 2, which do not say.
func (r *Report) ProductLines() []string {
	if r.Version < 3 {
		return []string{Milan, Genoa}
	}
	if p := ProductLine(r.Family, r.Model); p != "" {
		return []string{p}
	}
	return nil
}

// lineOf returns the product line of a name like "Milan-B0" or "Genoa", or "".
func lineOf(name string) string {
	line, _, _ := strings.Cut(name, "-")
	switch line {
	case Milan, Genoa, Turin:
		return line
	}
	return ""
}

// TCBVersion is a TCB_VERSION as it is in a report. What its bytes mean
// depends on the product line (AMD 56860, TCB_VERSION Structure).
type TCBVersion [8]byte

// TCB is the security patch levels of the parts of a platform.
type TCB struct {
	FMC        uint8 // boot code before the bootloader; Turin
	Bootloader uint8
	TEE        uint8 // operating system of the security processor
	SNP        uint8 // SEV firmware
	Microcode  uint8
	HasFMC     bool
}

// Components are the names of the parts of a TCB, in the order they boot.
var Components = [...]string{"fmc", "bootloader", "tee", "snp", "microcode"}

// Decode returns what v means on that product line.
func (v TCBVersion) Decode(product string) TCB {
	if product == Turin {
		return TCB{FMC: v[0], Bootloader: v[1], TEE: v[2], SNP: v[3], Microcode: v[7], HasFMC: true}
	}
	return TCB{Bootloader: v[0], TEE: v[1], SNP: v[6], Microcode: v[7]}
}

// reserved reports whether v has something where that product line has
// nothing.
func (v TCBVersion) reserved(product string) bool {
	if product == Turin {
		return v[4] != 0 || v[5] != 0 || v[6] != 0
	}
	return v[2] != 0 || v[3] != 0 || v[4] != 0 || v[5] != 0
}

// Component returns the level of the part with that name, and whether this
// platform has the part.
func (t TCB) Component(name string) (level uint8, ok bool) {
	switch name {
	case "fmc":
		return t.FMC, t.HasFMC
	case "bootloader":
		return t.Bootloader, true
	case "tee":
		return t.TEE, true
	case "snp":
		return t.SNP, true
	case "microcode":
		return t.Microcode, true
	}
	return 0, false
}

// String is like "bootloader 4, tee 0, snp 24, microcode 219".
func (t TCB) String() string {
	var parts []string
	for _, name := range Components {
		if level, ok := t.Component(name); ok {
			parts = append(parts, name+" "+decimal(level))
		}
	}
	return strings.Join(parts, ", ")
}

// KDS is where AMD distributes certificates (AMD 57230).
const KDS = "https://kdsintf.amd.com"

// VCEKURLPath returns the path and query under [KDS] of the certificate of the
// key that a chip has at that TCB. Of a Turin chip id only the first 8 bytes
// name the chip.
func VCEKURLPath(product string, chipID []byte, tcb TCB) string {
	var b strings.Builder
	b.WriteString("/vcek/v1/" + product + "/")
	if product == Turin {
		chipID = chipID[:min(len(chipID), turinHWID)]
	}
	b.WriteString(hex.EncodeToString(chipID))
	sep := "?"
	spl := func(name string, level uint8) {
		b.WriteString(sep + name + "SPL=")
		if level < 10 {
			b.WriteByte('0')
		}
		b.WriteString(decimal(level))
		sep = "&"
	}
	if tcb.HasFMC {
		spl("fmc", tcb.FMC)
	}
	spl("bl", tcb.Bootloader)
	spl("tee", tcb.TEE)
	spl("snp", tcb.SNP)
	spl("ucode", tcb.Microcode)
	return b.String()
}

// ChainURLPath returns the path under [KDS] of the certificates that a product
// line's keys of that kind, "vcek" or "vlek", lead to: intermediate and root.
func ChainURLPath(product, kind string) string { return "/" + kind + "/v1/" + product + "/cert_chain" }

// CRLURLPath returns the path under [KDS] of the revocation list for
// [ChainURLPath].
func CRLURLPath(product, kind string) string { return "/" + kind + "/v1/" + product + "/crl" }
