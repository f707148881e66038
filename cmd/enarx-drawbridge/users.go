// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/web"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/serve"
)

// maxSecret bounds a file with a secret.
const maxSecret = 4 << 10

// readSecret returns what is in a file, without the newline that editors put
// at its end.
func readSecret(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(text) > maxSecret {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxSecret)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")), nil
}

// openTLS follows the server's certificate and the Stewards' CAs.
func (d *daemon) openTLS(context.Context) error {
	if d.cert == "" || d.key == "" {
		return cli.Usage(d.cmd, diag.Hint(errors.New("--cert and --key are wanted: clients insist on TLS"),
			"for a trial on this machine alone, --development DIR makes them"))
	}
	pair, err := live.New("TLS certificate", func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(d.cert, d.key)
		return &c, err
	}, d.cert, d.key)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", d.cert, d.key, err)
	}
	d.checkLeaf(pair.Get().Leaf)
	if len(d.hosts) == 0 {
		d.hosts = slices.DeleteFunc(slices.Clone(pair.Get().Leaf.DNSNames), func(name string) bool { return strings.HasPrefix(name, "*") })
	}
	if len(d.hosts) == 0 {
		return cli.Usage(d.cmd, diag.Hint(errors.New("the server has no name"),
			"give --host NAME, or a certificate with DNS names"))
	}
	d.follow = append(d.follow, pair)
	d.tls = serve.TLSConfig(func() (*tls.Certificate, error) { return pair.Get(), nil })
	// A session that is resumed was verified against CAs of before.
	d.tls.SessionTicketsDisabled = true
	return d.openStewards()
}

// checkLeaf warns of a certificate that clients will not take.
func (d *daemon) checkLeaf(leaf *x509.Certificate) {
	d.leaf = leaf
	if leaf.IsCA {
		d.warn("--cert %s: it is a CA's certificate, which upstream's clients do not take as a server's", d.cert)
	}
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		d.warn("--cert %s: it expired on %s, and no client takes it", d.cert, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		d.warn("--cert %s: it is not valid before %s, and no client takes it until then", d.cert, leaf.NotBefore.Format(time.RFC3339))
	}
}

// openStewards makes TLS take, and not insist on, certificates of Keeps.
func (d *daemon) openStewards() error {
	if len(d.cas) == 0 {
		return nil
	}
	var paths []string
	for _, ca := range d.cas {
		_, path, named := strings.Cut(ca, "=")
		if !named {
			path = ca
		}
		paths = append(paths, path)
	}
	cas, err := live.New("CAs of Stewards", func() (*auth.Authorities, error) { return auth.LoadAuthorities(d.cas) }, paths...)
	if err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	for _, w := range cas.Get().Warnings() {
		d.warn("--ca: %s", w)
	}
	d.follow = append(d.follow, cas)
	d.authorities = cas.Get
	base := d.tls
	d.tls = base.Clone()
	d.tls.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.ClientAuth, now.ClientCAs = tls.VerifyClientCertIfGiven, cas.Get().Pool()
		return now, nil
	}
	return nil
}

// openUsers says who users are.
func (d *daemon) openUsers(context.Context) error {
	o := &d.oidc
	if o.issuer == "" && d.develop == "" {
		return cli.Usage(d.cmd, diag.Hint(errors.New("there is no --oidc-issuer: nobody could sign in"),
			"give the URL of an OpenID provider, or for a trial on this machine alone --development DIR"))
	}
	if o.issuer != "" && len(o.audiences) == 0 && !o.userinfo {
		return cli.Usage(d.cmd, diag.Hint(errors.New("--oidc-issuer needs --oidc-audience: tokens that the provider made for others must not count here"),
			"it is usually https://%s/; with --oidc-userinfo alone there is none", d.hosts[0]))
	}
	transport, err := transportWith(o.ca)
	if err != nil {
		return fmt.Errorf("--oidc-ca: %w", err)
	}
	d.provider = transport
	d.auth, err = auth.New(auth.Config{
		Issuer: o.issuer, Audiences: o.audiences, JWT: len(o.audiences) > 0, UserInfo: o.userinfo, Algorithms: o.algorithms,
		Transport: transport, Authorities: d.authorities, Hosts: d.hosts, Tokens: d.store, Subjects: d.store,
		ClientID: o.client, Log: d.log,
	})
	return err
}

// transportWith returns a transport that trusts the CAs in a file, or those of
// the system.
func transportWith(file string) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if file == "" {
		return transport, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return transport, nil
}

// signIn is how people sign in on the pages, or nil.
func (d *daemon) signIn() (*web.SignIn, error) {
	if d.site.client == "" {
		return nil, nil
	}
	if d.oidc.issuer == "" {
		return nil, cli.Usage(d.cmd, errors.New("--site-client needs --oidc-issuer"))
	}
	var secret []byte
	if d.site.secret != "" {
		var err error
		if secret, err = readSecret(d.site.secret); err != nil {
			return nil, err
		}
	}
	return &web.SignIn{Issuer: d.oidc.issuer, ClientID: d.site.client, ClientSecret: string(secret), Client: &http.Client{Transport: d.provider}}, nil
}

// sessionKey seals the sessions of the site; nil: one of this process's own.
func (d *daemon) sessionKey() ([]byte, error) {
	if d.site.key == "" {
		return nil, nil
	}
	text, err := os.ReadFile(d.site.key)
	if err != nil {
		return nil, err
	}
	const least = 32
	if len(text) < least || len(text) > maxSecret {
		return nil, diag.Hint(fmt.Errorf("%s: a secret of at least %d bytes is wanted, not %d", d.site.key, least, len(text)),
			"head -c %d /dev/urandom > %s", least, d.site.key)
	}
	key := sha256.Sum256(text)
	return key[:], nil
}
