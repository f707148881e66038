// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/pelletier/go-toml/v2"
)

// document is Config in the order and the types of the file.
type document struct {
	Steward string            `toml:"steward,omitempty"`
	Args    []string          `toml:"args,omitempty"`
	Files   *[]fileEntry      `toml:"files"`
	Env     map[string]string `toml:"env,omitempty"`
	Log     logTable          `toml:"log,omitempty"`
	Limits  limitsTable       `toml:"limits,omitempty"`
}

type fileEntry struct {
	Kind       Kind       `toml:"kind"`
	Name       string     `toml:"name"`
	Prot       Prot       `toml:"prot,omitempty"`
	Host       string     `toml:"host,omitempty"`
	Addr       string     `toml:"addr,omitempty"`
	Port       *uint16    `toml:"port"`
	ClientAuth ClientAuth `toml:"client_auth,omitempty"`
	CA         string     `toml:"ca,multiline,omitempty"`
	Path       string     `toml:"path,omitempty"`
	From       string     `toml:"from,omitempty"`
}

type logTable struct {
	Mode       LogMode  `toml:"mode,omitempty"`
	Recipients []string `toml:"recipients,omitempty"`
}

type limitsTable struct {
	Memory  string `toml:"memory,omitempty"`
	Sockets int    `toml:"sockets,omitempty"`
	Wall    string `toml:"wall,omitempty"`
}

// Marshal returns c as an Enarx.toml that Parse reads back as c. A Config that
// cannot be written so, say with a file name that holds a ':', is an error.
func (c *Config) Marshal() ([]byte, error) {
	want := c.document()
	data, err := toml.Marshal(want)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", FileName, err)
	}
	back, _, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", FileName, err)
	}
	// The encoder replaces what TOML cannot hold, invalid UTF-8, silently.
	if !reflect.DeepEqual(back.document(), want) {
		return nil, errors.New("writing " + FileName + ": the config holds what TOML or an entry's kind cannot express")
	}
	return data, nil
}

func (c *Config) document() document {
	doc := document{Steward: c.Steward, Args: c.Args, Env: c.Env, Log: logTable(c.Log)}
	doc.Limits.Sockets = c.Limits.Sockets
	if c.Limits.Memory != 0 {
		doc.Limits.Memory = formatMemory(c.Limits.Memory)
	}
	if c.Limits.Wall != 0 {
		doc.Limits.Wall = c.Limits.Wall.String()
	}
	if !c.FilesDeclared && len(c.Files) == 0 {
		return doc
	}
	entries := make([]fileEntry, 0, len(c.Files))
	for _, f := range c.Files {
		entries = append(entries, f.entry())
	}
	doc.Files = &entries
	return doc
}

// entry spells the defaults of sockets out, so that a File built in Go may
// leave them zero. The port has no such default: on a listener 0 has a meaning.
func (f File) entry() fileEntry {
	e := fileEntry{
		Kind: f.Kind, Name: f.Name, Prot: f.Prot, Host: f.Host, Addr: f.Addr,
		ClientAuth: f.ClientAuth, CA: f.CA, Path: f.Path, From: f.From,
	}
	socket := f.Kind == KindListen || f.Kind == KindConnect
	if socket && e.Prot == "" {
		e.Prot = ProtTLS
	}
	if socket || f.Port != 0 {
		e.Port = &f.Port
	}
	if f.Kind == KindListen && e.Addr == "" {
		e.Addr = "::"
	}
	if f.Kind == KindListen && e.Prot == ProtTLS && e.ClientAuth == "" {
		e.ClientAuth = ClientAuthNone
	}
	return e
}
