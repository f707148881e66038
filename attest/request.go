// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// What a request may hold.
const (
	maxRequest = 2 << 20 // as upstream's body limit
	maxSubject = 4 << 10
	maxSPKI    = 2 << 10 // an RSA key of 8192 bits has 1 KiB
)

var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSAN              = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidECDSA256         = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSA384         = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidPSS              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
)

// ErrNoEvidence is wrapped by the error for a good request that carries no
// evidence at all.
var ErrNoEvidence = errors.New("attest: the request carries no evidence")

// ErrRequest is wrapped by the error for every other request that is refused
// before its evidence is looked at.
var ErrRequest = errors.New("attest: bad certificate request")

// RequestError is why a request was refused before its evidence was verified.
type RequestError struct {
	Checks *check.Group // the last one failed
	err    error
}

// Error is the check that failed.
func (e *RequestError) Error() string {
	if failed := e.Checks.Failures(); len(failed) > 0 {
		return e.err.Error() + ": " + failed[0].String()
	}
	return e.err.Error()
}

// Unwrap returns ErrNoEvidence or ErrRequest.
func (e *RequestError) Unwrap() error { return e.err }

// Request is a certificate request whose signature is good. Its evidence is
// not verified.
type Request struct {
	Raw        []byte // the whole DER; the others point into it
	RawSubject []byte // as asked for, unchecked
	RawSPKI    []byte // the key's SubjectPublicKeyInfo
	PublicKey  crypto.PublicKey
	Evidence   *Evidence // bound to RawSPKI, with the URIs asked for
	Names      Names     // what these URIs say
	Checks     *check.Group

	info, signature []byte
	algorithm       asn1.ObjectIdentifier
	parameters      bool // the algorithm has some
	sans            int
	uris            []string
}

const (
	rfc2986  = "RFC 2986 section 4"
	stewards = "docs/evidence.md, requests"
)

// ParseRequest reads a PKCS#10 request with evidence, as every release of Enarx
// sends them, and verifies its signature over the bytes as they came. Its
// errors are of type *RequestError.
func ParseRequest(data []byte, memo *pki.Memo) (*Request, error) {
	req := &Request{Raw: data, Checks: check.New("Certificate request")}
	req.Checks.Checks = make([]check.Check, 0, 8)
	attributes, ok := req.parse()
	if ok && req.verify() && req.attributes(attributes, memo) {
		return req, nil
	}
	err := &RequestError{Checks: req.Checks, err: ErrRequest}
	if c := req.Checks.Find("csr.evidence"); c != nil && c.Status == check.Failed {
		err.err = ErrNoEvidence
	}
	return nil, err
}

// refuse records a failed check.
func (req *Request) refuse(code, what, source, fix string, err error) bool {
	c := check.Check{Code: code, What: what, Source: source, Fix: fix}
	if err != nil {
		c.Found = check.Text(err.Error())
	}
	return req.Checks.Fail(c)
}

func (req *Request) pass(code, what string) {
	req.Checks.Require(true, check.Check{Code: code, What: what})
}

// parse takes CertificationRequest apart and returns its attributes.
func (req *Request) parse() (attributes cryptobyte.String, ok bool) {
	const code, what = "csr.encoding", "the request is one PKCS#10 request in DER"
	const fix = "send the DER of one CertificationRequest, not PEM or base64, and nothing after it"
	malformed := func(err error) (cryptobyte.String, bool) {
		return nil, req.refuse(code, what, rfc2986, fix, err)
	}
	if len(req.Raw) > maxRequest {
		return malformed(fmt.Errorf("%d bytes, more than %d", len(req.Raw), maxRequest))
	}
	r := &reader{String: req.Raw}
	outer := r.within("CertificationRequest", der.SEQUENCE)
	r.done(r, "CertificationRequest")
	req.info = outer.element("CertificationRequestInfo", der.SEQUENCE)
	algorithm := outer.within("signatureAlgorithm", der.SEQUENCE)
	if !algorithm.ReadASN1ObjectIdentifier(&req.algorithm) {
		algorithm.fail("signatureAlgorithm: no object identifier")
	}
	req.parameters = len(algorithm.String) > 0
	signature := outer.within("signature", der.BIT_STRING)
	if len(signature.String) < 2 || signature.String[0] != 0 {
		signature.fail("signature: unused bits, or nothing")
	} else {
		req.signature = signature.String[1:]
	}
	outer.done(r, "CertificationRequest")
	for _, err := range []error{r.err, algorithm.err, signature.err} {
		if err != nil {
			return malformed(err)
		}
	}

	info := (&reader{String: req.info}).within("CertificationRequestInfo", der.SEQUENCE)
	version := info.within("version", der.INTEGER)
	req.RawSubject = info.element("subject", der.SEQUENCE)
	req.RawSPKI = info.element("subjectPublicKeyInfo", der.SEQUENCE)
	tag := der.Tag(0).Constructed().ContextSpecific()
	if info.PeekASN1Tag(tag) {
		attributes = info.within("attributes", tag).String
	}
	info.done(info, "CertificationRequestInfo")
	switch {
	case info.err != nil:
		return malformed(info.err)
	case len(req.RawSubject) > maxSubject:
		return malformed(fmt.Errorf("subject: %d bytes, more than %d", len(req.RawSubject), maxSubject))
	case len(req.RawSPKI) > maxSPKI:
		return malformed(fmt.Errorf("subjectPublicKeyInfo: %d bytes, more than %d", len(req.RawSPKI), maxSPKI))
	}
	req.pass(code, what)
	if v := version.String; len(v) != 1 || v[0] != 0 {
		return nil, req.Checks.Fail(check.Check{
			Code: "csr.version", What: "the request has version 1 (0)",
			Expected: check.Uint(0), Found: check.Hex(v), Source: rfc2986,
		})
	}
	return attributes, true
}

// verify checks the signature by the requested key itself, which shows that
// whoever asks has the private key.
func (req *Request) verify() bool {
	const keyFix = "use a P-384 key with ecdsa-with-SHA384 for SNP, a P-256 key with ecdsa-with-SHA256 for SGX"
	key, err := x509.ParsePKIXPublicKey(req.RawSPKI)
	if err != nil {
		return req.refuse("csr.key", "the public key is one that can be certified", stewards, keyFix, err)
	}
	req.PublicKey = key
	good := false
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch {
		case key.Curve == elliptic.P256() && req.algorithm.Equal(oidECDSA256) && !req.parameters:
			digest := sha256.Sum256(req.info)
			good = ecdsa.VerifyASN1(key, digest[:], req.signature)
		case key.Curve == elliptic.P384() && req.algorithm.Equal(oidECDSA384) && !req.parameters:
			digest := sha512.Sum384(req.info)
			good = ecdsa.VerifyASN1(key, digest[:], req.signature)
		default:
			return req.refuse("csr.algorithm", "the signature algorithm is the one for the key", stewards, keyFix,
				fmt.Errorf("%v on %s", req.algorithm, key.Curve.Params().Name))
		}
	case *rsa.PublicKey:
		if !req.algorithm.Equal(oidPSS) {
			return req.refuse("csr.algorithm", "the signature algorithm is the one for the key", stewards, "use RSASSA-PSS with an RSA key",
				errors.New(req.algorithm.String()))
		}
		good = req.verifyPSS()
	default:
		return req.refuse("csr.key", "the public key is one that can be certified", stewards, keyFix, fmt.Errorf("%T", key))
	}
	return req.Checks.Require(good, check.Check{
		Code: "csr.signature", What: "the request is signed by the key it is for",
		Source: rfc2986, Fix: "sign the CertificationRequestInfo as sent with the key in it",
	})
}

// verifyPSS leaves RSA, which only requests without hardware evidence have, to
// crypto/x509: it takes the parameters that make sense, hash, mask and salt
// alike.
func (req *Request) verifyPSS() bool {
	csr, err := x509.ParseCertificateRequest(req.Raw)
	if err != nil {
		return false
	}
	switch csr.SignatureAlgorithm {
	case x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		return csr.CheckSignature() == nil
	}
	return false
}
