// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// The forms in which tools of others keep several things in one file.

// readJSON reads a JSON object: what Intel's service answers, collateral as
// libraries for DCAP keep it, a report as Linux's configfs-tsm gives it, or
// Azure's evidence.
func (b *Bundle) readJSON(text []byte) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return unreadable("JSON: %v", err)
	}
	fields := map[string][]byte{}
	for name, raw := range members {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			fields[name] = []byte(s)
		}
	}
	has := func(name string) bool { return members[name] != nil }
	switch {
	case has("tcbInfo"):
		return b.signed(text, true)
	case has("enclaveIdentity"):
		return b.signed(text, false)
	case has("tcb_info") || has("qe_identity"):
		return b.collateral(fields)
	case has("outblob"):
		return b.tsm(decoded(fields["outblob"]), decoded(fields["auxblob"]))
	case has("hcl_report"):
		if vcek := decoded(fields["vcek"]); len(vcek) > 0 {
			if _, err := b.readBinary(vcek); err != nil {
				return "", err
			}
		}
		what, known, err := b.report(decoded(fields["hcl_report"]))
		if !known {
			return unreadable("JSON with an hcl_report that is not one in base64")
		}
		return what, err
	}
	return unreadable("JSON without tcbInfo, enclaveIdentity, tcb_info, outblob or hcl_report")
}

// decoded decodes base64 in whatever dialect; nil if it is none.
func decoded(text []byte) []byte {
	s := strings.TrimRight(string(text), "=")
	for _, dialect := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
		if raw, err := dialect.DecodeString(s); err == nil {
			return raw
		}
	}
	return nil
}

// collateral reads the form of dcap-qvl and of Intel's quote verification
// library: strings of PEM, of hexadecimal DER and of signed JSON.
func (b *Bundle) collateral(fields map[string][]byte) (string, error) {
	var kinds []string
	add := func(what string, err error) error {
		kinds = append(kinds, what)
		return err
	}
	for _, name := range []string{"pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_certificate_chain"} {
		if text := bytes.TrimSpace(fields[name]); len(text) > 0 {
			_, err := b.readPEM(text)
			if err := add("issuer chain", err); err != nil {
				return "", err
			}
		}
	}
	for _, name := range []string{"root_ca_crl", "pck_crl"} {
		text := bytes.TrimSpace(fields[name])
		if len(text) == 0 {
			continue
		}
		raw, ok := fromHex(text)
		if !ok {
			raw = decoded(text)
		}
		if len(raw) == 0 || raw[0] != 0x30 {
			return unreadable("JSON with a %s that is not hexadecimal or base64 DER", name)
		}
		if err := add(b.readDER(raw)); err != nil {
			return "", err
		}
	}
	for _, d := range []struct {
		name, member string
		isTCB        bool
	}{{"tcb_info", "tcbInfo", true}, {"qe_identity", "enclaveIdentity", false}} {
		body, signature := fields[d.name], fields[d.name+"_signature"]
		if len(body) == 0 {
			continue
		}
		raw, err := hex.DecodeString(string(signature))
		if err != nil {
			return unreadable("JSON with a %s_signature that is not hexadecimal", d.name)
		}
		if err := add(b.signed(signedJSON(d.member, body, raw), d.isTCB)); err != nil {
			return "", err
		}
	}
	return "collateral: " + count(kinds), nil
}

// tsm reads a report and the certificates beside it as the GHCB protocol hands
// them to a guest: a table of GUID, offset and length, ended by zeros.
func (b *Bundle) tsm(report, certificates []byte) (string, error) {
	if len(report) == 0 {
		return unreadable("a configfs-tsm report without outblob")
	}
	const entry = 24
	for i := 0; i+entry <= len(certificates) && !zero(certificates[i:i+16]); i += entry {
		at := uint64(binary.LittleEndian.Uint32(certificates[i+16:]))
		end := at + uint64(binary.LittleEndian.Uint32(certificates[i+20:]))
		if end > uint64(len(certificates)) || at >= end || i/entry == maxCertificates {
			return unreadable("a configfs-tsm report with a bad table of certificates")
		}
		raw := bytes.Trim(certificates[at:end], "\x00")
		if isCertificate(raw) || bytes.HasPrefix(raw, []byte("-----BEGIN CERTIFICATE-----")) {
			if _, err := b.read(raw); err != nil {
				return "", err
			}
		}
	}
	what, known, err := b.report(report)
	if !known {
		return unreadable("a configfs-tsm report whose outblob is neither report nor quote")
	}
	return "configfs-tsm: " + what, err
}

// readCBOR reads a configfs-tsm report in CBOR: a map of text to byte or text
// strings, and nothing deeper.
func (b *Bundle) readCBOR(raw []byte) (string, error) {
	c := cbor{raw}
	major, n, ok := c.head()
	if !ok || major != 5 || n > 8 {
		return unreadable("CBOR that is not a small map")
	}
	fields := map[string][]byte{}
	for range n {
		name, ok := c.text()
		value, ok2 := c.text()
		if !ok || !ok2 {
			return unreadable("CBOR that is not a map of strings")
		}
		fields[string(name)] = value
	}
	if len(c.rest) > 0 || fields["outblob"] == nil {
		return unreadable("CBOR that is not a configfs-tsm report")
	}
	return b.tsm(fields["outblob"], fields["auxblob"])
}

// cbor reads RFC 8949 as far as is needed.
type cbor struct{ rest []byte }

// head reads the major type and the argument of the next item.
func (c *cbor) head() (major byte, n uint64, ok bool) {
	if len(c.rest) == 0 {
		return 0, 0, false
	}
	first := c.rest[0]
	c.rest = c.rest[1:]
	major, n = first>>5, uint64(first&31)
	if n < 24 {
		return major, n, true
	}
	size := 1 << (n - 24)
	if n > 27 || len(c.rest) < size {
		return 0, 0, false
	}
	n = 0
	for _, v := range c.rest[:size] {
		n = n<<8 | uint64(v)
	}
	c.rest = c.rest[size:]
	return major, n, true
}

// text reads a byte or text string.
func (c *cbor) text() ([]byte, bool) {
	major, n, ok := c.head()
	if !ok || major != 2 && major != 3 || n > uint64(len(c.rest)) {
		return nil, false
	}
	s := c.rest[:n]
	c.rest = c.rest[n:]
	return s, true
}
