// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"
)

// File keeps secrets in one file, encrypted with age (age-encryption.org/v1),
// that only its owner may read.
//
// The key is in another file that only its owner may read. It protects copies
// of the one without the other: a backup of the configuration, a folder of
// dotfiles that was published. It protects against nobody who can read both,
// which is every program of this user, and root. A passphrase in place of the
// key protects the file as long as the passphrase is not known; whoever can
// look into this user's programs knows it.
type File struct {
	path, key  string
	passphrase string
}

const (
	fileName = "credentials.age"
	keyName  = "credentials.key"
	lockName = "credentials.lock"

	maxFile = 4 << 20
	maxKey  = 4 << 10

	// workFactor makes a guess of the passphrase cost about a tenth of a second:
	// each command pays it once.
	workFactor = 15
)

// NewFile returns the store in credentials.age in the folder dir, with its key
// in keyDir. Empty folders are those of the user's configuration and state.
func NewFile(dir, keyDir, passphrase string) (*File, error) {
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(config, "enarx")
	}
	if keyDir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(state) {
			home, err := os.UserHomeDir()
			if err != nil {
				return nil, err
			}
			state = filepath.Join(home, ".local", "state")
		}
		keyDir = filepath.Join(state, "enarx")
	}
	return &File{filepath.Join(dir, fileName), filepath.Join(keyDir, keyName), passphrase}, nil
}

// Protection says in words where secrets are and who can read them.
func (f *File) Protection() string {
	if f.passphrase != "" {
		return f.path + ", encrypted with the passphrase"
	}
	return fmt.Sprintf("%s, encrypted, with the key in %s: whoever can read both files has it", f.path, f.key)
}

// Get returns a secret from the file.
func (f *File) Get(_ context.Context, account string) (string, error) {
	all, err := f.read()
	if err != nil {
		return "", err
	}
	if secret, ok := all[account]; ok {
		return secret, nil
	}
	return "", ErrNotFound
}

// Set writes the file anew, in one step.
func (f *File) Set(ctx context.Context, account, secret string) error {
	if err := check(secret); err != nil {
		return err
	}
	return f.change(ctx, func(all map[string]string) bool {
		all[account] = secret
		return true
	})
}

// Delete writes the file anew, if the account is in it.
func (f *File) Delete(ctx context.Context, account string) error {
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return f.change(ctx, func(all map[string]string) bool {
		_, known := all[account]
		delete(all, account)
		return known
	})
}

// change applies edit to what is stored, while no other process does.
func (f *File) change(ctx context.Context, edit func(map[string]string) bool) error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer unlock()
	all, err := f.read()
	if err != nil || !edit(all) {
		return err
	}
	return f.write(all)
}

func (f *File) read() (map[string]string, error) {
	sealed, err := readPrivate(f.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	identity, err := f.identity()
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, fmt.Errorf("credentials: %s was encrypted with another %s", f.path, f.secretWord())
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", f.path, err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, maxFile))
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", f.path, err)
	}
	all, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", f.path, err)
	}
	return all, nil
}

func (f *File) secretWord() string {
	if f.passphrase != "" {
		return "passphrase, or with a key"
	}
	return "key, or with a passphrase"
}

// document is the content of the file.
type document struct {
	Version int               `json:"version"` // 1
	Secrets map[string]string `json:"secrets"` // by account
}

func decode(text []byte) (map[string]string, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("version %d is of another enarx", doc.Version)
	}
	if doc.Secrets == nil {
		doc.Secrets = map[string]string{}
	}
	return doc.Secrets, nil
}

func (f *File) write(all map[string]string) error {
	text, err := json.Marshal(document{1, all})
	if err != nil {
		return err
	}
	recipient, err := f.recipient()
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("credentials: encrypting: %w", err)
	}
	return writePrivate(f.path, sealed.Bytes())
}

func (f *File) identity() (age.Identity, error) {
	if f.passphrase != "" {
		return age.NewScryptIdentity(f.passphrase)
	}
	text, err := readPrivate(f.key, maxKey)
	if err != nil {
		return nil, err
	}
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%d keys, want one", len(all))
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %s: %w", f.key, err)
	}
	return all[0], nil
}

// recipient makes the key when the first secret is stored.
func (f *File) recipient() (age.Recipient, error) {
	if f.passphrase != "" {
		r, err := age.NewScryptRecipient(f.passphrase)
		if err == nil {
			r.SetWorkFactor(workFactor)
		}
		return r, err
	}
	if _, err := os.Lstat(f.key); errors.Is(err, fs.ErrNotExist) {
		k, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(f.key), 0o700); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		if err := writePrivate(f.key, []byte("# of enarx: opens "+f.path+"\n"+k.String()+"\n")); err != nil {
			return nil, err
		}
		return k.Recipient(), nil
	}
	identity, err := f.identity()
	if err != nil {
		return nil, err
	}
	k, ok := identity.(*age.X25519Identity)
	if !ok {
		return nil, fmt.Errorf("credentials: %s is a key of another kind than enarx makes", f.key)
	}
	return k.Recipient(), nil
}
