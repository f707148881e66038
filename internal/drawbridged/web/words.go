// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"enarx.dev/enarx/workload"
)

// A configuration is an Enarx.toml as people read it.
type configuration struct {
	Source   string
	Problem  string // why it cannot be read; the rest is empty then
	Warnings []string

	Listens  []string // one sentence each
	Connects []string
	Stdio    []string
	Folders  []string
	Log      []string
	Steward  string
	Limits   []string
	Args     []string
	Env      []variable
}

type variable struct{ Name, Value string }

// describeConfig puts an Enarx.toml into words.
func describeConfig(source []byte) *configuration {
	c := &configuration{Source: string(source)}
	cfg, warnings, err := workload.Parse(source)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	for _, w := range warnings {
		c.Warnings = append(c.Warnings, w.String())
	}
	c.files(cfg.Files)
	c.Log = describeLog(cfg.Log)
	c.Steward = cfg.Steward
	c.Limits = describeLimits(cfg.Limits)
	c.Args = cfg.Args
	for _, name := range slices.Sorted(maps.Keys(cfg.Env)) {
		c.Env = append(c.Env, variable{name, cfg.Env[name]})
	}
	return c
}

// defaultConfiguration is what a package without an Enarx.toml runs with.
func defaultConfiguration() *configuration {
	c := &configuration{}
	c.files(workload.DefaultFiles())
	c.Log = describeLog(workload.Log{})
	return c
}

func (c *configuration) files(files []workload.File) {
	for _, f := range files {
		switch f.Kind {
		case workload.KindListen:
			c.Listens = append(c.Listens, describeListen(f))
		case workload.KindConnect:
			c.Connects = append(c.Connects, describeConnect(f))
		case workload.KindDir:
			c.Folders = append(c.Folders, describeFolder(f))
		case workload.KindStdin:
			c.Stdio = append(c.Stdio, "reads the host’s standard input")
		case workload.KindStdout:
			c.Stdio = append(c.Stdio, "writes to standard output")
		case workload.KindStderr:
			c.Stdio = append(c.Stdio, "writes to standard error")
		}
	}
}

func describeListen(f workload.File) string {
	var b strings.Builder
	if f.Port == 0 {
		b.WriteString("a port that the system chooses")
	} else {
		fmt.Fprintf(&b, "port %d", f.Port)
	}
	if a, err := netip.ParseAddr(f.Addr); err == nil && a.IsUnspecified() {
		b.WriteString(" on every address")
	} else {
		fmt.Fprintf(&b, " on %s", f.Addr)
	}
	if f.Prot == workload.ProtTCP {
		return b.String() + ", plain TCP: the host reads and can change every byte"
	}
	b.WriteString(", TLS")
	switch f.ClientAuth {
	case workload.ClientAuthRequire:
		b.WriteString("; clients must show a certificate of " + authority(f.CA))
	case workload.ClientAuthRequest:
		b.WriteString("; clients may show a certificate of " + authority(f.CA))
	default:
		b.WriteString("; any client")
	}
	return b.String() + descriptor(f, "listen")
}

func describeConnect(f workload.File) string {
	to := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
	if f.Prot == workload.ProtTCP {
		return to + ", plain TCP: the host reads and can change every byte" + descriptor(f, f.Host)
	}
	return to + ", TLS; the server must show a certificate of " + authority(f.CA) + descriptor(f, f.Host)
}

// descriptor says what the program calls it, unless that says nothing.
func descriptor(f workload.File, usual string) string {
	if f.Name == usual {
		return ""
	}
	return fmt.Sprintf(" (“%s” in the program)", f.Name)
}

// authority says whose certificates are trusted.
func authority(ca string) string {
	switch ca {
	case "":
		return "a public authority"
	case workload.CASteward:
		return "the Steward"
	}
	certs, err := workload.ParseCA(ca)
	if err != nil {
		return "an authority that cannot be read"
	}
	var names []string
	for _, c := range certs {
		names = append(names, cmp.Or(c.Subject.String(), "an authority without a name"))
	}
	return strings.Join(names, " or ")
}

func describeFolder(f workload.File) string {
	if f.From == "" {
		return f.Path + ", empty at the start, in memory, writable"
	}
	return f.Path + ", from " + f.From + " of the package, read-only"
}

func describeLog(l workload.Log) []string {
	switch l.Mode {
	case workload.LogHost:
		return []string{"Output goes to the host in clear."}
	case workload.LogNone:
		return []string{"No output leaves the Keep."}
	case workload.LogEncrypted:
		all := []string{"Output leaves the Keep encrypted, to be read only with the keys of:"}
		return append(all, l.Recipients...)
	}
	return []string{"Not set: whoever deploys decides what of the output leaves the Keep."}
}

func describeLimits(l workload.Limits) []string {
	var all []string
	if l.Memory > 0 {
		all = append(all, size(l.Memory)+" of memory")
	}
	if l.Sockets > 0 {
		all = append(all, count(l.Sockets, "socket", "sockets")+" open at once")
	}
	if l.Wall > 0 {
		all = append(all, l.Wall.String()+" from start to forced end")
	}
	return all
}
