// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// OIDCMW is id-pe-cmw, the extension of certificates for messages of remote
// attestation (RATS), RFC 9999 section "Transporting CMW in PKIX formats".
var OIDCMW = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 35}

// cmwResults is the indicator of attestation results in a CMW record.
const cmwResults = 8

// ErrCMW is wrapped by the errors of [ParseCMW].
var ErrCMW = errors.New("attest: not a CMW record in JSON")

// CMW wraps an attestation result, like an EAR of type [EARType], into the
// extension that a certificate carries it in.
func CMW(contentType string, value []byte) pkix.Extension {
	w := &object{buf: make([]byte, 0, 2*len(value)+len(contentType)+64)}
	w.buf = append(w.buf, '[')
	w.quote(contentType)
	w.buf = append(base64url.AppendEncode(append(w.buf, ',', '"'), value), '"', ',')
	w.buf = fmt.Append(w.buf, cmwResults)
	w.buf = append(w.buf, ']')
	b := cryptobyte.NewBuilder(make([]byte, 0, len(w.buf)+8))
	b.AddASN1(der.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes(w.buf) })
	return pkix.Extension{Id: OIDCMW, Value: b.BytesOrPanic()} // only lengths over 4 GiB fail
}

// ParseCMW takes a CMW record in JSON out of its extension.
func ParseCMW(ext pkix.Extension) (contentType string, value []byte, err error) {
	if !ext.Id.Equal(OIDCMW) || len(ext.Value) > maxEvidence {
		return "", nil, fmt.Errorf("%w: extension %v of %d bytes", ErrCMW, ext.Id, len(ext.Value))
	}
	r := &reader{String: ext.Value}
	text := r.within("CMW", der.UTF8String)
	r.done(r, "CMW")
	if r.err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrCMW, r.err)
	}
	var record []json.RawMessage
	var encoded string
	var indicator uint32
	if err := json.Unmarshal(text.String, &record); err != nil || len(record) < 2 || len(record) > 3 {
		return "", nil, fmt.Errorf("%w: not an array of two or three", ErrCMW)
	}
	for i, into := range []any{&contentType, &encoded, &indicator}[:len(record)] {
		if err := json.Unmarshal(record[i], into); err != nil {
			return "", nil, fmt.Errorf("%w: element %d: %w", ErrCMW, i, err)
		}
	}
	if len(record) == 3 && indicator&cmwResults == 0 {
		return "", nil, fmt.Errorf("%w: indicator %d is not of attestation results", ErrCMW, indicator)
	}
	value, err = base64url.Strict().DecodeString(encoded)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrCMW, err)
	}
	return contentType, value, nil
}
