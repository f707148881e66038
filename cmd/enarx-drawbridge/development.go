// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// What a development server is made of, in its folder.
const (
	developmentAddr = "127.0.0.1:8443"
	developmentUser = "dev"
	caFile          = "ca.pem"
	certFile        = "tls.pem"
	keyFile         = "tls.key"
	tokenFile       = "token"
	storeDir        = "store"

	developmentLife = 90 * 24 * time.Hour
)

// development fills in what a trial on one machine needs, and what would
// otherwise be a mistake to leave out.
func (d *daemon) development() error {
	if d.develop == "" {
		return nil
	}
	if d.cert != "" || d.key != "" {
		return cli.Usage(d.cmd, errors.New("--development makes a certificate of its own: leave out --cert and --key"))
	}
	if !d.cmd.Flags().Changed("addr") {
		d.addr = developmentAddr
	}
	if err := loopback(d.addr); err != nil {
		return cli.Usage(d.cmd, fmt.Errorf("--addr %s: %w", d.addr, err))
	}
	if err := os.MkdirAll(d.develop, 0o700); err != nil {
		return fmt.Errorf("--development: %w", err)
	}
	in := func(name string) string { return filepath.Join(d.develop, name) }
	if d.storage.where == "" {
		d.storage.where = in(storeDir)
		if err := os.MkdirAll(d.storage.where, 0o700); err != nil {
			return err
		}
	}
	d.cert, d.key = in(certFile), in(keyFile)
	d.warn("--development: for this machine alone: a certificate that nobody knows, and who has %s is the user %s", in(tokenFile), developmentUser)
	return developmentCertificates(in, time.Now())
}

// loopback refuses an address that others may reach.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if a, parseErr := netip.ParseAddr(host); err != nil || host != "localhost" && (parseErr != nil || !a.IsLoopback()) {
		return fmt.Errorf("with --development it is an address of this machine's loopback, as %s", developmentAddr)
	}
	return nil
}

// developmentHosts names the server by where it listens, which may be where
// systemd does.
func (d *daemon) developmentHosts(address string) error {
	if d.develop == "" {
		return nil
	}
	if err := loopback(address); err != nil {
		return fmt.Errorf("listening on %s: %w", address, err)
	}
	if len(d.hosts) > 0 {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	d.hosts = []string{net.JoinHostPort("localhost", port), net.JoinHostPort("127.0.0.1", port)}
	return err
}

// developmentCertificates makes a CA and a server's certificate, unless those
// that are there are good for another day. The CA's key is forgotten.
func developmentCertificates(in func(string) string, now time.Time) error {
	if old, err := os.ReadFile(in(certFile)); err == nil {
		block, _ := pem.Decode(old)
		if block != nil {
			leaf, err := x509.ParseCertificate(block.Bytes)
			_, caErr := os.Stat(in(caFile))
			if err == nil && caErr == nil && now.Add(24*time.Hour).Before(leaf.NotAfter) {
				return nil
			}
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "enarx-drawbridge development CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(developmentLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:            x509.KeyUsageCertSign,
		PermittedDNSDomains: []string{"localhost"}, PermittedDNSDomainsCritical: true, // it can vouch for no other machine
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(in(caFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o644),
		os.WriteFile(in(keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
		os.WriteFile(in(certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}), 0o644))
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f // positive
	return new(big.Int).SetBytes(b[:])
}

// developmentToken makes the user and a token for all that is his, unless they
// are there.
func (d *daemon) developmentToken(ctx context.Context) error {
	if d.develop == "" {
		return nil
	}
	file := filepath.Join(d.develop, tokenFile)
	record := drawbridge.User{Subject: "development"}
	if _, err := d.store.PutUser(ctx, developmentUser, store.NewObject(record.Canonical(), drawbridge.TypeJSON)); err != nil {
		return fmt.Errorf("making the user %s: %w", developmentUser, err)
	}
	now := time.Now()
	text, err := os.ReadFile(file)
	if err == nil && d.knows(ctx, strings.TrimSpace(string(text)), now) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ask := drawbridge.Token{
		Kind: string(auth.Robot), Name: "--development", User: developmentUser,
		Actions: []string{"read", "publish", "yank"}, Expires: now.Add(developmentLife),
	}
	t, secret, err := auth.NewToken(ask, auth.Principal{Kind: auth.OIDC, Subject: record.Subject}, now)
	if err != nil {
		return err
	}
	body, err := t.Record()
	if err != nil {
		return err
	}
	if err := d.store.PutToken(ctx, developmentUser, t.ID, body); err != nil {
		return fmt.Errorf("making a token for %s: %w", developmentUser, err)
	}
	return os.WriteFile(file, []byte(secret+"\n"), 0o600)
}

// knows reports whether the store has a token that will do for another day.
func (d *daemon) knows(ctx context.Context, text string, now time.Time) bool {
	parts := strings.Split(text, "_")
	if len(parts) != 3 {
		return false
	}
	body, err := d.store.TokenRecord(ctx, parts[1])
	if err != nil || body == nil {
		return false
	}
	t, err := auth.ParseToken(body)
	return err == nil && now.Add(24*time.Hour).Before(t.Expires)
}

// developmentHint says what to type next.
func (d *daemon) developmentHint() {
	if d.develop == "" {
		return
	}
	fmt.Fprintf(d.cmd.ErrOrStderr(), `enarx: in another terminal:
  export ENARX_STORE_HOST=%s ENARX_CA_BUNDLE=%s
  export ENARX_INSECURE_AUTH_TOKEN=$(cat %s)
  enarx repo register %s/hello
  enarx package publish %s/hello:0.1.0 DIR
`, d.hosts[0], filepath.Join(d.develop, caFile), filepath.Join(d.develop, tokenFile), developmentUser, developmentUser)
}
