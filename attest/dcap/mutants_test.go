// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/tdx"
)

// A mutant differs from good evidence in one thing, for which the check named
// code fails and no other does, unless more says so.
type mutant struct {
	name   string
	kinds  string // "sgx", "tdx4", "tdx5"
	mutate func(f *forge)
	code   string // without "sgx" or "tdx"
	more   []string
}

const (
	all = "sgx tdx4 tdx5"
	td  = "tdx4 tdx5"
)

func flip(offset int, bits byte) func(f *forge) {
	return func(f *forge) { f.signed[offset] ^= bits }
}

func flipQE(offset int, bits byte) func(f *forge) {
	return func(f *forge) { f.qe[offset] ^= bits }
}

func withoutIdentity(edit func(f *forge)) func(f *forge) {
	return func(f *forge) {
		edit(f)
		f.collateral = func(c *dcap.Collateral) { c.QEIdentities = nil }
	}
}

func cut(n int) func(f *forge) {
	return func(f *forge) { f.quote = func(q []byte) []byte { return q[:len(q)-n] } }
}

func swap(old, new string) func(f *forge) {
	return func(f *forge) {
		f.info, f.identity = strings.ReplaceAll(f.info, old, new), strings.ReplaceAll(f.identity, old, new)
	}
}

func in(change func(c *dcap.Collateral)) func(f *forge) {
	return func(f *forge) { f.collateral = change }
}

var mutants = []mutant{
	// The quote's form.
	{"version", all, flip(0, 8), ".header.version", nil},
	{"attestation key type", all, flip(2, 1), ".header.attestation-key-type", nil},
	{"TEE type", td, flip(4, 0x81), ".header.tee-type", nil},
	{"TEE type in version 3", "sgx", flip(4, 0x81), ".header.reserved", nil},
	{"reserved header bytes", td, flip(9, 1), ".header.reserved", nil},
	{"QE vendor", all, flip(12, 1), ".header.qe-vendor", nil},
	{"body of an enclave", "tdx5", flip(48, 2), ".body.type", nil},
	{"unknown body", "tdx5", flip(48, 7), ".body.type", nil},
	{"body size", "tdx5", flip(50, 1), ".body.size", nil},
	{"cut off", all, cut(1), ".quote.length", nil},
	{"padding", all, func(f *forge) { f.quote = func(q []byte) []byte { return append(q, make([]byte, 70)...) } }, "", nil},
	{"something behind", all, func(f *forge) { f.quote = func(q []byte) []byte { return append(q, 0, 1) } }, ".quote.trailing", nil},
	{"too long", all, func(f *forge) { f.quote = func(q []byte) []byte { return append(q, make([]byte, dcap.MaxQuote)...) } }, ".quote.length", nil},
	{"only a header", all, func(f *forge) { f.quote = func(q []byte) []byte { return q[:48] } }, ".quote.length", nil},
	{"empty", all, func(f *forge) { f.quote = func([]byte) []byte { return nil } }, ".quote.length", nil},
	{"length of authentication data", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[bytes.Index(q, f.auth)-2]++; return q }
	}, ".quote.length", nil},
	{"length of the chain", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[bytes.Index(q, []byte("-----BEGIN"))-4]--; return q }
	}, ".quote.length", nil},
	{"outer certification data", td, func(f *forge) { f.outer = 5 }, ".certification-data", nil},
	{"encrypted PPID", all, func(f *forge) { f.inner = 3 }, ".certification-data", nil},

	// Signatures.
	{"attestation key not on the curve", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[len(f.signed)+4+64+63] ^= 1; return q }
	}, ".quote.attestation-key", []string{".qe.report-data"}},
	{"other attestation key", all, func(f *forge) {
		f.quote = func(q []byte) []byte { copy(q[len(f.signed)+4+64:], must(key().PublicKey.Bytes())[1:]); return q }
	}, ".quote.signature", []string{".qe.report-data"}},
	{"body changed after signing", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[len(f.signed)-1] ^= 1; return q }
	}, ".quote.signature", nil},
	{"QE report changed after signing", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[bytes.Index(q, f.qe)+64] ^= 1; return q }
	}, ".qe.signature", nil},
	{"authentication data changed", all, func(f *forge) {
		f.quote = func(q []byte) []byte { q[bytes.Index(q, f.auth)] ^= 1; return q }
	}, ".qe.report-data", nil},

	// What is reserved.
	{"report bytes", "sgx", flip(48+21, 1), ".report.reserved", nil},
	{"report bytes before MRSIGNER", "sgx", flip(48+127, 1), ".report.reserved", nil},
	{"report bytes behind MRSIGNER", "sgx", flip(48+160, 1), ".report.reserved", nil},
	{"report bytes behind CONFIGSVN", "sgx", flip(48+303, 1), ".report.reserved", nil},
	{"attribute", "sgx", flip(48+48, 8), ".attributes.reserved", nil},
	{"TD attribute", "tdx4", flip(48+120, 2), ".attributes.reserved", nil},
	{"TD attribute, version 5", "tdx5", flip(54+125, 1), ".attributes.reserved", nil},
	{"QE report bytes", all, flipQE(100, 1), ".qe.reserved", nil},

	// The quoting enclave.
	{"QE's MRSIGNER", all, flipQE(128, 1), ".qe.mrsigner", nil},
	{"QE's ISVPRODID", all, flipQE(256, 2), ".qe.isvprodid", nil},
	{"QE's DEBUG", all, flipQE(48, 2), ".qe.attributes", nil},
	{"QE's MISCSELECT", all, flipQE(16, 1), ".qe.miscselect", nil},
	{"QE's attribute under no mask", all, flipQE(48, 4), "", nil},
	{"QE's version", all, flipQE(258, 6^3), ".qe.isvsvn", nil},
	{"no QE identity", all, withoutIdentity(func(*forge) {}), "", nil},
	{"QE's MRSIGNER without a QE identity", all, withoutIdentity(flipQE(159, 1)), ".qe.mrsigner", nil},
	{"QE's ISVPRODID without a QE identity", all, withoutIdentity(flipQE(256, 3)), ".qe.isvprodid", nil},
	{"QE's DEBUG without a QE identity", all, withoutIdentity(flipQE(48, 2)), ".qe.attributes", nil},
	{"QE's MISCSELECT without a QE identity", all, withoutIdentity(flipQE(16, 1)), ".qe.miscselect", nil},

	// The TDX module.
	{"MRSIGNERSEAM", "tdx4", flip(48+64, 1), ".mrsignerseam", nil},
	{"SEAMATTRIBUTES", "tdx5", flip(54+112, 1), ".seamattributes", nil},
	{"MRSIGNERSEAM without TCB info", "tdx4", func(f *forge) {
		flip(48+64, 1)(f)
		f.collateral = func(c *dcap.Collateral) { c.TCBInfos = nil }
	}, ".mrsignerseam", nil},
	{"older module at run time", "tdx5", flip(54+584, 5^2), "", nil},
	{"too old module at run time", "tdx5", flip(54+584, 5^1), ".module.current", nil},
	{"module of another major version at run time", "tdx5", flip(54+585, 1^2), ".module.current", nil},
	{"older loader at run time", "tdx5", flip(54+586, 7^6), "", nil},
	{"too old loader at run time", "tdx5", flip(54+586, 7^5), ".module.current", nil},
	{"module of another major version", "tdx4", flip(48+1, 1^2), ".module.identity", nil},
	{"module that is too old", "tdx4", flip(48, 5^1), ".module.level", nil},

	// PCK certificates.
	{"chain in reverse", all, func(f *forge) {
		f.chain = func(p []byte) []byte {
			parts := bytes.SplitAfter(p, []byte("-----END CERTIFICATE-----\n"))
			slices.Reverse(parts[:3])
			return bytes.Join(parts, nil)
		}
	}, ".pck.role", []string{".pck.extension", ".root.trusted", ".qe.signature"}},
	{"two certificates", all, func(f *forge) {
		f.chain = func(p []byte) []byte { return p[:bytes.LastIndex(p, []byte("-----BEGIN"))] }
	}, ".pck.chain", nil},
	{"four certificates", all, func(f *forge) { f.chain = func(p []byte) []byte { return append(p, p[:len(p)/4]...) } }, ".pck.chain", nil},
	{"text between certificates", all, func(f *forge) {
		f.chain = func(p []byte) []byte {
			return bytes.Replace(p, []byte("-----END CERTIFICATE-----\n"), []byte("-----END CERTIFICATE-----\nhello\n"), 1)
		}
	}, ".pck.chain", nil},
	{"text before certificates", all, func(f *forge) { f.chain = func(p []byte) []byte { return append([]byte("hello\n"), p...) } }, ".pck.chain", nil},
	{"NULs and space behind certificates", all, func(f *forge) { f.chain = func(p []byte) []byte { return append(p, " \n\x00\x00"...) } }, "", nil},
	{"no line's end between certificates", all, func(f *forge) {
		f.chain = func(p []byte) []byte {
			return bytes.ReplaceAll(p, []byte("-----END CERTIFICATE-----\n"), []byte("-----END CERTIFICATE-----"))
		}
	}, "", nil},
	{"chain that is no PEM", all, func(f *forge) { f.chain = func(p []byte) []byte { return p[:100] } }, ".pck.chain", nil},
	{"PCK's name", all, func(f *forge) { f.leaf.Subject.CommonName = "Intel SGX TCB Signing" }, ".pck.role", nil},
	{"PCK that is a CA", all, func(f *forge) { f.leaf.IsCA = true }, ".pck.role", nil},
	{"PCK that may not sign", all, func(f *forge) { f.leaf.KeyUsage = x509.KeyUsageKeyAgreement }, ".pck.role", nil},
	{"PCK with a critical extension", all, func(f *forge) {
		f.leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}, ".pck.role", nil},
	{"PCK with a key on P-384", all, func(f *forge) {
		k := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		f.leafKey, f.qeKey = k, key()
	}, ".pck.chain", nil},
	{"PCK CA's name", all, func(f *forge) { f.ca.Subject.CommonName = "Intel SGX PCK CA" }, ".pck-ca.role", nil},
	{"PCK CA that is none", all, func(f *forge) { f.ca.IsCA = false }, ".pck-ca.role", []string{".pck-ca.ca"}},
	{"no SGX extension", all, func(f *forge) { f.extension = func() []byte { return nil } }, ".pck.extension", nil},
	{"cut SGX extension", all, func(f *forge) { f.extension = func() []byte { return f.sgxExtension()[:200] } }, ".pck.extension", nil},
	{"PCK signed by somebody else", all, func(f *forge) { f.leafSigner = key() }, ".pck.signature", nil},
	{"PCK expired", all, func(f *forge) { f.leaf.NotAfter = epoch.Add(-time.Second) }, ".pck.validity", nil},
	{"PCK CA not valid yet", all, func(f *forge) { f.ca.NotBefore = epoch.Add(time.Second) }, ".pck-ca.validity", nil},
	{"root expired", all, func(f *forge) { f.root.NotAfter = epoch.Add(-time.Second) }, ".root.validity", nil},
	{"PCK revoked", all, func(f *forge) { f.revokedByCA = []int64{3} }, ".pck.revoked", nil},
	{"PCK CA revoked", all, func(f *forge) { f.revokedByRoot = []int64{2} }, ".pck-ca.revoked", nil},

	// TCB info and QE identity.
	{"TCB info changed", all, in(func(c *dcap.Collateral) { c.TCBInfos[0].Body[50] ^= 1 }), ".tcb-info.signature", nil},
	{"QE identity changed", all, in(func(c *dcap.Collateral) { c.QEIdentities[0].Body[50] ^= 1 }), ".qe-identity.signature", nil},
	{"signer revoked", all, func(f *forge) { f.revokedByRoot = []int64{4} }, ".tcb-signing.revoked", nil},
	{"signer expired", all, func(f *forge) { f.signer.NotAfter = epoch.Add(-time.Second) }, ".tcb-signing.validity", nil},
	{"signer that is a CA", all, func(f *forge) { f.signer.IsCA = true }, ".tcb-signing.role", nil},
	{"signer with another name", all, func(f *forge) { f.signer.Subject.CommonName = "Intel SGX PCK Platform CA" }, ".tcb-signing.role", nil},
	{"signer not there", all, in(func(c *dcap.Collateral) { c.Certificates = nil }), ".tcb-signing.role", nil},
	{"signer with another kind of key", all, in(func(c *dcap.Collateral) {
		k := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		der := must(x509.CreateCertificate(rand.Reader, template(9, "Intel SGX TCB Signing", false), template(1, "Intel SGX Root CA", true), &k.PublicKey, k))
		c.Certificates = []*x509.Certificate{must(x509.ParseCertificate(der))}
	}), ".tcb-info.signature", []string{".qe-identity.signature"}},
	{"component too low", all, func(f *forge) { f.components[5] = 0 }, ".tcb-info.level", nil},
	{"PCESVN too low", all, swap(`"pcesvn":`, `"pcesvn":1`), ".tcb-info.level", nil},
	{"TEE_TCB_SVN too low", "tdx4", flip(48+2, 7^5), ".tcb-info.level", nil},
}

// TestRoots has the chain end in a root that is not trusted, and in another
// certificate of one that is.
func TestRoots(t *testing.T) {
	for _, kind := range []string{"sgx", "tdx5"} {
		f := newForge(kind)
		quote, c, trusted := f.build()
		f.root.NotAfter = epoch.Add(2 * day)
		for name, set := range map[string]*roots.Set{
			"none":     nil,
			"empty":    {},
			"vendors":  roots.Vendors(),
			"reissued": {Intel: append(slices.Clip(roots.Vendors().Intel), issue(f.root, f.root, f.rootKey, f.rootKey))},
			"same":     trusted,
		} {
			g := check.New("quote")
			if kind == "sgx" {
				sgx.Verify(g, sgx.Input{Quote: quote, Collateral: c, Roots: set, Now: f.now})
			} else {
				tdx.Verify(g, tdx.Input{Quote: quote, Collateral: c, Roots: set, Now: f.now})
			}
			failures := g.Failures()
			if good := name == "same" || name == "reissued"; good != g.OK() || !good && (len(failures) != 1 || failures[0].Code != kind[:3]+".root.trusted") {
				t.Errorf("%s, %s: %v", kind, name, failures)
			}
		}
	}
}

// TestMutants requires each mutant to be refused by the check that names what
// is wrong with it, and nothing else.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		for _, kind := range strings.Fields(m.kinds) {
			t.Run(m.name+"/"+kind, func(t *testing.T) {
				f := newForge(kind)
				m.mutate(f)
				g, _ := f.verify(t)
				var want []string
				if m.code != "" {
					want = append([]string{kind[:3] + m.code}, m.more...)
				}
				for i := range want[min(1, len(want)):] {
					want[i+1] = kind[:3] + want[i+1]
				}
				var got []string
				for _, c := range g.Failures() {
					if !slices.Contains(got, c.Code) {
						got = append(got, c.Code)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					var b strings.Builder
					_ = g.Write(&b, check.Style{})
					t.Errorf("got %q, want %q\n%s", got, want, &b)
				}
			})
		}
	}
}
