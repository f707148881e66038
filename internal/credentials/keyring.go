// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/zalando/go-keyring"
)

// keyringService is upstream's name for all its entries.
const keyringService = "enarx"

// keyringPatience is how long a user may take to unlock the keyring.
const keyringPatience = 2 * time.Minute

// testOnlyKeyring makes tests independent of the session they run in.
var testOnlyKeyring *bool

// keyringPresent reports whether it is worth asking for a keyring. Without this
// look the D-Bus library would start a bus of its own, by dbus-launch.
func keyringPresent() bool {
	if testOnlyKeyring != nil {
		return *testOnlyKeyring
	}
	if runtime.GOOS != "linux" {
		return true
	}
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return strings.Contains(address, ":") && address != "autolaunch:"
	}
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(filepath.Join("/run/user", strconv.Itoa(os.Getuid()), name)); err == nil {
			return true
		}
	}
	return false
}

// keyringDo runs one call of the library, which knows no context. When nobody
// waits any more it is left to end by itself, at the latest with the program.
func keyringDo(ctx context.Context, call func() (string, error)) (string, error) {
	type result struct {
		secret string
		err    error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, keyringPatience, errors.New("the keyring has not been unlocked for two minutes"))
	defer cancel()
	done := make(chan result, 1)
	go func() {
		secret, err := call()
		done <- result{secret, err}
	}()
	select {
	case r := <-done:
		if errors.Is(r.err, keyring.ErrNotFound) {
			r.err = ErrNotFound
		}
		return r.secret, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func keyringGet(ctx context.Context, account string) (string, error) {
	secret, err := keyringDo(ctx, func() (string, error) { return keyring.Get(keyringService, account) })
	secret = strings.TrimSpace(secret)
	if err == nil && secret == "" {
		err = ErrNotFound
	}
	return secret, err
}

func keyringSet(ctx context.Context, account, secret string) error {
	_, err := keyringDo(ctx, func() (string, error) { return "", keyring.Set(keyringService, account, secret) })
	return err
}

func keyringDelete(ctx context.Context, account string) error {
	_, err := keyringDo(ctx, func() (string, error) { return "", keyring.Delete(keyringService, account) })
	return err
}
