// SPDX-License-Identifier: Apache-2.0

// Package cachefile knows the files that a host keeps collateral in for its
// Keeps, as every release of Enarx has had them (spec/enarx.md 4.7 and 4.8):
// their places, names and formats. What is read from them is not trusted.
package cachefile

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
)

// The folders, and the files in them whose names do not depend on the machine.
const (
	AMDDir   = "/var/cache/amd-sev"
	IntelDir = "/var/cache/intel-sgx"

	CRLs  = "crls.der"            // a list of revocation lists, in both
	TCB   = "tcb.der"             // Intel: a TCB info and its signers
	FMSPC = "fmspc.txt"           // Intel: the platform family, upper-case hexadecimal
	PCKID = "pckid_retrieval.csv" // Intel: what PCKIDRetrievalTool writes

	lockExt = ".lck"
	maxFile = 1 << 20
)

// VCEKName returns the name of the file for a chip's VCEK.
func VCEKName(product string, chip [64]byte, tcb snp.TCB) string {
	id := chip[:]
	levels := []uint8{tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode}
	if product == snp.Turin {
		id = chip[:8]
		levels = append([]uint8{tcb.FMC}, levels...)
	}
	name := fmt.Sprintf("vcek-%x", id)
	for _, l := range levels {
		name += fmt.Sprintf("-%02d", l)
	}
	return name
}

// VCEKs returns the files of the folder that are named like one for a VCEK.
func VCEKs(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "vcek-*"))
	var found []string
	for _, name := range names {
		if !strings.HasSuffix(name, lockExt) {
			found = append(found, name)
		}
	}
	return found
}

// EncodeTCB returns the contents of the file for a TCB info: the certificates
// that its signature leads to, signer first, and Intel's answer as it was.
func EncodeTCB(chain []*x509.Certificate, info []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, c := range chain {
				b.AddBytes(c.Raw)
			}
		})
		b.AddASN1OctetString(info)
	})
	return b.Bytes()
}

var errTCB = errors.New("not a TCB info with its signers")

// DecodeTCB reads what EncodeTCB writes.
func DecodeTCB(data []byte) (chain []*x509.Certificate, info *dcap.TCBInfo, err error) {
	in := cryptobyte.String(data)
	var outer, certs, body cryptobyte.String
	if !in.ReadASN1(&outer, der.SEQUENCE) || !in.Empty() || !outer.ReadASN1(&certs, der.SEQUENCE) ||
		!outer.ReadASN1(&body, der.OCTET_STRING) || !outer.Empty() {
		return nil, nil, errTCB
	}
	for !certs.Empty() {
		var one cryptobyte.String
		if !certs.ReadASN1Element(&one, der.SEQUENCE) || len(chain) == 8 {
			return nil, nil, errTCB
		}
		c, err := x509.ParseCertificate(one)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errTCB, err)
		}
		chain = append(chain, c)
	}
	if info, err = dcap.ParseTCBInfo(body); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errTCB, err)
	}
	return chain, info, nil
}

// ReadCRLs returns the revocation lists of a file, and when the first of them
// goes out of date.
func ReadCRLs(path string) (lists []*pki.CRL, next time.Time, err error) {
	data, err := read(path)
	if err != nil {
		return nil, next, err
	}
	entries, err := attest.ParseCRLList(data)
	if err == nil && len(entries) == 0 {
		err = errors.New("no revocation list in it")
	}
	for _, e := range entries {
		var c *pki.CRL
		if c, err = pki.ParseCRL(e.DER); err != nil {
			break
		}
		if len(lists) == 0 || c.NextUpdate.Before(next) {
			next = c.NextUpdate
		}
		lists = append(lists, c)
	}
	if err != nil {
		return nil, next, fmt.Errorf("%s: %w", path, err)
	}
	return lists, next, nil
}

// ReadTCB returns the TCB info of a file.
func ReadTCB(path string) (*dcap.TCBInfo, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	_, info, err := DecodeTCB(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// ReadVCEK returns the certificate of a file, in DER.
func ReadVCEK(path string) (*x509.Certificate, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ReadFMSPC returns the platform family of a file.
func ReadFMSPC(path string) (fmspc [6]byte, err error) {
	data, err := read(path)
	if err != nil {
		return fmspc, err
	}
	fmspc, err = ParseFMSPC(strings.TrimSpace(string(data)))
	if err != nil {
		return fmspc, fmt.Errorf("%s: %w", path, err)
	}
	return fmspc, nil
}

// ParseFMSPC reads a platform family in hexadecimal.
func ParseFMSPC(s string) (fmspc [6]byte, err error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(fmspc) {
		return fmspc, fmt.Errorf("%q is not an FMSPC: that is 12 hexadecimal digits", s)
	}
	return [6]byte(raw), nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: over %d bytes", path, maxFile)
	}
	return data, err
}
