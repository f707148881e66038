// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	// minMemory is one page of WebAssembly memory.
	minMemory  = 64 << 10
	maxSockets = 1 << 16
	// maxPath is Linux's PATH_MAX, which guests' libraries are built around.
	maxPath = 4096
)

// units are the suffixes of memory, largest first.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (d *decoder) memory(n *node) (int64, error) {
	const key = "memory"
	if n.kind == unstable.Integer {
		return d.integer(n, key, minMemory, math.MaxInt64)
	}
	if n.kind != unstable.String {
		return 0, d.errorAt(n.pos, key, `write bytes, or a string like "512MiB"`, "memory must be an integer or a string, not %s", describe(n.kind))
	}
	digits := strings.TrimRight(n.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	unit := n.text[len(digits):]
	digits = strings.TrimSuffix(digits, " ")
	count, err := strconv.ParseUint(digits, 10, 63)
	for _, u := range units {
		if err != nil || u.name != unit {
			continue
		}
		if count > uint64(math.MaxInt64/u.bytes) || int64(count)*u.bytes < minMemory {
			return 0, d.errorAt(n.pos, key, "", "memory must be between %d and %d bytes", minMemory, int64(math.MaxInt64))
		}
		return int64(count) * u.bytes, nil
	}
	return 0, d.errorAt(n.pos, key, `write bytes, or a whole number of KiB, MiB, GiB or TiB, like "512MiB"`, "%.64q is not an amount of memory", n.text)
}

// formatMemory writes n bytes with the largest unit that divides them.
func formatMemory(n int64) string {
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

func (d *decoder) wall(n *node) (time.Duration, error) {
	const key, hint = "wall", `write it like "10s" or "1h30m"`
	if n.kind != unstable.String {
		return 0, d.errorAt(n.pos, key, hint, "wall must be a string, not %s", describe(n.kind))
	}
	w, err := time.ParseDuration(n.text)
	if err != nil {
		return 0, d.errorAt(n.pos, key, hint, "%.64q is not a duration", n.text)
	}
	if w <= 0 {
		return 0, d.errorAt(n.pos, key, hint, "wall must be more than zero")
	}
	return w, nil
}

// CheckEnv says whether a program can be given name=value.
func CheckEnv(name, value string) error {
	switch {
	case name == "":
		return errors.New("the name of an environment variable must not be empty")
	case strings.ContainsAny(name, "=\x00"):
		return fmt.Errorf("the name of an environment variable must not contain '=' or NUL: %.64q", name)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("the value of environment variable %.64q must not contain NUL", name)
	}
	return nil
}

// CheckGuestPath says whether a directory can be shown to a program as p:
// absolute, clean, and within what its C library can hold.
func CheckGuestPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("the guest path must be absolute: %.64q", p)
	case path.Clean(p) != p:
		return fmt.Errorf("the guest path must be written as %.64q", path.Clean(p))
	case strings.ContainsRune(p, 0):
		return errors.New("the guest path must not contain NUL")
	case len(p) >= maxPath:
		return fmt.Errorf("the guest path has %d bytes, more than %d", len(p), maxPath-1)
	}
	return nil
}

// checkHost says whether host is a name or an address. The port has its own
// key, so forms that carry one or quote the address for one are refused.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if len(host) > 254 || !isHostName(host) {
		return fmt.Errorf("%.64q is not a host name or an IP address", host)
	}
	return nil
}

// isHostName says whether host is labels of letters, digits, '-' and '_' joined
// by dots, perhaps with one at the end.
func isHostName(host string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || strings.IndexFunc(label, notHostRune) >= 0 {
			return false
		}
	}
	return true
}

func notHostRune(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
}

// hostHint is for the author who wrote a port or a URL for a host.
func hostHint(host string) string {
	if strings.ContainsAny(host, ":/[]") {
		return `write the name or the address alone; the port has its own key`
	}
	return ""
}

// ParseCA reads the trust anchors of a ca key: one or more PEM certificates,
// with any text between them. It does not accept CASteward.
func ParseCA(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("ca holds a PEM block of type %.64q, not CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of ca: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	// pem.Decode passes over a block that it cannot read as if it were text.
	if strings.Count(text, "-----BEGIN ") != len(certs) {
		return nil, errors.New("ca holds a damaged PEM block")
	}
	if len(certs) == 0 {
		return nil, errors.New("ca holds no PEM certificate")
	}
	return certs, nil
}
