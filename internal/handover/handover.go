// SPDX-License-Identifier: Apache-2.0

// Package handover is the document that the host writes to a Keep, once, when
// the Keep starts: which of the descriptors it passed is the module, which the
// config, and what the command line added. enarx-exec reads it from descriptor
// FD to the end of file.
//
// Inside a Keep everything in it is the word of an untrusted host. Read bounds
// its size and every list in it, and refuses keys, versions and forms it does
// not know; nothing it says may weaken what the attested certificate says. It
// is TOML, as upstream's is, so that a person can read one.
package handover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	// FD is the descriptor on which enarx-exec finds the document.
	FD = 3
	// Version is the only version of the document there is. The host embeds
	// the enarx-exec that it starts, so the two never differ by accident.
	Version = 1
	// MaxSize is the most bytes a document may have.
	MaxSize = 1 << 20
	// MaxModule is the largest module that a Keep reads, in bytes.
	MaxModule = 256 << 20
	// MaxFiles is the most bytes that the directories of a Keep hold together,
	// those of the package included. exec enforces it; the host looks at each
	// directory by itself, for an early and clear error.
	MaxFiles = 1 << 30
)

var (
	// ErrTooLarge means a document of more than MaxSize bytes.
	ErrTooLarge = errors.New("handover: document too large")
	// ErrVersion means a document of another version.
	ErrVersion = errors.New("handover: unknown version")
	// ErrInvalid means a document that breaks a rule; the text says which.
	ErrInvalid = errors.New("handover: invalid document")
)

// Document is what the host tells the Keep. Descriptors are numbers in the
// Keep's process, each named at most once.
type Document struct {
	Version  int    // Version; Encode fills in a zero
	LogLevel string // error, warn, info, debug or trace; "" leaves the default
	Package  Package

	// Args, unless nil, replaces the args of the config; an empty list
	// replaces them with none.
	Args []string
	// Env is "K=V" entries, set after those of the config and over the ones
	// of the same name.
	Env   []string
	Dirs  []Dir
	Cache Cache

	Progress bool     // whether to report the progress of compilation
	Sandbox  []string // layers the host says it confined the process with; for the log only
}

// Package is what to run.
type Package struct {
	Wasm int    `toml:"wasm"`           // descriptor of the module
	Conf int    `toml:"conf,omitempty"` // descriptor of its Enarx.toml; 0 when there is none
	Tree int    `toml:"tree,omitempty"` // descriptor of a tar stream of the package's folder; 0 when there is none
	Name string `toml:"name,omitempty"` // what to call it in messages
}

// Dir is a directory whose copy the program gets, writable.
type Dir struct {
	FD    int    `toml:"fd"`    // descriptor of a tar stream
	Guest string `toml:"guest"` // absolute clean path in the guest
}

// Cache is the descriptors of the compiled-module cache; 0 where there is none.
type Cache struct {
	Entry int `toml:"entry,omitempty"` // compiled module to read
	Store int `toml:"store,omitempty"` // where to write one
}

// wire is Document as written. Args is a pointer because TOML has no nil.
type wire struct {
	Version  int       `toml:"version"`
	LogLevel string    `toml:"log_level,omitempty"`
	Progress bool      `toml:"progress,omitempty"`
	Sandbox  []string  `toml:"sandbox,omitempty"`
	Args     *[]string `toml:"args"`
	Env      []string  `toml:"env,omitempty"`
	Package  Package   `toml:"package"`
	Cache    Cache     `toml:"cache,omitempty"`
	Dirs     []Dir     `toml:"dirs,omitempty"`
}

// Encode returns d as Read reads it, or an error if Read would refuse it.
func Encode(d *Document) ([]byte, error) {
	w := wire{d.Version, d.LogLevel, d.Progress, d.Sandbox, nil, d.Env, d.Package, d.Cache, d.Dirs}
	if w.Version == 0 {
		w.Version = Version
	}
	if d.Args != nil {
		w.Args = &d.Args
	}
	if err := w.validate(); err != nil {
		return nil, err
	}
	data, err := toml.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d; arguments and environment go in it", ErrTooLarge, len(data), MaxSize)
	}
	return data, nil
}

// Read reads a document to the end of r and checks all of it.
func Read(r io.Reader) (*Document, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the hand-over: %w", err)
	}
	if len(data) > MaxSize {
		return nil, ErrTooLarge
	}
	if err := checkForm(data); err != nil {
		return nil, err
	}
	// The version first: another one may have keys that this one does not know.
	var head struct {
		Version int `toml:"version"`
	}
	if err := toml.Unmarshal(data, &head); err != nil {
		return nil, decodeError(err)
	}
	if head.Version != Version {
		return nil, fmt.Errorf("%w %d, want %d", ErrVersion, head.Version, Version)
	}
	var w wire
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&w); err != nil {
		return nil, decodeError(err)
	}
	if err := w.validate(); err != nil {
		return nil, err
	}
	d := &Document{
		Version: w.Version, LogLevel: w.LogLevel, Package: w.Package,
		Env: orNil(w.Env), Dirs: orNil(w.Dirs), Cache: w.Cache, Progress: w.Progress, Sandbox: orNil(w.Sandbox),
	}
	if w.Args != nil {
		d.Args = append([]string{}, *w.Args...)
	}
	return d, nil
}

// orNil makes an empty list nil, as if its key were absent.
func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// maxExpressions is above the most lines a valid document has.
const maxExpressions = 4 * maxDirs

// checkForm refuses what go-toml's strict decoder lets pass or is slow at: it
// matches keys whatever their case, so that two spellings of one key would
// pass as distinct, and its check for repeated keys is quadratic in their
// number. Inline tables, which Encode does not write, could hold any number.
func checkForm(data []byte) error {
	var p unstable.Parser
	p.Reset(data)
	for n := 0; p.NextExpression(); n++ {
		if n == maxExpressions {
			return fmt.Errorf("%w: more than %d lines of keys", ErrInvalid, maxExpressions)
		}
		e := p.Expression()
		parts := 0
		for it := e.Key(); it.Next(); parts++ {
			key := string(it.Node().Data)
			if parts == 2 || strings.ToLower(key) != key {
				return fmt.Errorf("%w: unknown key %.64q", ErrInvalid, key)
			}
		}
		if e.Kind != unstable.KeyValue {
			continue
		}
		if e.Value().Kind == unstable.InlineTable {
			return fmt.Errorf("%w: an inline table", ErrInvalid)
		}
		for it := e.Value().Children(); it.Next(); {
			if it.Node().Kind != unstable.String { // all lists are of strings
				return fmt.Errorf("%w: a list of something other than strings", ErrInvalid)
			}
		}
	}
	if err := p.Error(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// decodeError names the first key that strict decoding refused, which
// go-toml's own message does not.
func decodeError(err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		return fmt.Errorf("%w: unknown key %.64q", ErrInvalid, strings.Join(strict.Errors[0].Key(), "."))
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}
