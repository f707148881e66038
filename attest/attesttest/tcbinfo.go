// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A TCBInfo is what Intel publishes about the TCB levels of a kind of machine,
// before it is encoded. The members are those of PCS API v4, in its order.
type TCBInfo struct {
	ID         string            `json:"id"` // "SGX" or "TDX"
	Version    int               `json:"version"`
	IssueDate  string            `json:"issueDate"`
	NextUpdate string            `json:"nextUpdate"`
	FMSPC      string            `json:"fmspc"`
	PCEID      string            `json:"pceId"`
	TCBType    int               `json:"tcbType"`
	Evaluation int               `json:"tcbEvaluationDataNumber"`
	Module     *TDXModule        `json:"tdxModule,omitempty"`
	Modules    []TDXModule       `json:"tdxModuleIdentities,omitempty"`
	Levels     []TCBLevel        `json:"tcbLevels"`
	Signer     *ecdsa.PrivateKey `json:"-"`
}

// A TDXModule is what a TDX module must look like.
type TDXModule struct {
	ID             string     `json:"id,omitempty"`
	MRSigner       string     `json:"mrsigner"`
	Attributes     string     `json:"attributes"`
	AttributesMask string     `json:"attributesMask"`
	Levels         []SVNLevel `json:"tcbLevels,omitempty"`
}

// A TCBLevel is one level of a platform.
type TCBLevel struct {
	TCB        PlatformTCB `json:"tcb"`
	Date       string      `json:"tcbDate"`
	Status     string      `json:"tcbStatus"`
	Advisories []string    `json:"advisoryIDs,omitempty"`
}

// A PlatformTCB is the least security versions of a level.
type PlatformTCB struct {
	SGX    []Component `json:"sgxtcbcomponents"`
	PCESVN int         `json:"pcesvn"`
	TDX    []Component `json:"tdxtcbcomponents,omitempty"`
}

// A Component is one part of a TCB.
type Component struct {
	SVN      int    `json:"svn"`
	Category string `json:"category,omitempty"`
	Type     string `json:"type,omitempty"`
}

// An SVNLevel is one level of an enclave or a TDX module.
type SVNLevel struct {
	TCB struct {
		ISVSVN int `json:"isvsvn"`
	} `json:"tcb"`
	Date       string   `json:"tcbDate"`
	Status     string   `json:"tcbStatus"`
	Advisories []string `json:"advisoryIDs,omitempty"`
}

func svnLevel(svn int, date, status string, advisories ...string) SVNLevel {
	l := SVNLevel{Date: date, Status: status, Advisories: advisories}
	l.TCB.ISVSVN = svn
	return l
}

// Dates of synthetic TCB recoveries: before any World's time that makes sense.
const (
	recovery    = "2020-11-11T00:00:00Z"
	oldRecovery = "2020-02-12T00:00:00Z"
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// TCBInfo returns Intel's TCB info of kind SGX or TDX for machines like m: m is
// up to date, machines of one component less are out of date, and with all
// components at 1 revoked.
func (m *Machine) TCBInfo(kind string, edits ...func(*TCBInfo)) []byte {
	if len(edits) == 0 {
		name := fmt.Sprintf("tcbinfo/%s/%x/%v/%d/%v/%s", kind, m.FMSPC, m.SVN, m.PCESVN, m.TDXSVN, m.world.Now)
		return remember(m.world, name, func() []byte { return m.tcbInfo(kind).JSON() })
	}
	t := m.tcbInfo(kind)
	for _, edit := range edits {
		edit(t)
	}
	return t.JSON()
}

func (m *Machine) tcbInfo(kind string) *TCBInfo {
	now := m.world.Now
	t := &TCBInfo{
		ID: kind, Version: 3, IssueDate: stamp(now.Add(issued)), NextUpdate: stamp(now.Add(shortLived)),
		FMSPC: strings.ToUpper(hex.EncodeToString(m.FMSPC[:])), PCEID: strings.ToUpper(hex.EncodeToString(m.PCEID[:])), Evaluation: 18,
		Signer: m.key("TCBSigning"),
	}
	older, oldest := m.SVN, [16]uint8{1, 1}
	older[0]--
	levels := []struct {
		svn        [16]uint8
		pce        uint16
		date       string
		status     string
		advisories []string
	}{
		{m.SVN, m.PCESVN, recovery, "UpToDate", nil},
		{older, m.PCESVN, oldRecovery, "OutOfDate", []string{"INTEL-SA-00001", "INTEL-SA-00002"}},
		{oldest, 5, oldRecovery, "Revoked", []string{"INTEL-SA-00000"}},
	}
	for _, l := range levels {
		level := TCBLevel{TCB: PlatformTCB{SGX: components(l.svn), PCESVN: int(l.pce)}, Date: l.date, Status: l.status, Advisories: l.advisories}
		if kind == "TDX" {
			level.TCB.TDX = components([16]uint8{0, 0, m.TDXSVN[2]})
		}
		t.Levels = append(t.Levels, level)
	}
	if kind == "TDX" {
		t.FMSPC = strings.ToLower(t.FMSPC) // as it happens to be in Intel's own
		t.Module = &TDXModule{MRSigner: strings.Repeat("0", 96), Attributes: strings.Repeat("0", 16), AttributesMask: strings.Repeat("F", 16)}
		module := *t.Module
		module.ID = fmt.Sprintf("TDX_%02d", m.TDXSVN[1])
		module.Levels = []SVNLevel{
			svnLevel(int(m.TDXSVN[0]), recovery, "UpToDate"),
			svnLevel(int(m.TDXSVN[0])-2, oldRecovery, "OutOfDate", "INTEL-SA-00003"),
		}
		t.Modules = []TDXModule{module}
	}
	return t
}

func components(svn [16]uint8) []Component {
	list := make([]Component, len(svn))
	for i, n := range svn {
		list[i].SVN = int(n)
	}
	return list
}

// JSON encodes and signs t as PCS answers.
func (t *TCBInfo) JSON() []byte { return signedJSON("tcbInfo", compact(t), t.Signer) }

// A QEIdentity is what Intel publishes about its quoting enclaves, before it is encoded.
type QEIdentity struct {
	ID             string            `json:"id"` // "QE" or "TD_QE"
	Version        int               `json:"version"`
	IssueDate      string            `json:"issueDate"`
	NextUpdate     string            `json:"nextUpdate"`
	Evaluation     int               `json:"tcbEvaluationDataNumber"`
	MiscSelect     string            `json:"miscselect"`
	MiscSelectMask string            `json:"miscselectMask"`
	Attributes     string            `json:"attributes"`
	AttributesMask string            `json:"attributesMask"`
	MRSigner       string            `json:"mrsigner"`
	ISVProdID      int               `json:"isvprodid"`
	Levels         []SVNLevel        `json:"tcbLevels"`
	Signer         *ecdsa.PrivateKey `json:"-"`
}

// The quoting enclaves of SGX and of TDX: their real signers and products.
const (
	qeSigner   = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF"
	tdqeSigner = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"
)

// QEIdentity returns Intel's identity of the quoting enclave QE (SGX) or TD_QE (TDX).
func (in *Intel) QEIdentity(id string, edits ...func(*QEIdentity)) []byte {
	plain := func() *QEIdentity {
		q := &QEIdentity{
			ID: id, Version: 2, IssueDate: stamp(in.world.Now.Add(issued)), NextUpdate: stamp(in.world.Now.Add(shortLived)), Evaluation: 18,
			MiscSelect: "00000000", MiscSelectMask: "FFFFFFFF",
			Attributes: "11000000000000000000000000000000", AttributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
			MRSigner: qeSigner, ISVProdID: 1, Signer: in.key("TCBSigning"),
			Levels: []SVNLevel{svnLevel(8, recovery, "UpToDate"), svnLevel(6, oldRecovery, "OutOfDate", "INTEL-SA-00004")},
		}
		if id == "TD_QE" {
			q.MRSigner, q.ISVProdID = tdqeSigner, 2
			q.Levels = []SVNLevel{svnLevel(6, recovery, "UpToDate"), svnLevel(4, oldRecovery, "OutOfDate", "INTEL-SA-00005")}
		}
		return q
	}
	if len(edits) == 0 {
		return remember(in.world, "qeidentity/"+id+"/"+in.world.Now.String(), func() []byte { return plain().JSON() })
	}
	q := plain()
	for _, edit := range edits {
		edit(q)
	}
	return q.JSON()
}

// JSON encodes and signs q as PCS answers.
func (q *QEIdentity) JSON() []byte { return signedJSON("enclaveIdentity", compact(q), q.Signer) }

func compact(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return bytes.TrimSpace(out.Bytes())
}

// signedJSON is the form of all that PCS signs: the signature is over the bytes
// of the member before it.
func signedJSON(member string, body []byte, key *ecdsa.PrivateKey) []byte {
	r, s := rawSign(key, body)
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x%x"}`, member, body, r, s)
}
