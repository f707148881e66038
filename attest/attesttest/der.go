// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/asn1"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The encoders below return one complete DER element each, so that what is
// built reads like the ASN.1 module it follows.

func element(tag cbasn1.Tag, parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddBytes(p)
		}
	})
	return b.BytesOrPanic()
}

func sequence(parts ...[]byte) []byte { return element(cbasn1.SEQUENCE, parts...) }
func set(parts ...[]byte) []byte      { return element(cbasn1.SET, parts...) }
func octets(value []byte) []byte      { return element(cbasn1.OCTET_STRING, value) }
func bits(value []byte) []byte        { return element(cbasn1.BIT_STRING, []byte{0}, value) }
func utf8(value string) []byte        { return element(cbasn1.UTF8String, []byte(value)) }
func printable(value string) []byte   { return element(cbasn1.PrintableString, []byte(value)) }
func ia5(value string) []byte         { return element(cbasn1.IA5String, []byte(value)) }
func null() []byte                    { return element(cbasn1.NULL) }
func integer(value int64) []byte      { return bigInteger(big.NewInt(value)) }
func enumerated(value int64) []byte {
	return append([]byte{byte(cbasn1.ENUM)}, integer(value)[1:]...)
}

func explicit(tag uint8, parts ...[]byte) []byte {
	return element(cbasn1.Tag(tag).Constructed().ContextSpecific(), parts...)
}

func boolean(value bool) []byte {
	if value {
		return element(cbasn1.BOOLEAN, []byte{0xff})
	}
	return element(cbasn1.BOOLEAN, []byte{0})
}

func bigInteger(value *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(value)
	return b.BytesOrPanic()
}

func oid(id asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(id)
	return b.BytesOrPanic()
}

// instant is a time as certificates have it: two-digit years until 2049.
func instant(t time.Time) []byte {
	var b cryptobyte.Builder
	if t = t.UTC().Truncate(time.Second); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
	return b.BytesOrPanic()
}
