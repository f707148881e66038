// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"enarx.dev/enarx/attest/snp"
)

// A kind of document has limits and a clock of its own.
type kind uint8

const (
	kindVCEK       kind = iota + 1 // AMD: the certificate of one chip at one TCB
	kindChain                      // AMD: intermediates and root of a product line
	kindAMDCRL                     // AMD: what a product line's root has revoked
	kindRootCRL                    // Intel: what the SGX root has revoked
	kindPCKCRL                     // Intel: what a PCK CA has revoked
	kindTCBInfo                    // Intel: the TCB levels of a platform family
	kindQEIdentity                 // Intel: the quoting enclave as it should be
	kindPCK                        // Intel: the certificate of one platform
	kindCount
)

const (
	daily   = 4 * time.Hour // revocations and TCB recoveries are announced at any time
	monthly = 30 * 24 * time.Hour
)

// facts of each kind. Limits are many times what the vendors serve.
var facts = [kindCount]struct {
	limit   int64
	refresh time.Duration // after which a newer one is looked for
	foreign bool          // evidence decides which: strangers choose what is asked for
}{
	kindVCEK:       {16 << 10, monthly, true},
	kindChain:      {64 << 10, monthly, false},
	kindAMDCRL:     {1 << 20, daily, false},
	kindRootCRL:    {1 << 20, daily, false},
	kindPCKCRL:     {1 << 20, daily, false},
	kindTCBInfo:    {1 << 20, daily, true},
	kindQEIdentity: {256 << 10, daily, false},
	kindPCK:        {64 << 10, monthly, true},
}

// An Item names one document of a vendor. Items are comparable.
type Item struct {
	kind    kind
	vlek    bool   // of the keys lent to cloud providers
	tdx     bool   // of TDX, not SGX
	product string // AMD product line, or "processor" or "platform" for Intel's PCK CAs
	query   string // of a PCK certificate, ready for the address
	chip    [64]byte
	tcb     snp.TCBVersion
	fmspc   [6]byte
}

// VCEK is the certificate for the key of an AMD chip at a TCB, both as they
// are in a report.
func VCEK(product string, chip [64]byte, tcb snp.TCBVersion) Item {
	return Item{kind: kindVCEK, product: product, chip: chip, tcb: tcb}
}

// AMDChain is the certificates above the keys of an AMD product line.
func AMDChain(product string, vlek bool) Item {
	return Item{kind: kindChain, product: product, vlek: vlek}
}

// AMDCRL is the revocation list of an AMD product line.
func AMDCRL(product string, vlek bool) Item {
	return Item{kind: kindAMDCRL, product: product, vlek: vlek}
}

// RootCRL is the revocation list of Intel's SGX root.
func RootCRL() Item { return Item{kind: kindRootCRL} }

// PCKCRL is the revocation list of one of Intel's PCK CAs, "processor" or
// "platform".
func PCKCRL(ca string) Item { return Item{kind: kindPCKCRL, product: ca} }

// TCBInfo is the TCB levels of an Intel platform family, for TDX or for SGX.
func TCBInfo(fmspc [6]byte, tdx bool) Item { return Item{kind: kindTCBInfo, fmspc: fmspc, tdx: tdx} }

// QEIdentity is what Intel says of its quoting enclave, for TDX or for SGX.
func QEIdentity(tdx bool) Item { return Item{kind: kindQEIdentity, tdx: tdx} }

// PCK is the certificate of the Intel platform that those values, in
// hexadecimal, are of.
func PCK(encryptedPPID, cpusvn, pcesvn, pceid string) Item {
	q := url.Values{"encrypted_ppid": {encryptedPPID}, "cpusvn": {cpusvn}, "pcesvn": {pcesvn}, "pceid": {pceid}}
	return Item{kind: kindPCK, query: q.Encode()}
}

// String is what people call the document.
func (i Item) String() string {
	tee := "SGX"
	if i.tdx {
		tee = "TDX"
	}
	switch i.kind {
	case kindVCEK:
		return fmt.Sprintf("%s VCEK of chip %s… at the reported TCB", i.product, hex.EncodeToString(i.chip[:4]))
	case kindChain:
		return i.product + " certificate chain"
	case kindAMDCRL:
		return "CRL of ARK-" + i.product
	case kindRootCRL:
		return "CRL of the Intel SGX root"
	case kindPCKCRL:
		return "CRL of Intel's PCK " + i.product + " CA"
	case kindTCBInfo:
		return fmt.Sprintf("%s TCB info of FMSPC %X", tee, i.fmspc)
	case kindQEIdentity:
		return tee + " QE identity"
	case kindPCK:
		return "PCK certificate of the platform"
	}
	return "bug: no document"
}

// code is how the failure to get such a document is named.
func (i Item) code() string {
	return [kindCount]string{
		kindVCEK: "collateral.vcek", kindChain: "collateral.chain", kindAMDCRL: "collateral.crl", kindRootCRL: "collateral.crl",
		kindPCKCRL: "collateral.crl", kindTCBInfo: "collateral.tcb-info", kindQEIdentity: "collateral.qe-identity", kindPCK: "collateral.pck",
	}[i.kind]
}

// The vendors' services, as they are without a mirror.
const (
	DefaultKDS   = snp.KDS
	DefaultPCS   = "https://api.trustedservices.intel.com"
	DefaultCerts = "https://certificates.trustedservices.intel.com"
)

// address returns where this Fetcher looks for the document, and the header
// that its issuers' certificates come in, if they do.
func (f *Fetcher) address(i Item) (address, chainHeader string) {
	return i.at(f.cfg.KDS, f.cfg.PCS, f.cfg.Certs)
}

// published returns where the vendor has the document, whatever mirror was
// asked.
func (i Item) published() string {
	address, _ := i.at(DefaultKDS, DefaultPCS, DefaultCerts)
	return address
}

func (i Item) at(kds, pcs, certs string) (address, chainHeader string) {
	signer := "vcek"
	if i.vlek {
		signer = "vlek"
	}
	tee := "/sgx"
	if i.tdx {
		tee = "/tdx"
	}
	pcs += tee + "/certification/v4"
	switch i.kind {
	case kindVCEK:
		return kds + snp.VCEKURLPath(i.product, i.chip[:], i.tcb.Decode(i.product)), ""
	case kindChain:
		return kds + snp.ChainURLPath(i.product, signer), ""
	case kindAMDCRL:
		return kds + snp.CRLURLPath(i.product, signer), ""
	case kindRootCRL:
		if certs == "" {
			return pcs + "/rootcacrl", ""
		}
		return certs + "/IntelSGXRootCA.der", ""
	case kindPCKCRL:
		return pcs + "/pckcrl?ca=" + i.product + "&encoding=der", "SGX-PCK-CRL-Issuer-Chain"
	case kindTCBInfo:
		return pcs + "/tcb?fmspc=" + strings.ToUpper(hex.EncodeToString(i.fmspc[:])), "TCB-Info-Issuer-Chain"
	case kindQEIdentity:
		return pcs + "/qe/identity", "SGX-Enclave-Identity-Issuer-Chain"
	case kindPCK:
		return pcs + "/pckcert?" + i.query, "SGX-PCK-Certificate-Issuer-Chain"
	}
	return "", ""
}
