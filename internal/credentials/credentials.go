// SPDX-License-Identifier: Apache-2.0

// Package credentials keeps the tokens with which a user signs in: with a
// helper program, in the keyring of the operating system, or, where there is
// none, in an encrypted file. It trusts the user's own account and nobody
// else's; what that means for the file is said at [File].
//
// Accounts and the helper's protocol are upstream's (spec/enarx.md 1.4), so
// that what either program stored the other one finds.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNotFound is returned for an account nobody stored anything under.
var ErrNotFound = errors.New("credentials: nothing is stored under this account")

// A Store keeps one secret, a text without surrounding white space, for each
// account. Its methods may wait for the user, who has to unlock a keyring.
type Store interface {
	// Get returns the secret, or an error wrapping [ErrNotFound].
	Get(ctx context.Context, account string) (string, error)
	// Set stores the secret. After an error what was stored before still is.
	Set(ctx context.Context, account, secret string) error
	// Delete forgets the secret, if there is one.
	Delete(ctx context.Context, account string) error
}

// maxSecret is more than any token has, in bytes.
const maxSecret = 64 << 10

// Account is the name under which the token for a store is kept, with an
// identity provider of that host: both have their port if they were given one.
func Account(oidcHost, storeHost string) string { return oidcHost + "-" + storeHost }

// Config says where secrets are kept. The zero value is for everyday use,
// without a helper.
type Config struct {
	Helper     string    // executable of the credential helper; "": none
	Dir        string    // folder of the encrypted file; "": $XDG_CONFIG_HOME/enarx
	KeyDir     string    // folder of its key; "": $XDG_STATE_HOME/enarx
	Passphrase string    // encrypts the file instead of a key
	Stderr     io.Writer // for what the helper prints there; nil: nowhere

	// Notice is told, once, that a new secret goes to the file and what
	// protects it there; nil: nobody is.
	Notice func(text string)
}

// Open returns the store that the configuration asks for. It touches nothing
// yet.
func Open(cfg Config) (Store, error) {
	if cfg.Stderr == nil {
		cfg.Stderr = io.Discard
	}
	if cfg.Helper != "" {
		return &Helper{Program: cfg.Helper, Stderr: cfg.Stderr}, nil
	}
	file, err := NewFile(cfg.Dir, cfg.KeyDir, cfg.Passphrase)
	if err != nil {
		return nil, err
	}
	return &local{file: file, notice: cfg.Notice}, nil
}

// local is the keyring, with a file for whenever that does not take a secret.
// What is in the file is newer than what the keyring has under that account:
// a secret that the keyring takes is removed from the file.
type local struct {
	file   *File
	notice func(string)
}

func (l *local) Get(ctx context.Context, account string) (string, error) {
	secret, err := l.file.Get(ctx, account)
	if !errors.Is(err, ErrNotFound) {
		return secret, err
	}
	if !keyringPresent() {
		return "", err
	}
	// Many machines have the bus on which a keyring would be, and no keyring. So
	// one that fails has nothing, and the error says as well why it failed.
	if secret, err = keyringGet(ctx, account); err != nil && !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
		err = fmt.Errorf("%w: failed to read credentials from keyring: %w", ErrNotFound, err)
	}
	return secret, err
}

func (l *local) Set(ctx context.Context, account, secret string) error {
	if err := check(secret); err != nil {
		return err
	}
	why := "this session has no keyring"
	if keyringPresent() {
		err := keyringSet(ctx, account, secret)
		if err == nil {
			return l.file.Delete(ctx, account)
		}
		if ctx.Err() != nil {
			return err
		}
		why = "the keyring did not take it: " + err.Error()
	}
	_, before := l.file.Get(ctx, account)
	if err := l.file.Set(ctx, account, secret); err != nil {
		return err
	}
	if l.notice != nil && before != nil {
		l.notice(why + "; it is kept in " + l.file.Protection())
		l.notice = nil
	}
	return nil
}

func (l *local) Delete(ctx context.Context, account string) error {
	_, missing := l.file.Get(ctx, account)
	err := l.file.Delete(ctx, account)
	if !keyringPresent() {
		return err
	}
	// What was in the file was there because the keyring failed.
	kerr := keyringDelete(ctx, account)
	if kerr != nil && !errors.Is(kerr, ErrNotFound) && missing != nil {
		err = errors.Join(err, fmt.Errorf("removing credentials from the keyring: %w", kerr))
	}
	return err
}

// check refuses secrets that would not come back as they are.
func check(secret string) error {
	switch {
	case secret == "" || secret != strings.TrimSpace(secret):
		return errors.New("credentials: a secret has no white space around it, and is not empty")
	case len(secret) > maxSecret:
		return fmt.Errorf("credentials: a secret of %d bytes is over the limit of %d", len(secret), maxSecret)
	}
	return nil
}
