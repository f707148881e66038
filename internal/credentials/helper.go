// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"unicode/utf8"
)

// Helper keeps secrets with a program of the user's: `PROGRAM show ACCOUNT`
// prints one, `PROGRAM insert ACCOUNT` reads one from standard input, up to
// its end and without a newline. Program is one executable: no shell looks at
// it.
type Helper struct {
	Program string
	Stderr  io.Writer // what the helper prints there; must be set
}

// Get runs the helper. An empty answer wraps [ErrNotFound].
func (h *Helper) Get(ctx context.Context, account string) (string, error) {
	var out limited
	cmd := exec.CommandContext(ctx, h.Program, "show", account)
	cmd.Stdout, cmd.Stderr = &out, h.Stderr
	if err := run(ctx, cmd); err != nil {
		return "", err
	}
	if out.over {
		return "", fmt.Errorf("credential helper printed over %d bytes", maxSecret)
	}
	if !utf8.Valid(out.kept.Bytes()) {
		return "", errors.New("credential helper stdout is not valid UTF-8")
	}
	secret := strings.TrimSpace(out.kept.String())
	if secret == "" {
		return "", ErrNotFound
	}
	return secret, nil
}

// Set runs the helper.
func (h *Helper) Set(ctx context.Context, account, secret string) error {
	if err := check(secret); err != nil {
		return err
	}
	return h.insert(ctx, account, secret)
}

// Delete has the helper store nothing: its protocol has no word for forgetting.
func (h *Helper) Delete(ctx context.Context, account string) error {
	return h.insert(ctx, account, "")
}

func (h *Helper) insert(ctx context.Context, account, secret string) error {
	cmd := exec.CommandContext(ctx, h.Program, "insert", account)
	cmd.Stdin, cmd.Stderr = strings.NewReader(secret), h.Stderr
	return run(ctx, cmd)
}

func run(ctx context.Context, cmd *exec.Cmd) error {
	err := cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case exited && exit.ExitCode() >= 0:
		return fmt.Errorf("credential helper failed with exit code %d", exit.ExitCode())
	case exited:
		return errors.New("credential helper was killed")
	}
	return fmt.Errorf("failed to execute credential helper: %w", err)
}

// limited keeps the first bytes of an output, and lets the program go on. The
// buffer is not embedded: its ReadFrom would keep all.
type limited struct {
	kept bytes.Buffer
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := min(maxSecret-l.kept.Len(), len(p))
	l.over = l.over || room < len(p)
	l.kept.Write(p[:room])
	return len(p), nil
}
