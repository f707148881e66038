// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"
)

// The keys and messages of RFC 7515 appendix A, RFC 7517 appendix A and RFC
// 8037 appendix A.
const (
	rfc7515Key     = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	rfc7515Payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	rfc7515RS256   = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	rfc7515ES256   = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	// A.6.4, general
	rfc7515General = `{"payload":"` + rfc7515Payload + `","signatures":[` +
		`{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{"kid":"2010-12-29"},"signature":"` + rfc7515RS256 + `"},` +
		`{"protected":"eyJhbGciOiJFUzI1NiJ9","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + rfc7515ES256 + `"}]}`
	// A.7, flattened
	rfc7515Flattened = `{"payload":"` + rfc7515Payload + `","protected":"eyJhbGciOiJFUzI1NiJ9","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + rfc7515ES256 + `"}`

	rfc7517Public  = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}`
	rfc7517Private = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","use":"enc","kid":"1"}`

	rfc8037Private = `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc8037Public  = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc8037Print   = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	rfc8037Header  = "eyJhbGciOiJFZERTQSJ9"
	rfc8037Payload = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
	rfc8037EdDSA   = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

func privateKey(t testing.TB, text string) crypto.Signer {
	t.Helper()
	key, err := ParsePrivateKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t testing.TB, of crypto.Signer) PublicKey {
	t.Helper()
	key, err := NewPublicKey(of.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestJWSVectors(t *testing.T) {
	p256 := publicKey(t, privateKey(t, rfc7515Key))
	for name, raw := range map[string]string{"general": rfc7515General, "flattened": rfc7515Flattened} {
		j, err := parseJWS([]byte(raw))
		if err != nil {
			t.Fatalf("RFC 7515 %s: %v", name, err)
		}
		if !strings.Contains(string(j.payload), `"iss":"joe"`) {
			t.Errorf("RFC 7515 %s: payload %q", name, j.payload)
		}
		s := j.signatures[len(j.signatures)-1]
		if s.KeyID != "e9bc097a-ce51-4036-9562-d2ade882db0d" || !s.holds(p256, j.encoded) {
			t.Errorf("RFC 7515 %s: the ES256 signature of %q does not hold", name, s.KeyID)
		}
		if name == "general" && (len(j.signatures) != 2 || j.signatures[0].Algorithm != "RS256" || j.signatures[0].holds(p256, j.encoded)) {
			t.Errorf("RFC 7515 general: %+v", j.signatures)
		}
	}
	ed := privateKey(t, rfc8037Private) // A.4 and A.5
	key := publicKey(t, ed)
	signature, err := sign(ed, key, []byte(rfc8037Header+"."+rfc8037Payload))
	if err != nil || base64.RawURLEncoding.EncodeToString(signature) != rfc8037EdDSA {
		t.Errorf("RFC 8037: signature %x, %v", signature, err)
	}
	j, err := parseJWS([]byte(`{"payload":"` + rfc8037Payload + `","protected":"` + rfc8037Header + `","signature":"` + rfc8037EdDSA + `"}`))
	if err != nil || !j.signatures[0].holds(key, j.encoded) {
		t.Errorf("RFC 8037: the signature does not hold: %v", err)
	}
}

func TestKeys(t *testing.T) {
	ed := publicKey(t, privateKey(t, rfc8037Private))
	if ed.Thumbprint() != rfc8037Print {
		t.Errorf("thumbprint %s, want %s (RFC 8037 A.3)", ed.Thumbprint(), rfc8037Print)
	}
	ec := publicKey(t, privateKey(t, rfc7517Private))
	for _, key := range []PublicKey{ed, ec} {
		block, err := key.PEM()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{key.JWK(), block} {
			if got, err := ParsePublicKey(text); err != nil || got.Thumbprint() != key.Thumbprint() {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	if got, err := ParsePublicKey([]byte(rfc7517Public)); err != nil || got.Thumbprint() != ec.Thumbprint() {
		t.Errorf("RFC 7517 A.1: %v", err)
	}
	pemEd, _ := ed.PEM()
	pemEC, _ := ec.PEM()
	for _, text := range []string{string(pemEd) + string(pemEC), `{"keys":[` + rfc8037Public + `,` + rfc7517Public + `]}`} {
		keys, err := ParsePublicKeys([]byte(text))
		if err != nil || len(keys) != 2 || keys[0].Thumbprint() != ed.Thumbprint() || keys[1].Thumbprint() != ec.Thumbprint() {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := ParsePublicKey([]byte(text)); err == nil {
			t.Error("two keys are taken for one")
		}
	}
}

func TestPrivateKeyPEM(t *testing.T) {
	ec := privateKey(t, rfc7515Key).(*ecdsa.PrivateKey)
	ed := privateKey(t, rfc8037Private).(ed25519.PrivateKey)
	der := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		block string
		der   []byte
		want  crypto.Signer
	}{
		{"PRIVATE KEY", der(x509.MarshalPKCS8PrivateKey(ec)), ec},
		{"PRIVATE KEY", der(x509.MarshalPKCS8PrivateKey(ed)), ed},
		{"EC PRIVATE KEY", der(x509.MarshalECPrivateKey(ec)), ec},
	} {
		got := privateKey(t, string(pem.EncodeToMemory(&pem.Block{Type: tt.block, Bytes: tt.der})))
		if publicKey(t, got).Thumbprint() != publicKey(t, tt.want).Thumbprint() {
			t.Errorf("%s: another key", tt.block)
		}
	}
}

func TestBadKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for _, bad := range []string{
		``, `x`, `{}`, `[]`, `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":3}`, rfc8037Private, rfc7517Private,
		`{"kty":"RSA","n":"AQAB","e":"AQAB"}`, `{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `{"kty":"oct","k":"AAAA"}`,
		strings.Replace(rfc8037Public, "11qYA", "qYA", 1), strings.Replace(rfc8037Public, `URo"`, `URo="`, 1), strings.Replace(rfc8037Public, `"x"`, `"X"`, 1),
		strings.Replace(rfc7517Public, `"y":"4`, `"y":"5`, 1), strings.Replace(rfc7517Public, `"y":"4Et`, `"y":"4E\nt`, 1), strings.Replace(rfc7517Public, `"kty":"EC"`, `"kty":"EC","kty":"EC"`, 1),
		block("PUBLIC KEY", spki), block("PUBLIC KEY", []byte{1}), block("CERTIFICATE", spki), strings.Repeat(" ", maxEntry+1),
	} {
		if _, err := ParsePublicKeys([]byte(bad)); err == nil {
			t.Errorf("public key %.200s is taken", bad)
		}
	}
	for _, bad := range []string{
		``, `x`, `{}`, rfc8037Public, rfc7517Public, strings.Replace(rfc8037Private, "nWG", "nWH", 1), strings.Replace(rfc7517Private, "870", "871", 1), strings.Replace(rfc8037Private, `"d":"nW`, `"d":"`, 1),
		`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"__________________________________________8"}`,
		block("PRIVATE KEY", pkcs8), block("PRIVATE KEY", []byte{1}), block("EC PRIVATE KEY", []byte{1}), block("RSA PRIVATE KEY", []byte{1}), strings.Repeat(" ", maxEntry+1),
	} {
		if _, err := ParsePrivateKey([]byte(bad)); err == nil {
			t.Errorf("private key %.200s is taken", bad)
		}
	}
	offCurve := p384.PublicKey
	offCurve.Curve = elliptic.P256()
	for _, bad := range []crypto.PublicKey{nil, ed25519.PublicKey{1}, &p384.PublicKey, &rsa.PublicKey{}, &offCurve} {
		if _, err := NewPublicKey(bad); err == nil {
			t.Errorf("%T is taken", bad)
		}
	}
	var zero PublicKey
	if zero.verify([]byte("x"), make([]byte, 64)) || zero.Algorithm() != "" || zero.JWK() != nil {
		t.Error("the zero key verifies something")
	}
}

const tagName = "user/repo:1.0.0"

func testEntry(t testing.TB) Entry {
	t.Helper()
	e, err := ParseEntry([]byte(`{` + fooDigest + `,"length":3,"type":"a/b","x":"y"}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSignTag(t *testing.T) {
	ed, ec := privateKey(t, rfc8037Private), privateKey(t, rfc7515Key)
	entry := testEntry(t)
	for _, signers := range [][]crypto.Signer{{ed}, {ec}, {ed, ec}} {
		made, err := SignTag(entry, tagName, signers...)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := ParseTag(TypeJOSE, made.Raw)
		if err != nil || !tag.Signed() || len(tag.Signatures) != len(signers) || tag.Entry.Meta != entry.Meta || string(tag.Entry.Extra["x"]) != `"y"` {
			t.Fatalf("%s: %+v, %v", made.Raw, tag, err)
		}
		if m := tag.Meta(); m.Type != TypeJOSE || m.Verify(made.Raw) != nil {
			t.Errorf("Meta of the tag: %v", m)
		}
		if keys := tag.SelfSigned(); len(keys) != len(signers) {
			t.Errorf("%d of %d signatures hold", len(keys), len(signers))
		}
		for _, signer := range signers {
			want := publicKey(t, signer)
			got, err := NewSigners(want).Verify(tag, tagName)
			if err != nil || got.Thumbprint() != want.Thumbprint() {
				t.Errorf("signed by %s: %v, %v", want.Thumbprint(), got.Thumbprint(), err)
			}
		}
	}
	if _, err := SignTag(entry, tagName); err == nil {
		t.Error("signed by nobody")
	}
	if _, err := SignTag(entry, tagName, broken{ed}); err == nil {
		t.Error("a device that signs wrongly was believed")
	}
	if _, err := SignTag(entry, tagName, broken{ec}); err == nil {
		t.Error("a device that signs wrongly was believed")
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if _, err := SignTag(entry, tagName, p384); err == nil {
		t.Error("signed by P-384")
	}
}

// broken signs something else.
type broken struct{ crypto.Signer }

func (b broken) Sign(r io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	other := append([]byte(nil), message...)
	other[0] ^= 1
	return b.Signer.Sign(r, other, opts)
}

// jwsOf builds a JWS by hand.
func jwsOf(t testing.TB, signer crypto.Signer, header, unprotected, payload string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	signature, err := sign(signer, publicKey(t, signer), []byte(b64([]byte(header))+"."+b64([]byte(payload))))
	if err != nil {
		t.Fatal(err)
	}
	if unprotected != "" {
		unprotected = `"header":` + unprotected + `,`
	}
	return `{"payload":"` + b64([]byte(payload)) + `",` + unprotected + `"protected":"` + b64([]byte(header)) + `","signature":"` + b64(signature) + `"}`
}

func TestSigners(t *testing.T) {
	ed, ec := privateKey(t, rfc8037Private), privateKey(t, rfc7515Key)
	edKey, ecKey := publicKey(t, ed), publicKey(t, ec)
	entry := testEntry(t)
	payload := string(entry.Canonical())
	head := func(alg, rest string) string {
		return `{"alg":"` + alg + `","cty":"` + TypeEntry + `","sub":"` + tagName + `"` + rest + `}`
	}
	named := func(key PublicKey) string {
		return `,"kid":"` + key.Thumbprint() + `","jwk":` + string(key.JWK())
	}
	signed := func(signers ...crypto.Signer) string {
		tag, err := SignTag(entry, tagName, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return string(tag.Raw)
	}
	other := testEntry(t)
	other.Length++
	swap := func(raw string, e Entry) string { // another payload under the old signature
		b64 := base64.RawURLEncoding.EncodeToString
		return strings.Replace(raw, b64(entry.Canonical()), b64(e.Canonical()), 1)
	}
	tests := []struct {
		name string
		raw  string
		want error
	}{
		{"by the key", signed(ed), nil},
		{"by the key and another", signed(ec, ed), nil},
		{"no key named", jwsOf(t, ed, head("EdDSA", ""), "", payload), nil},
		{"key ID of their own", jwsOf(t, ed, head("EdDSA", ""), `{"kid":"mine"}`, payload), nil},
		{"key ID unprotected", jwsOf(t, ed, head("EdDSA", ""), `{"kid":"`+edKey.Thumbprint()+`"}`, payload), nil},
		{"nulls as upstream writes them", strings.Replace(jwsOf(t, ed, head("EdDSA", named(edKey)), "null", payload), "{", `{"x":null,`, 1), nil},
		{"replaced key", signed(ec), ErrUnknownSigner},
		{"replaced key with the old name", jwsOf(t, ec, head("ES256", `,"kid":"`+edKey.Thumbprint()+`"`), "", payload), ErrBadSignature},
		{"replaced key inside, old name", jwsOf(t, ec, head("ES256", `,"kid":"`+edKey.Thumbprint()+`","jwk":`+string(ecKey.JWK())), "", payload), ErrUnknownSigner},
		{"old key inside, signed by the new", jwsOf(t, ec, head("ES256", named(edKey)), "", payload), ErrBadSignature},
		{"the other algorithm's name", jwsOf(t, ed, head("ES256", named(edKey)), "", payload), ErrBadSignature},
		{"other algorithm unnamed", jwsOf(t, ed, head("RS256", ""), "", payload), ErrUnknownSigner},
		{"other payload", swap(signed(ed), other), ErrBadSignature},
		{"other payload, both", swap(signed(ec, ed), other), ErrBadSignature},
		{"good and a bad one of the same key", strings.Replace(signed(ec, ed), signaturePart(t, signed(ec, ed), 1), strings.Repeat("A", 86), 1), ErrBadSignature},
		{"critical extension", jwsOf(t, ed, head("EdDSA", `,"crit":["b64"],"b64":true`+named(edKey)), "", payload), ErrBadSignature},
		{"no subject", jwsOf(t, ed, `{"alg":"EdDSA","cty":"`+TypeEntry+`"`+named(edKey)+`}`, "", payload), ErrOtherTag},
		{"other subject", jwsOf(t, ed, strings.Replace(head("EdDSA", named(edKey)), "1.0.0", "0.9.0", 1), "", payload), ErrOtherTag},
		{"subject unprotected", jwsOf(t, ed, `{"alg":"EdDSA","cty":"`+TypeEntry+`"`+named(edKey)+`}`, `{"sub":"`+tagName+`"}`, payload), ErrOtherTag},
		{"signed as something else", jwsOf(t, ed, strings.Replace(head("EdDSA", named(edKey)), TypeEntry, "text/plain", 1), "", payload), ErrBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tag, err := ParseTag(TypeJOSE, []byte(tt.raw))
			if err != nil {
				t.Fatal(err)
			}
			key, err := NewSigners(edKey).Verify(tag, tagName)
			if !errors.Is(err, tt.want) || (err == nil) != (key.Algorithm() != "") {
				t.Errorf("got %v, %v, want %v", key.Algorithm(), err, tt.want)
			}
		})
	}
}

func TestSignersNone(t *testing.T) {
	ed := privateKey(t, rfc8037Private)
	entry := testEntry(t)
	if _, err := NewSigners(publicKey(t, ed)).Verify(NewTag(entry), tagName); !errors.Is(err, ErrUnsigned) {
		t.Errorf("an unsigned tag: %v", err)
	}
	tag, err := SignTag(entry, tagName, ed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigners().Verify(tag, tagName); !errors.Is(err, ErrUnknownSigner) {
		t.Errorf("nobody is trusted: %v", err)
	}
}

func signaturePart(t *testing.T, raw string, i int) string {
	var j struct {
		Signatures []struct{ Signature string }
	}
	if err := json.Unmarshal([]byte(raw), &j); err != nil {
		t.Fatal(err)
	}
	return j.Signatures[i].Signature
}

func TestParseTag(t *testing.T) {
	ed := privateKey(t, rfc8037Private)
	entry := testEntry(t)
	payload := string(entry.Canonical())
	good := jwsOf(t, ed, `{"alg":"EdDSA"}`, "", payload)
	b64 := base64.RawURLEncoding.EncodeToString
	head := func(s string) string { return strings.Replace(good, b64([]byte(`{"alg":"EdDSA"}`)), b64([]byte(s)), 1) }
	tests := []struct{ name, mediaType, raw, want string }{
		{"unsigned", TypeEntry, payload, ""},
		{"signed", TypeJOSE, good, ""},
		{"with what is unknown", TypeJOSE, strings.Replace(good, "{", `{"x":{"y":1},`, 1), ""},
		{"another type", TypeJSON, payload, "invalid content type"},
		{"a parameter", TypeEntry + "; v=1", payload, "invalid content type"},
		{"entry as JWS", TypeJOSE, payload, "detached"},
		{"JWS as entry", TypeEntry, good, "digest is missing"},
		{"detached", TypeJOSE, strings.Replace(good, `"payload":"`+b64([]byte(payload))+`"`, `"payload":null`, 1), "detached"},
		{"payload is no entry", TypeJOSE, rfc7515General, "digest is missing"},
		{"payload with padding", TypeJOSE, strings.Replace(good, `","protected"`, `=","protected"`, 1), "base64"},
		{"none", TypeJOSE, head(`{"alg":"none"}`), "none"},
		{"no algorithm", TypeJOSE, head(`{}`), "alg is missing"},
		{"algorithm unprotected", TypeJOSE, strings.Replace(head(`{}`), "{", `{"header":{"alg":"EdDSA"},`, 1), "alg is missing"},
		{"null algorithm", TypeJOSE, head(`{"alg":null}`), "alg is missing"},
		{"algorithm is a number", TypeJOSE, head(`{"alg":1}`), "alg is not"},
		{"algorithm twice", TypeJOSE, head(`{"alg":"EdDSA","alg":"none"}`), "twice"},
		{"algorithm in both headers", TypeJOSE, strings.Replace(good, "{", `{"header":{"alg":"EdDSA"},`, 1), "both headers"},
		{"header is no object", TypeJOSE, strings.Replace(good, "{", `{"header":[],`, 1), "header"},
		{"protected is no JSON", TypeJOSE, head(`xx`), "protected"},
		{"protected is an array", TypeJOSE, head(`[]`), "protected"},
		{"protected is not base64url", TypeJOSE, strings.Replace(good, `"protected":"`, `"protected":"+`, 1), "protected"},
		{"private key inside", TypeJOSE, head(`{"alg":"EdDSA","jwk":` + rfc8037Private + `}`), "private key"},
		{"key is no object", TypeJOSE, head(`{"alg":"EdDSA","jwk":"x"}`), "jwk"},
		{"no signature", TypeJOSE, `{"payload":"` + b64([]byte(payload)) + `","protected":"e30"}`, "neither"},
		{"empty signature", TypeJOSE, `{"payload":"` + b64([]byte(payload)) + `","protected":"e30","signature":""}`, "signature"},
		{"both forms", TypeJOSE, strings.Replace(good, "{", `{"signatures":[],`, 1), "or both"},
		{"protected beside signatures", TypeJOSE, strings.Replace(rfc7515General, "{", `{"protected":"e30",`, 1), "beside"},
		{"no signatures", TypeJOSE, `{"payload":"","signatures":[]}`, "not a list"},
		{"null signature", TypeJOSE, `{"payload":"","signatures":[null]}`, "signature"},
		{"many signatures", TypeJOSE, `{"payload":"","signatures":[` + strings.Repeat(`{},`, MaxSignatures) + `{}]}`, "more than"},
		{"not JSON", TypeJOSE, `x`, "JSON"},
		{"not an object", TypeJOSE, `[]`, "not a JSON object"},
		{"payload is a number", TypeJOSE, `{"payload":1}`, "payload"},
		{"too long", TypeEntry, payload + strings.Repeat(" ", MaxJSON), "more than"},
		{"compact", TypeJOSE, "a.b.c", "JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tag, err := ParseTag(tt.mediaType, []byte(tt.raw))
			if tt.want == "" {
				if err != nil || tag.Entry.Meta != entry.Meta || string(tag.Raw) != tt.raw {
					t.Errorf("%+v, %v", tag, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func BenchmarkVerifyTag(b *testing.B) {
	for _, text := range []string{rfc8037Private, rfc7515Key} {
		key := privateKey(b, text)
		tag, err := SignTag(testEntry(b), tagName, key)
		if err != nil {
			b.Fatal(err)
		}
		signers := NewSigners(publicKey(b, key))
		b.Run(publicKey(b, key).Algorithm(), func(b *testing.B) {
			for b.Loop() {
				tag, err := ParseTag(TypeJOSE, tag.Raw)
				if err == nil {
					_, err = signers.Verify(tag, tagName)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
