// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"enarx.dev/enarx/workload"
)

// Bounds. Arguments and environment are as many as fit in a document of
// MaxSize bytes and some; the counts keep their bookkeeping small.
const (
	minFD      = 4    // 0 to 2 are standard I/O and 3 is the document
	maxFD      = 1023 // the usual RLIMIT_NOFILE, less one
	maxStrings = 1 << 16
	maxDirs    = 256
	maxLayers  = 16
	maxLabel   = 255 // bytes of a name that is only ever printed
)

var logLevels = []string{"", "error", "warn", "info", "debug", "trace"}

func (w *wire) validate() error {
	if w.Version != Version {
		return fmt.Errorf("%w %d, want %d", ErrVersion, w.Version, Version)
	}
	if !slices.Contains(logLevels, w.LogLevel) {
		return fmt.Errorf("%w: unknown log level %.64q", ErrInvalid, w.LogLevel)
	}
	if err := checkLabel("the package name", w.Package.Name); err != nil {
		return err
	}
	if len(w.Sandbox) > maxLayers {
		return fmt.Errorf("%w: more than %d layers of sandbox", ErrInvalid, maxLayers)
	}
	for _, layer := range w.Sandbox {
		if err := checkLabel("a layer of sandbox", layer); err != nil {
			return err
		}
	}
	if err := w.checkFDs(); err != nil {
		return err
	}
	if err := w.checkDirs(); err != nil {
		return err
	}
	return w.checkStrings()
}

// checkFDs wants every descriptor in range and named once: two readers of one
// stream would each get a part of it.
func (w *wire) checkFDs() error {
	type named struct {
		what     string
		fd       int
		optional bool
	}
	all := []named{
		{"package.wasm", w.Package.Wasm, false},
		{"package.conf", w.Package.Conf, true},
		{"package.tree", w.Package.Tree, true},
		{"cache.entry", w.Cache.Entry, true},
		{"cache.store", w.Cache.Store, true},
	}
	if len(w.Dirs) > maxDirs {
		return fmt.Errorf("%w: more than %d dirs", ErrInvalid, maxDirs)
	}
	for i, dir := range w.Dirs {
		all = append(all, named{fmt.Sprintf("dirs[%d].fd", i), dir.FD, false})
	}
	owner := make(map[int]string)
	for _, n := range all {
		if n.fd == 0 && n.optional {
			continue
		}
		if n.fd < minFD || n.fd > maxFD {
			return fmt.Errorf("%w: %s is %d, not a descriptor from %d to %d", ErrInvalid, n.what, n.fd, minFD, maxFD)
		}
		if other, taken := owner[n.fd]; taken {
			return fmt.Errorf("%w: %s and %s are both descriptor %d", ErrInvalid, other, n.what, n.fd)
		}
		owner[n.fd] = n.what
	}
	return nil
}

func (w *wire) checkDirs() error {
	seen := make(map[string]bool)
	for _, dir := range w.Dirs {
		if err := checkText("a guest path", dir.Guest); err != nil {
			return err
		}
		if err := workload.CheckGuestPath(dir.Guest); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if seen[dir.Guest] {
			return fmt.Errorf("%w: two dirs with the guest path %.64q", ErrInvalid, dir.Guest)
		}
		seen[dir.Guest] = true
	}
	return nil
}

func (w *wire) checkStrings() error {
	if w.Args != nil {
		if len(*w.Args) > maxStrings {
			return fmt.Errorf("%w: more than %d arguments", ErrInvalid, maxStrings)
		}
		for _, arg := range *w.Args {
			if err := checkText("an argument", arg); err != nil {
				return err
			}
		}
	}
	if len(w.Env) > maxStrings {
		return fmt.Errorf("%w: more than %d environment variables", ErrInvalid, maxStrings)
	}
	for _, entry := range w.Env {
		if err := checkText("an environment variable", entry); err != nil {
			return err
		}
		name, value, found := strings.Cut(entry, "=")
		if !found {
			return fmt.Errorf("%w: an environment variable without '=': %.64q", ErrInvalid, entry)
		}
		if err := workload.CheckEnv(name, value); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return nil
}

// checkText refuses what a C string or TOML cannot hold.
func checkText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %s is not valid UTF-8: %.64q", ErrInvalid, what, s)
	}
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("%w: %s contains NUL: %.64q", ErrInvalid, what, s)
	}
	return nil
}

// checkLabel wants a short printable name: it ends up on somebody's terminal.
func checkLabel(what, s string) error {
	if len(s) > maxLabel || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: %s is longer than %d bytes or not printable: %.64q", ErrInvalid, what, maxLabel, s)
	}
	return nil
}
