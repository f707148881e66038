// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"enarx.dev/enarx/internal/diag"
)

// agentTimeout bounds one signature by an agent. A token takes milliseconds.
const agentTimeout = 5 * time.Second

// agentSigner is a key that an ssh-agent holds, which may in turn hold it in a
// PKCS#11 token (`ssh-add -s MODULE`). The agent hashes the message by itself,
// with the hash that X.509 uses for the curve, so that its ECDSA signature over
// a certificate's body is one of X.509.
type agentSigner struct {
	socket string
	public crypto.PublicKey
	key    ssh.PublicKey
}

func openAgent(socket string, public crypto.PublicKey) (crypto.Signer, error) {
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	s := &agentSigner{socket, public, key}
	err = s.with(func(a agent.Agent) error {
		keys, err := a.List()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if bytes.Equal(k.Blob, key.Marshal()) {
				return nil
			}
		}
		return diag.Hint(fmt.Errorf("%w: the agent does not hold the CA certificate's key", ErrKey),
			"add it with `ssh-add KEY`, or a PKCS#11 token with `ssh-add -s MODULE`")
	})
	return s, err
}

// with connects anew each time: it costs little beside a signature, and an
// agent may be restarted while the Steward runs.
func (s *agentSigner) with(f func(agent.Agent) error) error {
	conn, err := net.DialTimeout("unix", s.socket, agentTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(agentTimeout)); err != nil {
		return err
	}
	return f(agent.NewClient(conn))
}

func (s *agentSigner) Public() crypto.PublicKey { return s.public }

// Sign cannot be offered: an agent signs messages, not digests.
func (s *agentSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("authority: an ssh-agent does not sign a digest")
}

// SignMessage implements crypto.MessageSigner.
func (s *agentSigner) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	var sig *ssh.Signature
	err := s.with(func(a agent.Agent) (err error) {
		sig, err = a.Sign(s.key, message)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking the ssh-agent for a signature: %w", err)
	}
	var pair struct{ R, S *big.Int }
	if err := ssh.Unmarshal(sig.Blob, &pair); err != nil {
		return nil, fmt.Errorf("reading the ssh-agent's signature: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(pair.R)
		b.AddASN1BigInt(pair.S)
	})
	return b.Bytes()
}
