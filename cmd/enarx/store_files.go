// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/diag"
)

// maxConfig is more bytes than a file of the user's settings has.
const maxConfig = 1 << 20

// configPath is a file of the user's settings: ~/.config/enarx/NAME on Linux.
func configPath(name string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "enarx", name), nil
}

// readConfig reads one of the user's files. One that does not exist is empty.
func readConfig(name string, to any) error {
	path, err := configPath(name)
	if err != nil {
		return nil // a user without a home has no settings
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxConfig:
		return fmt.Errorf("%s is over %d bytes", path, maxConfig)
	}
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("%s: %w", path, tomlError(err))
	}
	return nil
}

// tomlError says where the error is, in one line.
func tomlError(err error) error {
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(e.Errors) > 0 {
		line, _ := e.Errors[0].Position()
		return fmt.Errorf("line %d: unknown key %q", line, strings.Join(e.Errors[0].Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}

// writeConfig replaces one of the user's files in one step.
func writeConfig(name string, from any) (err error) {
	path, err := configPath(name)
	if err != nil {
		return err
	}
	text, err := toml.Marshal(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replaceFile(path, text, 0o600)
}

// replaceFile writes a file beside the path and moves it there.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use to anybody
	}
	return err
}

// stores is the file stores.toml: what signing in has taught, and what a user
// may write there.
type stores struct {
	Default string               `toml:"default,omitempty"` // host of slugs that name none
	Stores  map[string]storeInfo `toml:"stores,omitempty"`  // by host
}

// storeInfo is how users of one store sign in.
type storeInfo struct {
	OIDCDomain string `toml:"oidc_domain"`
	ClientID   string `toml:"client_id,omitempty"`
	Audience   string `toml:"audience,omitempty"`
}

const storesName = "stores.toml"

func readStores() (stores, error) {
	var s stores
	err := readConfig(storesName, &s)
	if s.Stores == nil {
		s.Stores = map[string]storeInfo{}
	}
	return s, err
}

// learn keeps what is needed to sign in at a store, and makes it the one for
// slugs without a host if there is none yet. It reports whether it did that.
func learn(host string, info storeInfo) (first bool, err error) {
	s, err := readStores()
	if err != nil {
		return false, err
	}
	first = s.Default == ""
	if !first && s.Stores[host] == info {
		return false, nil
	}
	if first {
		s.Default = host
	}
	s.Stores[host] = info
	return first, writeConfig(storesName, s)
}

// knownSigners is the file signers.toml: whose signatures the tags of a
// repository must have, by host/user/repository.
type knownSigners map[string]repositorySigners

type repositorySigners struct {
	Keys []string `toml:"keys"` // public keys: JWK or PEM
}

const signersName = "signers.toml"

// signersOf returns the keys that were remembered for a repository, or nil.
func signersOf(repository string) (drawbridge.Signers, error) {
	known := knownSigners{}
	if err := readConfig(signersName, &known); err != nil {
		return nil, err
	}
	var all []drawbridge.PublicKey
	for _, text := range known[repository].Keys {
		keys, err := drawbridge.ParsePublicKeys([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%s: the keys of %q: %w", signersName, repository, err)
		}
		all = append(all, keys...)
	}
	if entry, ok := known[repository]; ok && len(entry.Keys) == 0 {
		return nil, diag.Hint(fmt.Errorf("%s: %q has no keys", signersName, repository), "remove the entry to accept any signature")
	}
	if len(all) == 0 {
		return nil, nil
	}
	return drawbridge.NewSigners(all...), nil
}

// rememberSigners writes keys down for a repository that has none.
func rememberSigners(repository string, keys []drawbridge.PublicKey) error {
	known := knownSigners{}
	if err := readConfig(signersName, &known); err != nil {
		return err
	}
	var texts []string
	for _, k := range keys {
		texts = append(texts, string(k.JWK()))
	}
	known[repository] = repositorySigners{Keys: texts}
	return writeConfig(signersName, known)
}
