// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"crypto"
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
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/diag"
)

// The lives of generated CA certificates. One that is gone with the process
// has upstream's; one that is kept is renewed by hand, by removing ca.crt.
const (
	EphemeralLife = 365 * 24 * time.Hour
	KeptLife      = 10 * 365 * 24 * time.Hour
)

// Curve returns the curve of a --key-type.
func Curve(name string) (elliptic.Curve, error) {
	switch name {
	case "p256", "P-256":
		return elliptic.P256(), nil
	case "p384", "P-384":
		return elliptic.P384(), nil
	}
	return nil, fmt.Errorf("unknown key type %q: p256 or p384", name)
}

// Generate makes a CA that is its own root, with that common name.
func Generate(name string, curve elliptic.Curve, now time.Time, life time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the CA key: %w", err)
	}
	c, err := selfSign(key, name, now, life)
	if err != nil {
		return nil, err
	}
	return New(key, []*x509.Certificate{c})
}

func selfSign(key crypto.Signer, name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	subject := pkix.Name{CommonName: name}
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(NewSerial()),
		Subject:               subject,
		NotBefore:             now,
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, // certificates and results
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the CA certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Names of the files in a state folder.
const (
	KeyName  = "ca.key"
	CertName = "ca.crt"
)

// Keep returns the CA that lives in dir, making what of it is missing: the
// folder, the key, the certificate. Several processes may start at once.
func Keep(dir, name string, curve elliptic.Curve, now time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	keyFile, certFile := filepath.Join(dir, KeyName), filepath.Join(dir, CertName)
	switch _, err := os.Stat(keyFile); {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(certFile); err == nil {
			return nil, diag.Hint(fmt.Errorf("%s is there without its key %s", certFile, keyFile),
				"restore the key, or remove the certificate to start a new CA")
		}
		if err := newKey(keyFile, curve); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if err := private(keyFile); err != nil {
		return nil, err
	}
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		if err := newCertificate(keyFile, certFile, name, now); err != nil {
			return nil, err
		}
	}
	return Load(keyFile, certFile)
}

// private requires that only the owner can read the key.
func private(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = diag.Hint(fmt.Errorf("%s can be read or changed by others: its mode is %#o", name, info.Mode().Perm()), "chmod 600 %s", name)
	}
	return err
}

func newKey(name string, curve elliptic.Curve) error {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return fmt.Errorf("generating the CA key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the CA key: %w", err)
	}
	return writeFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func newCertificate(keyFile, certFile, name string, now time.Time) error {
	text, err := readFile(keyFile)
	if err != nil {
		return err
	}
	key, err := ParseKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	c, err := selfSign(key, name, now, KeptLife)
	if err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o644)
}

// writeFile makes a file that is there whole or not at all, whatever happens.
func writeFile(name string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
