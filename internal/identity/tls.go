// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"enarx.dev/enarx/workload"
)

var (
	// ErrNoCA is returned when client certificates are asked for without
	// anchors to verify them: crypto/tls would use those of the machine.
	ErrNoCA = errors.New("identity: verifying client certificates needs a CA")

	// ErrBadCA is returned for trust anchors that cannot be used.
	ErrBadCA = errors.New("identity: bad CA certificates")
)

// maxCA bounds the PEM text of a `ca` entry, which comes with the package.
const maxCA = 1 << 20

// ClientAuth says what a TLS listener asks of its clients (`client_auth`).
type ClientAuth uint8

// The values of client_auth.
const (
	NoClientAuth      ClientAuth = iota // none: no certificate is asked for
	RequestClientAuth                   // request: a client may come without; one it gives must verify
	RequireClientAuth                   // require: no valid certificate, no connection
)

// Server is what TLSServer needs beyond the identity.
type Server struct {
	ClientAuth ClientAuth
	ClientCAs  *x509.CertPool // verifies clients; needed unless NoClientAuth
}

// TLSServer returns the configuration of a TLS listener.
func (id *Identity) TLSServer(s Server) (*tls.Config, error) {
	conf := baseConfig()
	conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return id.current.Load(), nil
	}
	switch s.ClientAuth {
	case NoClientAuth:
		return conf, nil
	case RequestClientAuth:
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	case RequireClientAuth:
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return nil, fmt.Errorf("identity: unknown client authentication mode %d", s.ClientAuth)
	}
	if s.ClientCAs == nil {
		return nil, ErrNoCA
	}
	conf.ClientCAs = s.ClientCAs
	return conf, nil
}

// TLSClient returns the configuration of a TLS connection to a server that
// chains to roots; nil means the compiled-in Mozilla roots. The server name is
// left for the connection to fill in. A server that asks for a certificate
// gets the Keep's chain, whatever CAs it hints at: the Keep has only this one.
func (id *Identity) TLSClient(roots *x509.CertPool) (*tls.Config, error) {
	if roots == nil {
		var err error
		if roots, err = mozillaRoots(); err != nil {
			return nil, err
		}
	}
	conf := baseConfig()
	conf.RootCAs = roots
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return id.current.Load(), nil
	}
	return conf, nil
}

// baseConfig is spec/enarx.md 3.6: TLS 1.3 alone, three groups.
func baseConfig() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		MaxVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384, tls.CurveP256},
	}
}

// ParseCA reads the PEM trust anchors of a `ca` entry. Unlike
// CertPool.AppendCertsFromPEM it refuses what it cannot read: an anchor that
// is silently missing shows only when a peer is refused.
func ParseCA(text []byte) (*x509.CertPool, error) {
	if len(text) > maxCA {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBadCA, maxCA)
	}
	certs, err := workload.ParseCA(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCA, err)
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

// mozillaRoots parses the compiled-in roots on first use: a Keep without a TLS
// connection never pays for it. The parent package of bundle is not used since
// it would install the roots globally, and only when the machine has none.
var mozillaRoots = sync.OnceValues(func() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return nil, fmt.Errorf("parsing the compiled-in Mozilla roots: %w", err)
		}
		if root.Constraint != nil {
			pool.AddCertWithConstraint(cert, root.Constraint)
		} else {
			pool.AddCert(cert)
		}
	}
	return pool, nil
})
