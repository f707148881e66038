// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"fmt"
	"time"
)

// documents are TCB infos and QE identities, and who signs them.
func (q *quotes) documents() {
	q.tcbInfo()
	q.qeIdentity()
	q.signer()
	now := q.w.Now
	for _, t := range []struct {
		name string
		at   time.Time
		code string
		also []string
	}{
		{"issued/before", now.Add(issued - time.Second), ".tcb-info", []string{".qe-identity", ".root.crl", ".pck-ca.crl"}},
		{"issued/at", now.Add(issued), "", nil},
		{"next/before", now.Add(shortLived - time.Second), "", nil},
		{"next/at", now.Add(shortLived), ".tcb-info", []string{".qe-identity", ".pck-ca.crl"}},
		{"root_crl/after", now.Add(longLived), ".root.crl", []string{".tcb-info", ".qe-identity", ".pck-ca.crl"}},
		{"pck/before", leavesFrom.Add(-time.Second), ".pck.validity", []string{".tcb-info", ".qe-identity", ".root.crl", ".pck-ca.crl"}},
		{"pck/after", leavesTo.Add(time.Second), ".pck.validity", []string{".tcb-info", ".qe-identity", ".root.crl", ".pck-ca.crl"}},
		{"roots/before", rootsFrom.Add(-time.Second), ".root.validity", []string{
			".pck.validity", ".pck-ca.validity", ".tcb-signing.validity", ".tcb-info", ".qe-identity", ".root.crl", ".pck-ca.crl"}},
		{"roots/after", rootsTo.Add(time.Second), ".root.validity", []string{
			".pck.validity", ".pck-ca.validity", ".tcb-signing.validity", ".tcb-info", ".qe-identity", ".root.crl", ".pck-ca.crl"}},
	} {
		edit := func(m *Mutant) { m.Time, m.Also = t.at, q.codes(t.also) }
		change := "the clock says " + t.at.Format(time.RFC3339)
		if t.code == "" {
			q.still("time/"+t.name, change, edit)
		} else {
			q.refuse("time/"+t.name, change, q.code(t.code), edit)
		}
	}
}

// document is the base with another one of its documents.
func (q *quotes) document(file, name, change, code string, data []byte, also ...string) {
	q.refuse(name, change, q.code(code), func(m *Mutant) {
		m.replace(file, data)
		m.Also = q.codes(also)
	})
}

func (q *quotes) tcbInfo() {
	const file = "tcb-info.json"
	now := q.w.Now
	set := func(name, change, code string, edit func(*TCBInfo), also ...string) {
		q.document(file, "tcb-info/"+name, change, code, q.m.TCBInfo(q.info, edit), also...)
	}
	for _, member := range []string{`"issueDate":"20`, `"nextUpdate":"20`, `"tcbEvaluationDataNumber":1`, `"tcbDate":"20`, `"pcesvn":1`, `"svn":`} {
		q.alterMember("tcb-info", file, member, ".tcb-info.signature")
	}
	q.rewrite("tcb-info", file, ".tcb-info.signature")
	q.alterSignature("tcb-info", file, ".tcb-info.signature")
	q.refuse("tcb-info/missing", "no TCB info", q.code(".tcb-info"), func(m *Mutant) { m.drop(file) })
	other := map[string]string{"SGX": "TDX", "TDX": "SGX"}[q.info]
	q.document(file, "tcb-info/id/other", "for the other technology", ".tcb-info.id", q.m.TCBInfo(other))
	set("fmspc/other", "for another kind of machine", ".tcb-info.fmspc", func(t *TCBInfo) { t.FMSPC = "90C06F000001" })
	set("pceid/other", "for another provisioning enclave", ".tcb-info.pceid", func(t *TCBInfo) { t.PCEID = "0001" })
	set("issue_date/future", "issued in a second", ".tcb-info", func(t *TCBInfo) { t.IssueDate = stamp(now.Add(time.Second)) })
	set("next_update/past", "a next one should be there since a second", ".tcb-info", func(t *TCBInfo) { t.NextUpdate = stamp(now.Add(-time.Second)) })
	set("levels/others", "no level for this machine", ".tcb-info.level", func(t *TCBInfo) {
		t.Levels = t.Levels[:1]
		t.Levels[0].TCB.SGX[7].SVN++
	})
	set("levels/pcesvn", "no level for this provisioning enclave", ".tcb-info.level", func(t *TCBInfo) {
		t.Levels = t.Levels[:1]
		t.Levels[0].TCB.PCESVN++
	})
	q.statuses()
	q.refuse("policy/evaluation", "the policy asks for a later evaluation", q.code(".tcb-info.evaluation-number"), func(m *Mutant) {
		m.Policy = policy(q.prefix, "minimum_evaluation_number = 19")
	})
	q.refuse("policy/max_age", "the policy wants documents of the last day", q.code(".tcb-info"), func(m *Mutant) {
		m.Policy = policy("collateral", `max_age = "1d"`)
		m.Also = q.codes([]string{".qe-identity", ".root.crl", ".pck-ca.crl"})
	})
	q.refuse("tcb-info/superseded", "an older TCB info in which the machine is up to date beside a newer one in which it is not", q.code(".tcb.status"), func(m *Mutant) {
		m.add("newer.json", q.m.TCBInfo(q.info, func(t *TCBInfo) { t.Evaluation, t.Levels[0].Status = 19, "OutOfDate" }))
	})
	q.still("tcb-info/superseding", "a newer TCB info beside an older one in which the machine is revoked", func(m *Mutant) {
		m.add("older.json", q.m.TCBInfo(q.info, func(t *TCBInfo) { t.Evaluation, t.Levels[0].Status = 17, "Revoked" }))
	})
	q.still("tcb-info/fmspc/case", "the FMSPC in letters of the other case", func(m *Mutant) {
		m.replace(file, q.m.TCBInfo(q.info, func(t *TCBInfo) {
			t.FMSPC = map[string]string{"sgx": "90c06f000000", "tdx": "90C06F000000"}[q.prefix]
		}))
	})
}

// statuses are what Intel can say about a machine.
func (q *quotes) statuses() {
	const file = "tcb-info.json"
	for _, s := range []string{"SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"} {
		change := func(t *TCBInfo) { t.Levels[0].Status, t.Levels[0].Advisories = s, []string{"INTEL-SA-00009"} }
		q.document(file, "tcb-info/status/"+s, "Intel says so about this machine", ".tcb.status", q.m.TCBInfo(q.info, change))
		if s == "Revoked" {
			q.refuse("tcb-info/status/Revoked/advisories", "the policy accepts the advisory, which is not about the status", q.code(".tcb.status"), func(m *Mutant) {
				m.replace(file, q.m.TCBInfo(q.info, change))
				m.Policy = policy(q.prefix, `allowed_advisories = ["INTEL-SA-00009"]`)
			})
			continue
		}
		allowed := fmt.Sprintf("allowed_tcb_statuses = [%q]", s)
		if s == "OutOfDate" {
			allowed = `allowed_tcb_statuses = ["OutOfDate", "UpToDate"]`
		}
		q.still("tcb-info/status/"+s+"/allowed", "the policy accepts the status", func(m *Mutant) {
			m.replace(file, q.m.TCBInfo(q.info, change))
			m.Policy = policy(q.prefix, allowed)
		})
		q.refuse("tcb-info/status/"+s+"/advisory", "the policy accepts the status, and other advisories", q.code(".tcb.advisories"), func(m *Mutant) {
			m.replace(file, q.m.TCBInfo(q.info, change))
			m.Policy = policy(q.prefix, allowed, `allowed_advisories = ["INTEL-SA-00008"]`)
		})
	}
}

func (q *quotes) qeIdentity() {
	const file = "qe-identity.json"
	now := q.w.Now
	set := func(name, change, code string, edit func(*QEIdentity), also ...string) {
		q.document(file, "qe-identity/"+name, change, code, q.m.Intel.QEIdentity(q.qe, edit), also...)
	}
	for _, member := range []string{`"issueDate":"20`, `"nextUpdate":"20`, `"mrsigner":"`, `"isvprodid":`, `"attributes":"`, `"isvsvn":`} {
		q.alterMember("qe-identity", file, member, ".qe-identity.signature")
	}
	q.rewrite("qe-identity", file, ".qe-identity.signature")
	q.alterSignature("qe-identity", file, ".qe-identity.signature")
	q.refuse("qe-identity/missing", "no QE identity", q.code(".qe-identity"), func(m *Mutant) { m.drop(file) })
	other := map[string]string{"QE": "TD_QE", "TD_QE": "QE"}[q.qe]
	set("id/other", "of the other quoting enclave", ".qe-identity.id", func(i *QEIdentity) { i.ID = other })
	set("issue_date/future", "issued in a second", ".qe-identity", func(i *QEIdentity) { i.IssueDate = stamp(now.Add(time.Second)) })
	set("next_update/past", "a next one should be there since a second", ".qe-identity", func(i *QEIdentity) { i.NextUpdate = stamp(now.Add(-time.Second)) })
	set("mrsigner/other", "of another signer", ".qe.mrsigner", func(i *QEIdentity) { i.MRSigner = "01" + i.MRSigner[2:] })
	set("isvprodid/other", "of another product", ".qe.isvprodid", func(i *QEIdentity) { i.ISVProdID = 3 })
	set("attributes/other", "of other attributes", ".qe.attributes", func(i *QEIdentity) { i.Attributes = "01" + i.Attributes[2:] })
	set("miscselect/other", "of another MISCSELECT", ".qe.miscselect", func(i *QEIdentity) { i.MiscSelect = "01000000" })
	set("levels/newer", "no level for this quoting enclave", ".qe.isvsvn", func(i *QEIdentity) {
		i.Levels = i.Levels[:1]
		i.Levels[0].TCB.ISVSVN++
	})
	for _, s := range []string{"OutOfDate", "Revoked"} {
		set("status/"+s, "Intel says so about this quoting enclave", ".tcb.status", func(i *QEIdentity) { i.Levels[0].Status = s })
	}
	q.refuse("policy/qe_svn", "the policy asks for a newer quoting enclave", q.code(".qe.isvsvn.minimum"), func(m *Mutant) {
		m.Policy = policy(q.prefix, "minimum_qe_svn = 20")
	})
}

// signer is the TCB Signing certificate.
func (q *quotes) signer() {
	const file = "tcb-signing.crt"
	in, now := q.m.Intel, q.w.Now
	lost := []string{".tcb-info", ".qe-identity"}
	set := func(name, change, code string, edit func(*Certificate), also ...string) {
		q.document(file, "tcb-signing/"+name, change, code, in.TCBSigning(edit), also...)
	}
	q.refuse("tcb-signing/missing", "no TCB Signing certificate", q.code(".tcb-signing.role"), func(m *Mutant) {
		m.drop(file)
		m.Also = q.codes(lost)
	})
	q.bump("tcb-signing/signature", file, q.prefix+".tcb-signing.signature")
	q.document(file, "tcb-signing/role/pck-ca", "a PCK CA's certificate in its place", ".tcb-signing.role", in.CA(PlatformCA), lost...)
	set("role/ca", "a TCB Signing certificate that is a CA", ".tcb-signing.role", func(x *Certificate) { x.Set(BasicConstraints(true, 0)) })
	set("issuer/other", "issued in another name", ".tcb-signing.issuer", func(x *Certificate) { x.Issuer = intelName("Intel Root") })
	set("signer/other", "signed by another key", ".tcb-signing.signature", func(x *Certificate) { x.Signer = q.m.key("stray") })
	set("key/other", "another key", ".tcb-info.signature", func(x *Certificate) { x.PublicKey = q.m.key("stray").Public() },
		append([]string{".qe-identity.signature"}, lost...)...)
	set("validity/expired", "out of date since a second", ".tcb-signing.validity", func(x *Certificate) { x.NotAfter = now.Add(-time.Second) })
	set("validity/future", "valid in a second", ".tcb-signing.validity", func(x *Certificate) { x.NotBefore = now.Add(time.Second) })
	q.still("tcb-signing/two", "an expired issue of the certificate beside this one", func(m *Mutant) {
		m.add("expired.crt", in.TCBSigning(func(x *Certificate) { x.NotAfter = now.Add(-time.Second) }))
	})
}

// alterMember changes the character after the first place where member occurs in
// a signed document, to another of its kind.
func (q *quotes) alterMember(name, file, member, code string) {
	label := member[1:][:bytes.IndexByte([]byte(member[1:]), '"')]
	q.refuse(name+"/"+label+"/altered", "one character of "+file+" changed after signing", q.code(code), func(m *Mutant) {
		p := m.piece(file)
		at := bytes.Index(p.Data, []byte(member))
		if at < 0 {
			panic("attesttest: bug: no " + member + " in " + file)
		}
		p.Data, m.Loose = flipped(p.Data, at+len(member)), true
	})
}

// rewrite makes an unwelcome status in a signed document a welcome one.
func (q *quotes) rewrite(name, file, code string) {
	q.refuse(name+"/status/altered", "OutOfDate made UpToDate after signing", q.code(code), func(m *Mutant) {
		p := m.piece(file)
		p.Data, m.Loose = bytes.Replace(p.Data, []byte("OutOfDate"), []byte("UpToDate"), 1), true
	})
}

// alterSignature changes the last digit of a document's signature.
func (q *quotes) alterSignature(name, file, code string) {
	q.refuse(name+"/signature/altered", "the last digit of the signature of "+file+" changed", q.code(code), func(m *Mutant) {
		p := m.piece(file)
		p.Data, m.Loose = bytes.Clone(p.Data), true
		last := &p.Data[len(p.Data)-len(`0"}`)]
		*last = "10"[min(*last-'0', 1)]
	})
}
