// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/diag"
)

// A setter reads the value of one key into the policy.
type setter func(d *policyReader, path string, value any) error

// policyKeys are the keys at the top of a policy file.
var policyKeys = map[string]setter{
	"technologies":        technologies,
	"expected":            words(func(p *Policy) *[]string { return &p.Expected }),
	"refuse_known_broken": boolean(func(p *Policy) *bool { return &p.RefuseKnownBroken }),
	"measurements":        measurements,
}

// policyTables are the tables and their keys. Those of snp and sgx up to the
// empty line are upstream's, spec/steward.md section 3.5.
var policyTables = map[string]map[string]setter{
	"snp": {
		"signer":                  digests(48, func(p *Policy) *[][]byte { return &p.SNP.Signer }),
		"hash":                    digests(48, func(p *Policy) *[][]byte { return &p.SNP.Hash }),
		"hash_blacklist":          digests(48, func(p *Policy) *[][]byte { return &p.SNP.HashDenied }),
		"id_key_digest":           digests(48, func(p *Policy) *[][]byte { return &p.SNP.IDKey }),
		"id_key_digest_blacklist": digests(48, func(p *Policy) *[][]byte { return &p.SNP.IDDenied }),
		"abi":                     versions(func(p *Policy) **VersionRange { return &p.SNP.ABI }),
		"policy_flags":            policyFlags,
		"platform_info_flags":     platformInfo(func(p *Policy) *snp.PlatformInfo { return &p.SNP.PlatformInfo }),

		"platform_info_denied": platformInfo(func(p *Policy) *snp.PlatformInfo { return &p.SNP.PlatformDenied }),
		"minimum_tcb":          minimumTCB,
		"minimum_firmware":     firmware,
		"minimum_guest_svn":    number(math.MaxUint32, func(p *Policy, v uint64) { p.SNP.MinimumGuestSVN = uint32(v) }),
		"chip_ids":             chips(func(p *Policy) *[][]byte { return &p.SNP.ChipIDs }),
		"chip_ids_denied":      chips(func(p *Policy) *[][]byte { return &p.SNP.ChipIDsDenied }),
		"csp_ids":              words(func(p *Policy) *[]string { return &p.SNP.CSPIDs }),
		"host_data":            digests(32, func(p *Policy) *[][]byte { return &p.SNP.HostData }),
		"products":             products,
		"vmpl":                 vmpl,
		"allow_debug":          boolean(func(p *Policy) *bool { return &p.SNP.AllowDebug }),
		"allow_migration":      boolean(func(p *Policy) *bool { return &p.SNP.AllowMigration }),
		"allow_vlek":           boolean(func(p *Policy) *bool { return &p.SNP.AllowVLEK }),
	},
	"sgx": merged(dcapKeys(func(p *Policy) *DCAPPolicy { return &p.SGX.DCAPPolicy }), map[string]setter{
		"signer":                   digests(32, func(p *Policy) *[][]byte { return &p.SGX.Signer }),
		"hash":                     digests(32, func(p *Policy) *[][]byte { return &p.SGX.Hash }),
		"hash_blacklist":           digests(32, func(p *Policy) *[][]byte { return &p.SGX.HashDenied }),
		"features":                 features,
		"misc_select":              miscSelect,
		"enclave_security_version": number(math.MaxUint16, func(p *Policy, v uint64) { p.SGX.MinimumSVN = uint16(v) }),
		"enclave_product_id":       number(math.MaxUint16, func(p *Policy, v uint64) { id := uint16(v); p.SGX.ProductID = &id }),

		"config_id":   digests(64, func(p *Policy) *[][]byte { return &p.SGX.ConfigID }),
		"require_kss": boolean(func(p *Policy) *bool { return &p.SGX.RequireKSS }),
	}),
	"tdx": merged(dcapKeys(func(p *Policy) *DCAPPolicy { return &p.TDX.DCAPPolicy }), map[string]setter{
		"mr_td":           digests(48, func(p *Policy) *[][]byte { return &p.TDX.MRTD }),
		"mr_td_denied":    digests(48, func(p *Policy) *[][]byte { return &p.TDX.MRTDDenied }),
		"rtmr0":           digests(48, func(p *Policy) *[][]byte { return &p.TDX.RTMR[0] }),
		"rtmr1":           digests(48, func(p *Policy) *[][]byte { return &p.TDX.RTMR[1] }),
		"rtmr2":           digests(48, func(p *Policy) *[][]byte { return &p.TDX.RTMR[2] }),
		"rtmr3":           digests(48, func(p *Policy) *[][]byte { return &p.TDX.RTMR[3] }),
		"mr_config_id":    digests(48, func(p *Policy) *[][]byte { return &p.TDX.MRConfigID }),
		"mr_owner":        digests(48, func(p *Policy) *[][]byte { return &p.TDX.MROwner }),
		"mr_owner_config": digests(48, func(p *Policy) *[][]byte { return &p.TDX.MROwnerConfig }),
		"mr_seam":         digests(48, func(p *Policy) *[][]byte { return &p.TDX.MRSEAM }),
		"mr_service_td":   digests(48, func(p *Policy) *[][]byte { return &p.TDX.MRServiceTD }),
		"allow_migration": boolean(func(p *Policy) *bool { return &p.TDX.AllowMigration }),
	}),
	"collateral": {
		"max_age":             duration(func(p *Policy) *time.Duration { return &p.Collateral.MaxAge }),
		"require_crl":         boolean(func(p *Policy) *bool { return &p.Collateral.RequireCRL }),
		"require_tcb_info":    boolean(func(p *Policy) *bool { return &p.Collateral.RequireTCBInfo }),
		"require_qe_identity": boolean(func(p *Policy) *bool { return &p.Collateral.RequireQEIdentity }),
	},
	"certificate": {
		"life":     duration(func(p *Policy) *time.Duration { return &p.Certificate.Life }),
		"max_life": duration(func(p *Policy) *time.Duration { return &p.Certificate.MaxLife }),
	},
}

func dcapKeys(of func(*Policy) *DCAPPolicy) map[string]setter {
	return map[string]setter{
		"allowed_advisories":        words(func(p *Policy) *[]string { return &of(p).Advisories }),
		"allowed_tcb_statuses":      statuses(func(p *Policy) *[]string { return &of(p).Statuses }),
		"ppids":                     digests(16, func(p *Policy) *[][]byte { return &of(p).PPIDs }),
		"ppids_denied":              digests(16, func(p *Policy) *[][]byte { return &of(p).PPIDsDenied }),
		"platforms":                 digests(16, func(p *Policy) *[][]byte { return &of(p).Platforms }),
		"minimum_qe_svn":            number(math.MaxUint16, func(p *Policy, v uint64) { of(p).MinimumQESVN = uint16(v) }),
		"minimum_pce_svn":           number(math.MaxUint16, func(p *Policy, v uint64) { of(p).MinimumPCESVN = uint16(v) }),
		"minimum_evaluation_number": number(math.MaxUint32, func(p *Policy, v uint64) { of(p).MinimumEvaluation = uint32(v) }),
		"allow_debug":               boolean(func(p *Policy) *bool { return &of(p).AllowDebug }),
	}
}

func merged(a, b map[string]setter) map[string]setter {
	maps.Copy(a, b)
	return a
}

func boolean(field func(*Policy) *bool) setter {
	return func(d *policyReader, _ string, value any) error {
		v, ok := value.(bool)
		if !ok {
			return fmt.Errorf("must be true or false, not %s", kind(value))
		}
		*field(d.p) = v
		return nil
	}
}

func number(limit uint64, set func(*Policy, uint64)) setter {
	return func(d *policyReader, _ string, value any) error {
		v, err := integer(value, limit)
		if err == nil {
			set(d.p, v)
		}
		return err
	}
}

func integer(value any, limit uint64) (uint64, error) {
	v, ok := value.(int64)
	switch {
	case !ok:
		return 0, fmt.Errorf("must be an integer, not %s", kind(value))
	case v < 0 || uint64(v) > limit:
		return 0, fmt.Errorf("must be between 0 and %d", limit)
	}
	return uint64(v), nil
}

// texts reads an array of strings. Where one is allowed, a string is an array
// of one.
func texts(value any, orOne bool) ([]string, error) {
	if s, ok := value.(string); ok && orOne {
		return []string{s}, nil
	}
	items, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("must be an array of strings, not %s", kind(value))
	}
	all := make([]string, len(items))
	for i, item := range items {
		if all[i], ok = item.(string); !ok {
			return nil, fmt.Errorf("must be an array of strings, and has %s", kind(item))
		}
	}
	return all, nil
}

// words reads a list in which an empty one asks for nothing, as upstream.
func words(field func(*Policy) *[]string) setter {
	return func(d *policyReader, path string, value any) error {
		all, err := texts(value, false)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			d.warn(path, "%s is empty, which asks for nothing", path)
			all = nil
		}
		*field(d.p) = all
		return nil
	}
}

// digests reads a list of values of that many bytes in hexadecimal.
func digests(size int, field func(*Policy) *[][]byte) setter {
	return func(d *policyReader, path string, value any) error {
		all, err := hexList(value, false, size)
		if err != nil {
			return err
		}
		denies := strings.HasSuffix(path, "_blacklist") || strings.HasSuffix(path, "_denied")
		if len(all) == 0 && !denies {
			d.warn(path, "%s is empty, which asks for nothing", path)
		}
		*field(d.p) = all
		return nil
	}
}

// hexList returns nil for an empty list.
func hexList(value any, orOne bool, sizes ...int) ([][]byte, error) {
	strs, err := texts(value, orOne)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, s := range strs {
		v, err := hex.DecodeString(s)
		if err != nil || !slices.Contains(sizes, len(v)) {
			return nil, fmt.Errorf("%.200q is not %d hexadecimal digits", s, 2*sizes[0])
		}
		all = append(all, v)
	}
	return all, nil
}

// chips reads chip IDs of 64 bytes, or 8 for Turin, whose reports fill up with
// zeros.
func chips(field func(*Policy) *[][]byte) setter {
	return func(d *policyReader, path string, value any) error {
		all, err := hexList(value, false, 64, 8)
		if err != nil {
			return fmt.Errorf("%w, or 16 for Turin", err)
		}
		for i, id := range all {
			all[i] = append(id, make([]byte, 64-len(id))...)
		}
		*field(d.p) = all
		return nil
	}
}

func versions(field func(*Policy) **VersionRange) setter {
	return func(d *policyReader, _ string, value any) error {
		s, ok := value.(string)
		if !ok {
			return fmt.Errorf(`must be a string like ">=1.51", not %s`, kind(value))
		}
		v, err := ParseVersionRange(s)
		*field(d.p) = v
		return err
	}
}

func duration(field func(*Policy) *time.Duration) setter {
	return func(d *policyReader, _ string, value any) error {
		s, ok := value.(string)
		if !ok {
			return fmt.Errorf(`must be a string like "24h" or "30d", not %s`, kind(value))
		}
		v, err := parseDuration(s)
		*field(d.p) = v
		return err
	}
}

// parseDuration is time.ParseDuration with days.
func parseDuration(s string) (time.Duration, error) {
	const century = 100 * 365 * 24 * time.Hour
	bad := fmt.Errorf(`%.64q is not a duration like "24h" or "30d"`, s)
	var v time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		v = time.Duration(n) * 24 * time.Hour
	} else if n, err := time.ParseDuration(s); err != nil {
		return 0, bad
	} else {
		v = n
	}
	if v < time.Second || v > century {
		return 0, errors.New("must be at least a second and at most a hundred years")
	}
	return v, nil
}

// kind says what a TOML value is.
func kind(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func statuses(field func(*Policy) *[]string) setter {
	known := []string{
		dcap.UpToDate, dcap.SWHardeningNeeded, dcap.ConfigurationNeeded, dcap.ConfigurationAndSWHardeningNeeded,
		dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded,
	}
	return func(d *policyReader, path string, value any) error {
		all, err := texts(value, false)
		if err != nil {
			return err
		}
		for _, s := range all {
			switch {
			case s == dcap.Revoked:
				return d.errorAt(path, "remove it", "%s: a platform that Intel revoked is never accepted", path)
			case !slices.Contains(known, s):
				return d.errorAt(path, diag.Suggest(s, "known", known), "%s: unknown TCB status %.64q", path, s)
			}
		}
		if len(all) == 0 {
			return errors.New("is empty, which refuses everything: remove it to accept UpToDate")
		}
		*field(d.p) = all
		return nil
	}
}

func technologies(d *policyReader, path string, value any) error {
	known := []string{string(SGX), string(SNP), string(TDX)}
	all, err := texts(value, false)
	if err != nil {
		return err
	}
	d.p.Technologies = []Technology{}
	for _, s := range all {
		if !slices.Contains(known, s) {
			return d.errorAt(path, diag.Suggest(s, "known", known), "%s: unknown technology %.64q", path, s)
		}
		d.p.Technologies = append(d.p.Technologies, Technology(s))
	}
	if len(all) == 0 {
		d.warn(path, "technologies is empty, which refuses all hardware")
	}
	return nil
}
