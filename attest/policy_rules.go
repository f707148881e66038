// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/diag"
)

// The keys of a policy file that need more than a type.

func measurements(d *policyReader, path string, value any) error {
	tables, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("must be tables like [measurements.NAME], not %s", kind(value))
	}
	sizes := map[string]int{"snp": 48, "sgx": 32, "tdx": 48}
	d.p.Measurements = map[string]Measurement{}
	for _, name := range d.inOrder(path+".", tables) {
		at := path + "." + name
		entry, ok := tables[name].(map[string]any)
		if !ok {
			return d.errorAt(at, `write [measurements.`+name+`] with snp, sgx or tdx = "…"`, "%s must be a table", at)
		}
		if len(entry) == 0 {
			return d.errorAt(at, `add snp, sgx or tdx = "…"`, "%s is empty", at)
		}
		var m Measurement
		fields := map[string]*[][]byte{"snp": &m.SNP, "sgx": &m.SGX, "tdx": &m.TDX}
		for _, key := range d.inOrder(at+".", entry) {
			field, ok := fields[key]
			if !ok {
				return d.errorAt(at+"."+key, diag.Suggest(key, "known", slices.Sorted(maps.Keys(fields))), "unknown key %.64q in [%s]", key, at)
			}
			var err error
			if *field, err = hexList(entry[key], true, sizes[key]); err != nil {
				return d.errorAt(at+"."+key, "", "%s.%s: %s", at, key, err)
			}
		}
		d.p.Measurements[name] = m
		d.p.sources[at] = d.at(at)
	}
	return nil
}

// policyFlags takes the names that upstream takes.
func policyFlags(d *policyReader, path string, value any) error {
	known := []string{"Debug", "SMT", "SingleSocket"}
	all, err := texts(value, false)
	if err != nil {
		return err
	}
	for _, s := range all {
		if !slices.Contains(known, s) {
			return d.errorAt(path, diag.Suggest(s, "known", known), "%s: unknown guest policy flag %.64q", path, s)
		}
	}
	d.p.SNP.PolicyFlags = &all
	d.warn(path, "policy_flags is enforced here; upstream read it and did nothing with it")
	return nil
}

// platformBits are AMD's names for the bits of PLATFORM_INFO, and upstream's
// SME, which is the bit that says SMT is on.
var platformBits = map[string]snp.PlatformInfo{
	"SME": snp.PlatformSMT, "SMT": snp.PlatformSMT, "TSME": snp.PlatformTSME, "ECC": snp.PlatformECC, "RAPL_DIS": snp.PlatformRAPLDisabled,
	"CIPHERTEXT_HIDING": snp.PlatformCiphertextHiding, "ALIAS_CHECK": snp.PlatformAliasCheck, "IOMMU_WRITE_SAFE": snp.PlatformIOMMUWriteSafe, "TIO": snp.PlatformTIO,
}

func platformInfo(field func(*Policy) *snp.PlatformInfo) setter {
	return func(d *policyReader, path string, value any) error {
		all, err := texts(value, true)
		if err != nil {
			return err
		}
		var bits snp.PlatformInfo
		for _, s := range all {
			bit, ok := platformBits[s]
			if !ok {
				return d.errorAt(path, diag.Suggest(s, "known", slices.Sorted(maps.Keys(platformBits))), "%s: unknown platform flag %.64q", path, s)
			}
			if s == "SME" {
				d.warn(path, `"SME" means that SMT is on, as upstream's does: AMD's bit 0 is SMT_EN, and bit 1 is TSME_EN; write "SMT"`)
			}
			bits |= bit
		}
		if _, one := value.(string); one {
			d.warn(path, "a platform may have other flags set beside this one; upstream wanted the byte to be equal, which no platform with ECC memory can be")
		}
		*field(d.p) = bits
		return nil
	}
}

// minimumTCB reads components for all product lines, and tables named for one.
func minimumTCB(d *policyReader, path string, value any) error {
	table, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("must be a table like { snp = 24, microcode = 219 }, not %s", kind(value))
	}
	lines := map[string]string{"milan": snp.Milan, "genoa": snp.Genoa, "turin": snp.Turin}
	d.p.SNP.MinimumTCB = map[string]map[string]uint8{}
	for _, key := range d.inOrder(path+".", table) {
		at := path + "." + key
		components, product := map[string]any{key: table[key]}, ""
		if line, ok := lines[key]; ok {
			if components, ok = table[key].(map[string]any); !ok {
				return d.errorAt(at, "", "%s must be a table, not %s", at, kind(table[key]))
			}
			product = line
		}
		for name, v := range components {
			if !slices.Contains(snp.Components[:], name) {
				known := append(slices.Clone(snp.Components[:]), slices.Sorted(maps.Keys(lines))...)
				return d.errorAt(at, diag.Suggest(name, "known", known), "%s: unknown TCB component %.64q", path, name)
			}
			if name == "fmc" && product != "" && product != snp.Turin {
				return d.errorAt(at, "only Turin has one", "%s: %s has no fmc", path, product)
			}
			n, err := integer(v, math.MaxUint8)
			if err != nil {
				return d.errorAt(at, "", "%s: %s %s", path, name, err)
			}
			if d.p.SNP.MinimumTCB[product] == nil {
				d.p.SNP.MinimumTCB[product] = map[string]uint8{}
			}
			d.p.SNP.MinimumTCB[product][name] = uint8(n)
		}
	}
	return nil
}

func firmware(d *policyReader, _ string, value any) error {
	s, _ := value.(string)
	fields := strings.Split(s, ".")
	if len(fields) != 3 {
		return errors.New(`must be a string like "1.55.31"`)
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil {
			return errors.New(`must be a string like "1.55.31"`)
		}
		d.p.SNP.MinimumFirmware[i] = uint8(n)
	}
	return nil
}

func products(d *policyReader, path string, value any) error {
	known := map[string]string{"milan": snp.Milan, "genoa": snp.Genoa, "turin": snp.Turin}
	all, err := texts(value, false)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("is empty, which refuses everything")
	}
	d.p.SNP.Products = []string{}
	for _, s := range all {
		product, ok := known[strings.ToLower(s)]
		if !ok {
			return d.errorAt(path, diag.Suggest(s, "known", slices.Sorted(maps.Keys(known))), "%s: unknown product line %.64q", path, s)
		}
		d.p.SNP.Products = append(d.p.SNP.Products, product)
	}
	return nil
}

func vmpl(d *policyReader, _ string, value any) error {
	items, ok := value.([]any)
	if !ok {
		items = []any{value}
	}
	if len(items) == 0 {
		return errors.New("is empty, which refuses everything")
	}
	for _, item := range items {
		n, err := integer(item, 3)
		if err != nil {
			return err
		}
		d.p.SNP.VMPL = append(d.p.SNP.VMPL, uint32(n))
	}
	return nil
}

// featureBits are the names that upstream takes, and what is new since.
var featureBits = map[string]dcap.Attributes{
	"CET": dcap.CET, "Debug": dcap.Debug, "EInitKey": dcap.EINITTokenKey, "KSS": dcap.KSS, "ProvisioningKey": dcap.ProvisionKey, "AEXNotify": dcap.AEXNotify,
}

func features(d *policyReader, path string, value any) error {
	all, err := texts(value, false)
	if err != nil {
		return err
	}
	var bits dcap.Attributes
	for _, s := range all {
		bit, ok := featureBits[s]
		if !ok {
			return d.errorAt(path, diag.Suggest(s, "known", slices.Sorted(maps.Keys(featureBits))), "%s: unknown feature %.64q", path, s)
		}
		bits |= bit
	}
	if bits&dcap.Debug != 0 {
		d.warn(path, "Debug is among the features: enclaves whose memory the host can read are accepted")
	}
	d.p.SGX.Features = &bits
	return nil
}

func miscSelect(d *policyReader, path string, value any) error {
	all, err := texts(value, false)
	if err != nil {
		return err
	}
	var bits uint32
	for _, s := range all {
		if s != "EXINFO" {
			return d.errorAt(path, diag.Suggest(s, "known", []string{"EXINFO"}), "%s: unknown MISCSELECT flag %.64q", path, s)
		}
		bits |= 1
	}
	d.p.SGX.MiscSelect = &bits
	return nil
}
