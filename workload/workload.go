// SPDX-License-Identifier: Apache-2.0

// Package workload reads and writes Enarx.toml, the file in which the author
// of a workload says how it runs: program arguments, environment, the table of
// open files, the Steward to attest to, and what the host may see and spend.
//
// The schema is that of the Rust Enarx with additions (dir entries, ca,
// client_auth, [log], [limits]) and is strict: a key nobody knows is an error,
// because in a file that decides who may connect a misspelt key must not pass
// as an absent one. A file comes from a package and is untrusted; Parse bounds
// the work it does on one.
package workload

import (
	"bytes"
	"time"
)

// MaxSize is the most bytes an Enarx.toml may have; upstream's bound.
const MaxSize = 1_000_000

// MaxFiles is the most entries of files, hence the most descriptors a
// program starts with.
const MaxFiles = 1024

// Config is one parsed Enarx.toml.
type Config struct {
	Steward string            // https URL of the Steward to attest to; "" when none is named
	Args    []string          // argv[1:]; argv[0] is not the author's to choose
	Env     map[string]string // added to FD_COUNT and FD_NAMES; nil when empty

	// Files is the descriptor table: entry i is descriptor i.
	Files []File
	// FilesDeclared tells `files = []` from no files key at all. Both give an
	// empty table, as upstream does; only the second one earns a Warning.
	FilesDeclared bool

	Log    Log
	Limits Limits
}

// Kind says what an entry of files opens.
type Kind string

// The kinds of files entries.
const (
	KindNull    Kind = "null"    // discards writes, reads as empty
	KindStdin   Kind = "stdin"   // the host's standard input
	KindStdout  Kind = "stdout"  // the host's standard output
	KindStderr  Kind = "stderr"  // the host's standard error
	KindListen  Kind = "listen"  // a listening socket
	KindConnect Kind = "connect" // a connected socket
	KindDir     Kind = "dir"     // a directory
)

// Prot is the protocol of a socket.
type Prot string

// The protocols. TLS is done for the program, which sees plain bytes.
const (
	ProtTLS Prot = "tls" // the default
	ProtTCP Prot = "tcp"
)

// ClientAuth says what a TLS listener asks of its clients.
type ClientAuth string

// The client authentication modes.
const (
	ClientAuthNone    ClientAuth = "none"    // the default: any client
	ClientAuthRequest ClientAuth = "request" // verified if a certificate is sent
	ClientAuthRequire ClientAuth = "require" // no verified certificate, no connection
)

// CASteward as a listener's CA trusts what the Steward certified. It needs an
// attested deployment; whether this is one is known only when it runs.
const CASteward = "steward"

// File is one entry of files. Which fields mean something depends on Kind;
// the others are zero.
type File struct {
	Kind Kind
	Name string // entry in FD_NAMES; defaults to Host for connect, to the kind otherwise

	Prot Prot   // listen, connect
	Host string // connect: host name or IP address
	Addr string // listen: address to bind, default "::"
	Port uint16 // listen, connect: default 443 for tls and 80 for tcp; 0 on listen lets the system choose

	// CA is the trust anchors of a TLS socket, PEM certificates as text; on a
	// listener also CASteward. "" on connect means the public roots.
	CA         string
	ClientAuth ClientAuth // listen with tls

	Path string // dir: where the guest sees it, absolute and clean
	From string // dir: read-only folder of the package; "" is an empty writable directory in memory
}

// LogMode is what of the workload's output leaves the Keep.
type LogMode string

// The log modes. A config that names none leaves it to the deployment.
const (
	LogUnset     LogMode = ""
	LogHost      LogMode = "host"      // in clear to the host
	LogNone      LogMode = "none"      // nothing
	LogEncrypted LogMode = "encrypted" // to the host, readable by the recipients only
)

// Log is the policy for the program's output and the runtime's logs.
type Log struct {
	Mode       LogMode
	Recipients []string // age recipients, "age1…"; exactly with LogEncrypted
}

// Limits bounds what the program may use. Zero means no bound of its own.
type Limits struct {
	Memory  int64         // bytes
	Sockets int           // open sockets, listening ones included
	Wall    time.Duration // time from start to forced end
}

// DefaultFiles is the descriptor table of a workload that has no Enarx.toml.
func DefaultFiles() []File {
	return []File{
		{Kind: KindStdin, Name: "stdin"},
		{Kind: KindStdout, Name: "stdout"},
		{Kind: KindStderr, Name: "stderr"},
	}
}

// Parse reads an Enarx.toml. The error, if any, is an *Error. Warnings point
// at what is accepted but is probably not what the author meant.
func Parse(data []byte) (*Config, []Warning, error) {
	d := &decoder{data: data}
	if len(data) > MaxSize {
		return nil, nil, d.errorAt(0, "", "", "the file has %d bytes, more than %d", len(data), MaxSize)
	}
	d.data = bytes.TrimPrefix(data, []byte("\ufeff")) // Windows editors' byte order mark
	root, err := parseTree(d)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.config(root)
	if err != nil {
		return nil, nil, err
	}
	return c, d.warnings, nil
}
