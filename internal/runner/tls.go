// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"crypto/tls"
	"fmt"

	"enarx.dev/enarx/internal/identity"
	"enarx.dev/enarx/workload"
)

// tlsMaker makes TLS configurations, and the identity behind them when the
// first one is wanted: a workload without TLS needs no key.
type tlsMaker struct{ id *identity.Identity }

func (m *tlsMaker) identity() (*identity.Identity, error) {
	if m.id == nil {
		id, err := identity.SelfSigned()
		if err != nil {
			return nil, fmt.Errorf("failed to generate self-signed certificates: %w", err)
		}
		m.id = id
	}
	return m.id, nil
}

var clientAuth = map[workload.ClientAuth]identity.ClientAuth{
	workload.ClientAuthNone:    identity.NoClientAuth,
	workload.ClientAuthRequest: identity.RequestClientAuth,
	workload.ClientAuthRequire: identity.RequireClientAuth,
}

// server returns the configuration of a listener; nil is plain TCP.
func (m *tlsMaker) server(f workload.File) (*tls.Config, error) {
	if f.Prot == workload.ProtTCP {
		return nil, nil
	}
	id, err := m.identity()
	if err != nil {
		return nil, err
	}
	mode, ok := clientAuth[f.ClientAuth]
	if !ok {
		return nil, fmt.Errorf("bug: unknown client_auth %q", f.ClientAuth)
	}
	s := identity.Server{ClientAuth: mode}
	if f.CA != "" {
		if s.ClientCAs, err = identity.ParseCA([]byte(f.CA)); err != nil {
			return nil, err
		}
	}
	return id.TLSServer(s)
}

// client returns the configuration of a connection; nil is plain TCP.
func (m *tlsMaker) client(f workload.File) (*tls.Config, error) {
	if f.Prot == workload.ProtTCP {
		return nil, nil
	}
	id, err := m.identity()
	if err != nil {
		return nil, err
	}
	if f.CA == "" {
		return id.TLSClient(nil)
	}
	roots, err := identity.ParseCA([]byte(f.CA))
	if err != nil {
		return nil, err
	}
	return id.TLSClient(roots)
}
