// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/steward"
	"enarx.dev/enarx/internal/steward/authority"
)

// issuing is what there is to compare for a whole request: the bytes of a
// certificate request in, those of a certificate out, through the Steward's
// handler. The yardstick verifies evidence and request, and signs once.
func (s *subject) issuing() ([]*runner, error) {
	bare, err := s.bareEvidence()
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(s.csr)
	if err != nil {
		return nil, err
	}
	ca, key, err := newCA(s.now)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(s.csr)
	signatures := func() error {
		if err := bare(); err != nil {
			return err
		}
		if err := request.CheckSignature(); err != nil {
			return err
		}
		_, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		return err
	}
	memo := pki.NewMemo(keep)
	own, err := s.collateral(memo)
	if err != nil {
		return nil, err
	}
	warm, err := s.steward(ca, memo, func() *attest.Collateral { return own })
	if err != nil {
		return nil, err
	}
	cold, err := s.steward(ca, nil, func() *attest.Collateral {
		fresh, _ := s.collateral(nil) // what is missing is refused
		return fresh
	})
	if err != nil {
		return nil, err
	}
	return []*runner{
		{name: "bare signatures", do: signatures},
		{name: "enarx-steward, warm", do: func() error { return post(warm, s.csr) }},
		{name: "enarx-steward, cold", do: func() error { return post(cold, s.csr) }},
	}, nil
}

// steward returns the handler of a Steward with that memory and collateral.
func (s *subject) steward(ca *authority.CA, memo *pki.Memo, own func() *attest.Collateral) (http.Handler, error) {
	server, err := steward.New(steward.Config{
		CA: live.Fixed(ca), Policy: live.Fixed(attest.DefaultPolicy()), Development: true,
		Roots:      &attest.Roots{Set: s.roots(), Memo: memo},
		Collateral: func(context.Context, *attest.Evidence, *check.Group) *attest.Collateral { return own() },
		Limits:     steward.Limits{Rate: -1},
		Now:        func() time.Time { return s.now },
	})
	if err != nil {
		return nil, err
	}
	return server.Handler(), nil
}

func newCA(now time.Time) (*authority.CA, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	ca, err := authority.New(key, []*x509.Certificate{cert})
	return ca, key, err
}

// post is a client without a network.
func post(handler http.Handler, csr []byte) error {
	w := &sink{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(w, &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/pkcs10"}}, ContentLength: int64(len(csr)),
		Body: io.NopCloser(bytes.NewReader(csr)), RemoteAddr: netip.AddrPortFrom(netip.IPv6Loopback(), 1).String(),
	})
	if w.status != http.StatusOK || w.size == 0 {
		return fmt.Errorf("status %d, %d bytes", w.status, w.size)
	}
	return nil
}

type sink struct {
	header http.Header
	status int
	size   int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.size += len(b); return len(b), nil }
