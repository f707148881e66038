// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"enarx.dev/enarx/attest/pki"
)

// What a TCB info and a QE identity are about.
const (
	IDSGX  = "SGX"
	IDTDX  = "TDX"
	IDQE   = "QE"
	IDTDQE = "TD_QE"
)

// A Document is what Intel's statements have in common. Nothing about one is
// verified until a quote is.
type Document struct {
	Body      []byte // the bytes that are signed
	Signature []byte // r and s, 32 bytes each

	ID               string // what it is about
	IssueDate        time.Time
	NextUpdate       time.Time
	EvaluationNumber uint32 // tcbEvaluationDataNumber
}

// TCBInfo says which security versions of a family of platforms are good (PCS
// API v4, TCB info version 3).
type TCBInfo struct {
	Document // ID is [IDSGX] or [IDTDX]

	FMSPC   [6]byte
	PCEID   [2]byte
	TCBType uint32
	Module  *ModuleIdentity  // tdxModule: of TDX modules with major version 0
	Modules []ModuleIdentity // tdxModuleIdentities
	Levels  []TCBLevel       // best first
}

// TCBLevel is a set of minimum security versions, and what Intel says about
// platforms that reach them but not those of a level before.
type TCBLevel struct {
	SGX        [16]uint8 // sgxtcbcomponents
	TDX        [16]uint8 // tdxtcbcomponents; zero for SGX
	PCESVN     uint16
	Date       time.Time
	Status     string
	Advisories []string

	hasTDX bool
}

// ModuleIdentity says which TDX modules are Intel's.
type ModuleIdentity struct {
	ID             string // "TDX_01" for major version 1; empty for tdxModule
	MRSigner       [48]byte
	Attributes     uint64
	AttributesMask uint64
	Levels         []SVNLevel
}

// SVNLevel is a minimum ISVSVN, and what Intel says about enclaves and modules
// that reach it.
type SVNLevel struct {
	ISVSVN     uint16
	Date       time.Time
	Status     string
	Advisories []string
}

// QEIdentity says which quoting enclaves are Intel's (PCS API v4, enclave
// identity version 2).
type QEIdentity struct {
	Document // ID is [IDQE] or [IDTDQE]

	MiscSelect     uint32
	MiscSelectMask uint32
	Attributes     [16]byte // FLAGS and XFRM
	AttributesMask [16]byte
	MRSigner       [32]byte
	ISVProdID      uint16
	Levels         []SVNLevel
}

// ParseTCBInfo reads a TCB info as the PCS gives it: {"tcbInfo": …,
// "signature": …}.
func ParseTCBInfo(data []byte) (*TCBInfo, error) {
	t := &TCBInfo{}
	v, err := t.open(data, "tcbInfo")
	if err == nil {
		err = t.decode(v)
	}
	if err != nil {
		return nil, fmt.Errorf("dcap: TCB info: %w", err)
	}
	return t, nil
}

// ParseQEIdentity reads a QE identity as the PCS gives it: {"enclaveIdentity":
// …, "signature": …}.
func ParseQEIdentity(data []byte) (*QEIdentity, error) {
	q := &QEIdentity{}
	v, err := q.open(data, "enclaveIdentity")
	if err == nil {
		err = q.decode(v)
	}
	if err != nil {
		return nil, fmt.Errorf("dcap: QE identity: %w", err)
	}
	return q, nil
}

// RememberTCBInfo is [ParseTCBInfo] for documents that come again.
func RememberTCBInfo(m *pki.Memo, data []byte) (*TCBInfo, error) {
	return pki.Remember(m, "tcb info", func() (*TCBInfo, error) { return ParseTCBInfo(data) }, data)
}

// RememberQEIdentity is [ParseQEIdentity] for documents that come again.
func RememberQEIdentity(m *pki.Memo, data []byte) (*QEIdentity, error) {
	return pki.Remember(m, "qe identity", func() (*QEIdentity, error) { return ParseQEIdentity(data) }, data)
}

// open takes the signed member out of a document.
func (d *Document) open(data []byte, member string) (body value, err error) {
	v, err := parseJSON(bytes.Clone(data))
	if err != nil {
		return nil, err
	}
	d.Signature = make([]byte, 64)
	err = v.object(func(name []byte, v value) error {
		switch string(name) {
		case member:
			body = v
			return nil
		case "signature":
			return v.hex(d.Signature)
		}
		return errors.New("nothing known by that name")
	}, member, "signature")
	d.Body = body
	return body, err
}

// member decodes the members that both documents have.
func (d *Document) member(name []byte, v value, version uint32) error {
	switch string(name) {
	case "id":
		return v.str(&d.ID)
	case "version":
		var n uint32
		if err := uintValue(v, &n); err != nil {
			return err
		}
		if n != version {
			return fmt.Errorf("version %d, where only %d is understood", n, version)
		}
	case "issueDate":
		return v.time(&d.IssueDate)
	case "nextUpdate":
		return v.time(&d.NextUpdate)
	case "tcbEvaluationDataNumber":
		return uintValue(v, &d.EvaluationNumber)
	}
	return nil
}

// Members that nobody knows are passed over: Intel adds some now and then.

func (t *TCBInfo) decode(v value) error {
	err := v.object(func(name []byte, v value) error {
		switch string(name) {
		case "fmspc":
			return v.hex(t.FMSPC[:])
		case "pceId":
			return v.hex(t.PCEID[:])
		case "tcbType":
			return uintValue(v, &t.TCBType)
		case "tdxModule":
			t.Module = &ModuleIdentity{}
			return t.Module.decode(v, "mrsigner", "attributes", "attributesMask")
		case "tdxModuleIdentities":
			return v.array(func(v value) error {
				t.Modules = append(t.Modules, ModuleIdentity{})
				return t.Modules[len(t.Modules)-1].decode(v, "id", "mrsigner", "attributes", "attributesMask", "tcbLevels")
			})
		case "tcbLevels":
			return v.array(func(v value) error {
				t.Levels = append(t.Levels, TCBLevel{})
				return t.Levels[len(t.Levels)-1].decode(v)
			})
		}
		return t.member(name, v, 3)
	}, "id", "version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber", "tcbLevels")
	switch {
	case err != nil:
		return err
	case t.ID != IDSGX && t.ID != IDTDX:
		return fmt.Errorf("id: %q is neither %q nor %q", t.ID, IDSGX, IDTDX)
	case t.TCBType != 0:
		return fmt.Errorf("tcbType: %d, where only 0 is defined", t.TCBType)
	case t.ID == IDTDX && t.Module == nil:
		return errors.New(`"tdxModule" is missing`)
	case t.ID == IDTDX && slices.ContainsFunc(t.Levels, func(l TCBLevel) bool { return !l.hasTDX }):
		return errors.New(`tcbLevels: "tdxtcbcomponents" is missing`)
	}
	return nil
}

func (l *TCBLevel) decode(v value) error {
	return v.object(func(name []byte, v value) error {
		if string(name) != "tcb" {
			return level(name, v, &l.Date, &l.Status, &l.Advisories)
		}
		return v.object(func(name []byte, v value) error {
			switch string(name) {
			case "sgxtcbcomponents":
				return components(v, &l.SGX)
			case "tdxtcbcomponents":
				l.hasTDX = true
				return components(v, &l.TDX)
			case "pcesvn":
				return uintValue(v, &l.PCESVN)
			}
			return nil
		}, "sgxtcbcomponents", "pcesvn")
	}, "tcb", "tcbDate", "tcbStatus")
}

// components reads an array of exactly 16 objects with a member svn.
func components(v value, out *[16]uint8) error {
	n := 0
	err := v.array(func(v value) error {
		if n == len(out) {
			return errors.New("more than 16 components")
		}
		n++
		return v.object(func(name []byte, v value) error {
			if string(name) == "svn" {
				return uintValue(v, &out[n-1])
			}
			return nil
		}, "svn")
	})
	if err == nil && n != len(out) {
		return fmt.Errorf("%d components, not 16", n)
	}
	return err
}

// level decodes what all levels have.
func level(name []byte, v value, date *time.Time, status *string, advisories *[]string) error {
	switch string(name) {
	case "tcbDate":
		return v.time(date)
	case "tcbStatus":
		text, err := v.text()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(Names, func(n string) bool { return n == string(text) })
		if i < 0 {
			return fmt.Errorf("unknown status %q", text)
		}
		*status = Names[i]
	case "advisoryIDs":
		return v.array(func(v value) error {
			*advisories = append(*advisories, "")
			return v.str(&(*advisories)[len(*advisories)-1])
		})
	}
	return nil
}

func (m *ModuleIdentity) decode(v value, required ...string) error {
	return v.object(func(name []byte, v value) error {
		switch string(name) {
		case "id":
			return v.str(&m.ID)
		case "mrsigner":
			return v.hex(m.MRSigner[:])
		case "attributes":
			return v.attributes(&m.Attributes)
		case "attributesMask":
			return v.attributes(&m.AttributesMask)
		case "tcbLevels":
			return svnLevels(v, &m.Levels)
		}
		return nil
	}, required...)
}

// attributes reads SEAM attributes, whose bytes are in the order of memory.
func (v value) attributes(out *uint64) error {
	var b [8]byte
	err := v.hex(b[:])
	*out = binary.LittleEndian.Uint64(b[:])
	return err
}

func svnLevels(v value, out *[]SVNLevel) error {
	return v.array(func(v value) error {
		*out = append(*out, SVNLevel{})
		l := &(*out)[len(*out)-1]
		return v.object(func(name []byte, v value) error {
			if string(name) != "tcb" {
				return level(name, v, &l.Date, &l.Status, &l.Advisories)
			}
			return v.object(func(name []byte, v value) error {
				if string(name) == "isvsvn" {
					return uintValue(v, &l.ISVSVN)
				}
				return nil
			}, "isvsvn")
		}, "tcb", "tcbDate", "tcbStatus")
	})
}

func (q *QEIdentity) decode(v value) error {
	err := v.object(func(name []byte, v value) error {
		switch string(name) {
		case "miscselect":
			return v.misc(&q.MiscSelect)
		case "miscselectMask":
			return v.misc(&q.MiscSelectMask)
		case "attributes":
			return v.hex(q.Attributes[:])
		case "attributesMask":
			return v.hex(q.AttributesMask[:])
		case "mrsigner":
			return v.hex(q.MRSigner[:])
		case "isvprodid":
			return uintValue(v, &q.ISVProdID)
		case "tcbLevels":
			return svnLevels(v, &q.Levels)
		}
		return q.member(name, v, 2)
	}, "id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask",
		"attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels")
	if err == nil && q.ID != IDQE && q.ID != IDTDQE {
		err = fmt.Errorf("id: %q is neither %q nor %q", q.ID, IDQE, IDTDQE)
	}
	return err
}

// misc reads a MISCSELECT. Intel's documents print these four bytes in the
// order of memory too.
func (v value) misc(out *uint32) error {
	var b [4]byte
	err := v.hex(b[:])
	*out = binary.LittleEndian.Uint32(b[:])
	return err
}
