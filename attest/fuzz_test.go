// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// judged does with evidence from outside what a server does, for its panics.
func judged(t *testing.T, ev *Evidence, c *Collateral) {
	p := DefaultPolicy()
	p.RefuseKnownBroken = true
	r := Appraise(Verify(ev, &Roots{Set: silicon.Roots()}, c, testTime), p)
	if err := r.Write(io.Discard, check.Style{}); err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Fatalf("%v in %s", err, r.EAR(testTime, Verifier{}))
	}
	if r.Accepted() != (r.Err() == nil) || r.Accepted() != (r.Code() == "accepted") {
		t.Fatal("accepted and not")
	}
}

func FuzzParseEvidence(f *testing.F) {
	for i, shape := range attesttest.Shapes {
		f.Add(uint8(i), evidenceOf(f, shape).DER())
	}
	technologies := []Technology{SNP, SNP, SGX, SGX, SGX, TDX, None}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		ev, err := ParseEvidence(technologies[int(which)%len(technologies)], data, nil)
		if err != nil {
			return
		}
		judged(t, ev, nil)
		value, err := ev.Marshal()
		if err != nil {
			return // an old shape, which lacks something
		}
		again, err := ParseEvidence(ev.Technology, value, nil)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(again.Report, ev.Report) || len(again.Collateral.CRLs) != len(ev.Collateral.CRLs) {
			t.Fatal("what was written is something else")
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, shape := range attesttest.Shapes {
		csr, _ := silicon.CSR(shape, uris(WorkloadURI(wdig), SlugURI("h/u/r:1.0.0"), LogURI("none")))
		f.Add(csr)
	}
	f.Add(resigned())
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := ParseRequest(data, nil)
		if err != nil {
			if e := err.(*RequestError); len(e.Checks.Failures()) != 1 {
				t.Fatalf("%d checks failed", len(e.Checks.Failures()))
			}
			return
		}
		judged(t, req.Evidence, nil)
	})
}

// FuzzAttributes gets behind the signature, which hardly any change of a request
// survives.
func FuzzAttributes(f *testing.F) {
	keys := map[Technology]*Request{}
	for _, shape := range attesttest.Shapes {
		csr, _ := silicon.CSR(shape, uris(WorkloadURI(wdig), SlugURI("h/u/r:1.0.0"), LogURI("none")))
		req := &Request{Raw: csr, Checks: check.New("")}
		attributes, ok := req.parse()
		if !ok || !req.verify() {
			f.Fatal("a good request is refused")
		}
		f.Add(uint8(len(keys)), []byte(attributes))
		keys[technologyOfShape(shape)] = req
	}
	technologies := []Technology{SNP, SGX, TDX, None}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		with := keys[technologies[int(which)%len(technologies)]]
		req := &Request{PublicKey: with.PublicKey, RawSPKI: with.RawSPKI, Checks: check.New("")}
		if ok := req.attributes(data, nil); ok != (len(req.Checks.Failures()) == 0) || ok && (req.Evidence == nil || req.Evidence.Key == nil) {
			t.Fatal("refused without a reason")
		}
	})
}

func FuzzParseRequests(f *testing.F) {
	a, _ := silicon.CSR("none")
	f.Add(sequence(a, a))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseRequests(data, 4)
		if err == nil && (len(all) > 4 || !bytes.Equal(sequence(all...), data)) {
			t.Fatal("the parts are not the whole")
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(refSNP + refSGX))
	for key, c := range policyRules {
		f.Add([]byte(withTable(key, c.good)))
		f.Add([]byte(withTable(key, c.bad)))
	}
	csr, _ := silicon.CSR("snp-v2")
	req, err := ParseRequest(csr, nil)
	if err != nil {
		f.Fatal(err)
	}
	cl := Verify(req.Evidence, &Roots{Set: silicon.Roots()}, nil, testTime)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("p.toml", data)
		if err != nil {
			if e := err.(*PolicyError); e.Msg == "" {
				t.Fatal("an error without words")
			}
			return
		}
		if err := p.Explain(io.Discard); err != nil {
			t.Fatal(err)
		}
		if p.Insecure || !p.RequireBinding {
			t.Fatal("a file set what no file may set")
		}
		Appraise(cl, p)
	})
}

func FuzzRecognise(f *testing.F) {
	for _, shape := range attesttest.Shapes {
		csr, _ := silicon.CSR(shape)
		e := evidenceOf(f, shape)
		f.Add(csr)
		f.Add(e.Report)
		f.Add(e.DER())
	}
	sgx := evidenceOf(f, "tdx-v1")
	f.Add(sgx.TCBInfo.JSON)
	f.Add(sgx.QEIdentity.JSON)
	f.Add(MarshalCRLList([]CRLEntry{{"u", sgx.CRLs[0].CRL}}))
	f.Add([]byte(`{"outblob":"AAAA","auxblob":"AAAA"}`))
	f.Add([]byte("\xa2goutblobA\x00gauxblobA\x00"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("00112233445566778899aabbccddeeff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Recognise([]File{{"f", data}}, pki.NewMemo(1<<16))
		if err == nil && b.Evidence != nil {
			judged(t, b.Evidence, &b.Collateral)
		}
	})
}

func FuzzParseCMW(f *testing.F) {
	f.Add(CMW(EARType, []byte("{}")).Value)
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, value, err := ParseCMW(pkixCMW(data))
		if err != nil {
			return
		}
		again, value2, err := ParseCMW(CMW(kind, value))
		if err != nil || again != kind || !bytes.Equal(value, value2) {
			t.Fatalf("%q %q: %q %q %v", kind, value, again, value2, err)
		}
	})
}

func FuzzParseURIs(f *testing.F) {
	for _, uri := range []string{WorkloadURI(wdig), SlugURI("h:1/u/r:1.0.0-a+b"), LogURI("none")} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		n, err := ParseURIs([]string{uri})
		if err != nil {
			return
		}
		switch {
		case n.Workload != nil && WorkloadURI([32]byte(n.Workload)) == uri, n.Slug != "" && SlugURI(n.Slug) == uri, n.Log != "" && LogURI(n.Log) == uri:
		default:
			t.Fatalf("%q has a second spelling: %+v", uri, n)
		}
	})
}

func FuzzParseVersionRange(f *testing.F) {
	f.Add(">=1.51, <2", uint8(1), uint8(51))
	f.Add("~1.*", uint8(1), uint8(51))
	f.Fuzz(func(t *testing.T, text string, major, minor uint8) {
		if r, err := ParseVersionRange(text); err == nil {
			r.Contains(uint64(major), uint64(minor), 0)
		}
	})
}

func FuzzParseCRLList(f *testing.F) {
	f.Add(MarshalCRLList([]CRLEntry{{"u", []byte{0x30, 0}}, {"ü", []byte{0x30, 2, 5, 0}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseCRLList(data)
		if err == nil && !bytes.Equal(MarshalCRLList(all), data) {
			t.Fatal("written otherwise than it was read")
		}
	})
}
