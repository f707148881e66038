// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
)

// A Document is one piece of collateral, parsed, with a signature that leads
// to a root. It must not be changed.
type Document struct {
	URL     string
	Fetched time.Time
	Body    []byte              // as it was served, but for CRLs, which are DER
	Chain   []*x509.Certificate // its issuers, if they came with it
	Issued  time.Time
	Next    time.Time // when the vendor promised the next one, or a certificate expires

	Collateral attest.Collateral // the document and its issuers
	item       Item
	header     string // Chain as it came
}

// usable reports whether an appraisal at this time would take the document.
func (d *Document) usable(now time.Time, maxAge time.Duration) bool {
	dated := d.item.kind != kindVCEK && d.item.kind != kindChain && d.item.kind != kindPCK
	return now.Before(d.Next) && !(dated && maxAge > 0 && now.Sub(d.Issued) > maxAge)
}

var (
	// errUnusable marks an answer that is not the document that was asked for.
	errUnusable = errors.New("the answer is not that document")
	errUnsigned = fmt.Errorf("%w: no root vouches for it", errUnusable)
)

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnusable, fmt.Sprintf(format, args...))
}

const maxChain = 8 // certificates in one answer

// ParseChain reads a header with certificates, as Intel sends them: PEM,
// URL-encoded.
func ParseChain(memo *pki.Memo, header string) ([]*x509.Certificate, error) {
	if len(header) > maxHeaderFields {
		return nil, unusable("a chain of over %d bytes", maxHeaderFields)
	}
	text, err := url.PathUnescape(header)
	if err != nil {
		return nil, unusable("its chain is not URL-encoded")
	}
	return parsePEM(memo, []byte(text))
}

// parsePEM reads certificates and nothing else.
func parsePEM(memo *pki.Memo, text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" || len(certs) == maxChain {
			return nil, unusable("not a few certificates in PEM")
		}
		c, err := memo.Certificate(block.Bytes)
		if err != nil {
			return nil, unusable("%v", err)
		}
		certs, text = append(certs, c), rest
	}
	return certs, nil
}

// parse reads an answer and establishes that it is the document of that name
// and that a root vouches for it. Dates are not looked at.
func (f *Fetcher) parse(i Item, a answer, fetched time.Time) (*Document, error) {
	d := &Document{item: i, Fetched: fetched, Body: a.body, header: a.chain}
	d.URL, _ = f.address(i)
	var err error
	if d.Chain, err = ParseChain(f.cfg.Memo, a.chain); err != nil {
		return nil, err
	}
	read := [kindCount]func(*Fetcher, *Document) error{
		kindVCEK: (*Fetcher).readVCEK, kindChain: (*Fetcher).readChain,
		kindAMDCRL: (*Fetcher).readCRL, kindRootCRL: (*Fetcher).readCRL, kindPCKCRL: (*Fetcher).readCRL,
		kindTCBInfo: (*Fetcher).readTCBInfo, kindQEIdentity: (*Fetcher).readQEIdentity, kindPCK: (*Fetcher).readPCK,
	}[i.kind]
	if err := read(f, d); err != nil {
		return nil, err
	}
	d.Collateral.Certificates = append(d.Collateral.Certificates, d.Chain...)
	return d, nil
}

func (d *Document) certificate(c *x509.Certificate) {
	d.Issued, d.Next = c.NotBefore, c.NotAfter
	d.Collateral.Certificates = append(d.Collateral.Certificates, c)
}

// readVCEK leaves the signature to the verification: the intermediate may be
// newer than those known here, and all that a forgery does is to be refused.
func (f *Fetcher) readVCEK(d *Document) error {
	c, err := f.cfg.Memo.Certificate(d.Body)
	if err != nil {
		return unusable("%v", err)
	}
	e, err := snp.ParseEndorsement(c)
	if err != nil {
		return unusable("%v", err)
	}
	id := d.item.chip[:]
	if d.item.product == snp.Turin {
		id = id[:8]
	}
	if !bytes.Equal(e.HWID, id) || e.TCB != d.item.tcb.Decode(d.item.product) {
		return unusable("it is of another chip or TCB")
	}
	d.certificate(c)
	return nil
}

func (f *Fetcher) readChain(d *Document) error {
	certs, err := parsePEM(f.cfg.Memo, d.Body)
	if err != nil {
		return err
	}
	for _, c := range certs {
		if f.signer(f.cfg.Roots.AMD, c.RawIssuer, signedCert(c)) == nil {
			return errUnsigned
		}
		if string(c.RawIssuer) != string(c.RawSubject) {
			d.certificate(c)
		}
	}
	if len(d.Collateral.Certificates) == 0 {
		return unusable("it has no intermediate certificate")
	}
	return nil
}

func (f *Fetcher) readCRL(d *Document) error {
	der := d.Body
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	} else if raw, err := hex.DecodeString(string(bytes.TrimSpace(der))); err == nil {
		der = raw // as Intel's caching service has it
	}
	crl, err := f.cfg.Memo.CRL(der)
	if err != nil {
		return unusable("%v", err)
	}
	issuers := f.intel(d.Chain)
	switch d.item.kind {
	case kindAMDCRL:
		issuers = f.ark(d.item.product)
	case kindRootCRL:
		issuers = f.cfg.Roots.Intel
	}
	if f.signer(issuers, crl.RawIssuer, func(c *x509.Certificate) error {
		return c.CheckSignature(crl.SignatureAlgorithm, crl.RawTBSRevocationList, crl.Signature)
	}) == nil {
		return errUnsigned
	}
	d.Body, d.Issued, d.Next = der, crl.ThisUpdate, crl.NextUpdate
	d.Collateral.CRLs = []*pki.CRL{crl}
	return nil
}

func (f *Fetcher) readTCBInfo(d *Document) error {
	info, err := dcap.RememberTCBInfo(f.cfg.Memo, d.Body)
	if err != nil {
		return unusable("%v", err)
	}
	if id := map[bool]string{true: "TDX", false: "SGX"}[d.item.tdx]; info.ID != id || info.FMSPC != d.item.fmspc {
		return unusable("it is the %s TCB info of FMSPC %X", info.ID, info.FMSPC)
	}
	if !f.signedJSON(d.Chain, info.Body, info.Signature) {
		return errUnsigned
	}
	d.Issued, d.Next = info.IssueDate, info.NextUpdate
	d.Collateral.TCBInfos = []*dcap.TCBInfo{info}
	return nil
}

func (f *Fetcher) readQEIdentity(d *Document) error {
	id, err := dcap.RememberQEIdentity(f.cfg.Memo, d.Body)
	if err != nil {
		return unusable("%v", err)
	}
	if want := map[bool]string{true: "TD_QE", false: "QE"}[d.item.tdx]; id.ID != want {
		return unusable("it is the identity %s", id.ID)
	}
	if !f.signedJSON(d.Chain, id.Body, id.Signature) {
		return errUnsigned
	}
	d.Issued, d.Next = id.IssueDate, id.NextUpdate
	d.Collateral.QEIdentities = []*dcap.QEIdentity{id}
	return nil
}

func (f *Fetcher) readPCK(d *Document) error {
	certs, err := parsePEM(f.cfg.Memo, d.Body)
	if err != nil {
		return err
	}
	if len(certs) != 1 {
		return unusable("%d certificates", len(certs))
	}
	if f.signer(f.intel(d.Chain), certs[0].RawIssuer, signedCert(certs[0])) == nil {
		return errUnsigned
	}
	d.certificate(certs[0])
	return nil
}

// signer returns the first of those issuers that has the name and for whose
// key check finds nothing wrong, or nil.
func (f *Fetcher) signer(issuers []*x509.Certificate, name []byte, check func(*x509.Certificate) error) *x509.Certificate {
	for _, c := range issuers {
		if bytes.Equal(c.RawSubject, name) && check(c) == nil {
			return c
		}
	}
	return nil
}

func signedCert(c *x509.Certificate) func(*x509.Certificate) error {
	return func(issuer *x509.Certificate) error {
		return issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	}
}

// ark returns the roots of an AMD product line.
func (f *Fetcher) ark(product string) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(f.cfg.Roots.AMD), func(c *x509.Certificate) bool {
		return c.Subject.CommonName != "ARK-"+product
	})
}

// intel returns the certificates of chain that an Intel root has signed.
func (f *Fetcher) intel(chain []*x509.Certificate) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(chain), func(c *x509.Certificate) bool {
		return f.signer(f.cfg.Roots.Intel, c.RawIssuer, signedCert(c)) == nil
	})
}

// signedJSON reports whether a key that Intel's root vouches for has signed
// body: ECDSA with P-256 and SHA-256, the signature as its two numbers.
func (f *Fetcher) signedJSON(chain []*x509.Certificate, body, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	sum := sha256.Sum256(body)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return slices.ContainsFunc(f.intel(chain), func(c *x509.Certificate) bool {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		return ok && ecdsa.Verify(key, sum[:], r, s)
	})
}
