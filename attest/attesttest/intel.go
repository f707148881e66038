// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
)

// Intel is the synthetic vendor Intel: an SGX root CA, the CAs of machines' keys
// (PCK) for clients and for servers, and the key that signs TCB infos.
type Intel struct{ world *World }

// The CAs that issue PCK certificates.
const (
	ProcessorCA = "Processor" // for machines with one socket, mostly clients
	PlatformCA  = "Platform"  // for servers
)

const (
	rootCRLPoint = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	pckCRLPoint  = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=%s&encoding=der"
)

func intelName(cn string) Name {
	return Name{
		{oidCommonName, cn}, {oidOrganization, "Intel Corporation"}, {oidLocality, "Santa Clara"}, {oidState, "CA"}, {oidCountry, "US"},
	}
}

func (in *Intel) key(role string) *ecdsa.PrivateKey {
	return in.world.Key("intel/"+role, elliptic.P256())
}

// issue is the shape of all of Intel's certificates: the serial number is the
// key's identifier.
func (in *Intel) issue(role, cn string, point string, ca bool, below int) *Certificate {
	key, root := in.key(role), in.key("Root")
	usage := dataSign
	if ca {
		usage = certSign | crlSign
	}
	return &Certificate{
		Serial: new(big.Int).SetBytes(keyID(key.Public())), Issuer: intelName("Intel SGX Root CA"), Subject: intelName(cn),
		NotBefore: rootsFrom, NotAfter: rootsTo, PublicKey: key.Public(), Signer: root,
		Extensions: []pkix.Extension{
			AuthorityKeyID(root.Public()), CRLPoint(point), SubjectKeyID(key.Public()), KeyUsage(usage), BasicConstraints(ca, below),
		},
	}
}

// Root returns the certificate of the root CA.
func (in *Intel) Root(edits ...func(*Certificate)) []byte {
	return made(in.world, "intel/Root", func() *Certificate {
		return in.issue("Root", "Intel SGX Root CA", rootCRLPoint, true, 1)
	}, edits)
}

// CA returns the certificate of the Processor or Platform CA.
func (in *Intel) CA(name string, edits ...func(*Certificate)) []byte {
	return made(in.world, "intel/"+name, func() *Certificate {
		return in.issue(name, "Intel SGX PCK "+name+" CA", rootCRLPoint, true, 0)
	}, edits)
}

// TCBSigning returns the certificate of the key that signs TCB infos and QE identities.
func (in *Intel) TCBSigning(edits ...func(*Certificate)) []byte {
	return made(in.world, "intel/TCBSigning", func() *Certificate {
		return in.issue("TCBSigning", "Intel SGX TCB Signing", rootCRLPoint, false, -1)
	}, edits)
}

// RootCRL returns the revocation list of the root CA.
func (in *Intel) RootCRL(edits ...func(*CRL)) []byte {
	return madeCRL(in.world, "intel/Root", func() *CRL {
		c := in.crl("Root", "Intel SGX Root CA")
		c.NextUpdate = in.world.Now.Add(longLived)
		return c
	}, edits)
}

// PCKCRL returns the revocation list of the Processor or Platform CA.
func (in *Intel) PCKCRL(ca string, edits ...func(*CRL)) []byte {
	return madeCRL(in.world, "intel/"+ca, func() *CRL { return in.crl(ca, "Intel SGX PCK "+ca+" CA") }, edits)
}

func (in *Intel) crl(role, issuer string) *CRL {
	now := in.world.Now
	return &CRL{
		Issuer: intelName(issuer), ThisUpdate: now.Add(issued), NextUpdate: now.Add(shortLived), Signer: in.key(role),
		Extensions: []pkix.Extension{crlNumber(1), AuthorityKeyID(in.key(role).Public())},
	}
}

// A Machine is one computer with SGX and TDX.
type Machine struct {
	*Intel
	Name     string
	CA       string // that certifies it
	FMSPC    [6]byte
	PCEID    [2]byte
	PPID     [16]byte
	Instance [16]byte  // under the Platform CA
	SVN      [16]uint8 // components of the platform's TCB
	PCESVN   uint16
	TDXSVN   [16]uint8 // TEE_TCB_SVN: module, its major version, SEAM loader
	QESVN    uint16
	TDQESVN  uint16
}

// Machine returns the machine of that name: a server whose firmware is up to date.
func (in *Intel) Machine(name string) *Machine {
	m := &Machine{
		Intel: in, Name: name, CA: PlatformCA, FMSPC: [6]byte{0x90, 0xc0, 0x6f},
		SVN: [16]uint8{4, 4, 3, 3, 4, 1, 0, 6}, PCESVN: 13, TDXSVN: [16]uint8{7, 1, 4}, QESVN: 8, TDQESVN: 6,
	}
	in.world.bytes("machine/"+name+"/ppid", m.PPID[:])
	in.world.bytes("machine/"+name+"/instance", m.Instance[:])
	return m
}

// sgxOID is an identifier in Intel's certificate extension.
func sgxOID(arcs ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, arcs...)
}

// OIDSGX identifies the extension of PCK certificates that describes the machine.
var OIDSGX = sgxOID()

// A PCK is what a PCK certificate says about a machine, before it is encoded.
type PCK struct {
	PPID     [16]byte
	SVN      [16]uint8
	PCESVN   uint16
	CPUSVN   [16]byte
	PCEID    [2]byte
	FMSPC    [6]byte
	Type     int64     // 0 standard, 1 scalable, 2 scalable with integrity
	Instance *[16]byte // nil: not under the Platform CA
	Dynamic  bool
	Cached   bool
	SMT      bool
}

// PCK returns what Intel certifies about the machine.
func (m *Machine) PCK() *PCK {
	p := &PCK{PPID: m.PPID, SVN: m.SVN, PCESVN: m.PCESVN, CPUSVN: m.SVN, PCEID: m.PCEID, FMSPC: m.FMSPC}
	if m.CA == PlatformCA {
		p.Type, p.Instance, p.Dynamic, p.Cached, p.SMT = 1, &m.Instance, true, true, true
	}
	return p
}

// Extension encodes p.
func (p *PCK) Extension() pkix.Extension {
	entry := func(value []byte, arcs ...int) []byte { return sequence(oid(sgxOID(arcs...)), value) }
	var tcb [][]byte
	for i, svn := range p.SVN {
		tcb = append(tcb, entry(integer(int64(svn)), 2, i+1))
	}
	tcb = append(tcb, entry(integer(int64(p.PCESVN)), 2, 17), entry(octets(p.CPUSVN[:]), 2, 18))
	all := [][]byte{
		entry(octets(p.PPID[:]), 1), entry(sequence(tcb...), 2), entry(octets(p.PCEID[:]), 3),
		entry(octets(p.FMSPC[:]), 4), entry(enumerated(p.Type), 5),
	}
	if p.Instance != nil {
		settings := sequence(entry(boolean(p.Dynamic), 7, 1), entry(boolean(p.Cached), 7, 2), entry(boolean(p.SMT), 7, 3))
		all = append(all, entry(octets(p.Instance[:]), 6), entry(settings, 7))
	}
	return pkix.Extension{Id: OIDSGX, Value: sequence(all...)}
}

// Key returns the key of the machine that its PCK certificate is about.
func (m *Machine) Key() *ecdsa.PrivateKey { return m.key("machine/" + m.Name + "/" + m.CA) }

// Certificate returns the machine's PCK certificate.
func (m *Machine) Certificate(edits ...func(*Certificate)) []byte {
	name := fmt.Sprintf("%s/%s/%x/%v/%d", m.Name, m.CA, m.FMSPC, m.SVN, m.PCESVN)
	return made(m.world, "intel/PCK/"+name, func() *Certificate {
		var serial [20]byte
		m.world.bytes("serial/"+name, serial[:])
		serial[0] &= 0x7f
		ca, pub := m.key(m.CA).Public(), m.Key().Public()
		path := map[string]string{PlatformCA: "platform", ProcessorCA: "processor"}[m.CA]
		return &Certificate{
			Serial: new(big.Int).SetBytes(serial[:]), Issuer: intelName("Intel SGX PCK " + m.CA + " CA"), Subject: intelName("Intel SGX PCK Certificate"),
			NotBefore: leavesFrom, NotAfter: leavesTo, PublicKey: pub, Signer: m.key(m.CA),
			Extensions: []pkix.Extension{
				AuthorityKeyID(ca), CRLPoint(fmt.Sprintf(pckCRLPoint, path)), SubjectKeyID(pub), KeyUsage(dataSign), BasicConstraints(false, -1),
				m.PCK().Extension(),
			},
		}
	}, edits)
}

// Chain returns the certificates that quotes of the machine carry: its own, the
// CA's, and the root's.
func (m *Machine) Chain() [][]byte {
	return [][]byte{m.Certificate(), m.Intel.CA(m.CA), m.Root()}
}

// PEM encodes certificates.
func PEM(certificates ...[]byte) []byte {
	var out []byte
	for _, der := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// Collateral returns all that Intel publishes for a machine.
func (in *Intel) Collateral(m *Machine) *Collateral {
	return &Collateral{
		Certificates: slices.Concat([][]byte{in.TCBSigning()}, m.Chain()[1:]),
		CRLs:         [][]byte{in.RootCRL(), in.PCKCRL(ProcessorCA), in.PCKCRL(PlatformCA)},
		TCBInfos:     [][]byte{m.TCBInfo("SGX"), m.TCBInfo("TDX")},
		QEIdentities: [][]byte{in.QEIdentity("QE"), in.QEIdentity("TD_QE")},
	}
}
