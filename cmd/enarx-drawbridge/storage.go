// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// storage is where packages are kept: the flags that the server and the
// commands about a store share.
type storage struct {
	where    string
	wait     time.Duration
	life     time.Duration
	newTimes bool
}

func (s *storage) define(f *pflag.FlagSet) {
	f.StringVar(&s.where, "store", "", "where packages are kept: a folder, or s3://BUCKET?region=…, or mem:// (env DRAWBRIDGE_STORE)")
}

// defineTimes adds the flags for whoever collects garbage.
func (s *storage) defineTimes(f *pflag.FlagSet) {
	f.DurationVar(&s.wait, "gc-wait", 0, "from when the collector announces what it will delete to when it does; 0: as the store says, which is 15m unless it was told otherwise")
	f.DurationVar(&s.life, "staging-life", 0, "how long what was uploaded waits for its tag, at least four times --gc-wait; 0: as the store says, 24h unless it was told otherwise")
	f.BoolVar(&s.newTimes, "new-times", false, "change what the store says of these two, while no other server uses it")
}

// environment names the flags that a variable may set instead.
var environment = map[string]string{"store": "DRAWBRIDGE_STORE"}

// storeURL returns the URL of a store: of a folder, if it is none. A folder
// must be there: a name with a mistake in it would be an empty store.
func storeURL(where string, readOnly bool) (string, error) {
	scheme, _, isURL := strings.Cut(where, "://")
	path := where
	switch {
	case where == "":
		return "", diag.Hint(errors.New("there is no --store"), "give a folder, or s3://BUCKET?region=…")
	case isURL && scheme != "file":
		if slices.Contains(store.Schemes(), scheme) {
			return where, nil
		}
		err := fmt.Errorf("--store %s: unknown kind of store: a folder, file:///FOLDER, mem:// or s3://BUCKET", redact(where))
		if scheme == "gs" || scheme == "azblob" {
			return "", diag.Hint(err, "this program was built without it: go build -tags gcs,azure ./cmd/enarx-drawbridge")
		}
		return "", err
	case isURL:
		u, err := url.Parse(where)
		if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return "", fmt.Errorf("--store %s: a file URL has three slashes before its path", where)
		}
		path = u.Path
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("--store: %w", err)
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) && !readOnly:
		return "", diag.Hint(fmt.Errorf("--store: %w", err), "mkdir -m 0700 %s", path)
	case err != nil:
		return "", fmt.Errorf("--store: %w", err)
	case !info.IsDir():
		return "", fmt.Errorf("--store %s: not a folder", path)
	}
	if err := checkFolder(path); err != nil {
		return "", err
	}
	if isURL {
		return where, nil
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// checkFolder refuses a folder of other things: --store /var is a mistake, and
// would mix a store into it.
func checkFolder(path string) error {
	entries, _ := os.ReadDir(path) // trouble with that comes up again when it is opened
	var other string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "blobs", name == "u", name == "gc":
			return nil
		case name == "tmp", name == "lost+found", strings.HasPrefix(name, "."):
		default:
			other = cmp.Or(other, name)
		}
	}
	if other == "" {
		return nil
	}
	return diag.Hint(fmt.Errorf("--store %s: this is no store, there is %q in it", path, other), "give the folder of a store, or an empty one for a new store")
}

// redact drops the query of a URL, which may hold what is secret.
func redact(where string) string {
	before, _, _ := strings.Cut(where, "?")
	return before
}

// open opens the store.
func (s *storage) open(ctx context.Context, cmd *cobra.Command, o store.Options) (*store.Store, error) {
	where, err := storeURL(s.where, o.ReadOnly)
	if err != nil {
		return nil, cli.Usage(cmd, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.GCWait, o.StagingLife, o.NewTimes = s.wait, s.life, s.newTimes
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	st, err := store.OpenURL(opening, where, o)
	switch {
	case errors.Is(err, store.ErrTimes):
		return nil, diag.Hint(err, "leave out --gc-wait and --staging-life, or stop all servers and change them with --new-times")
	case errors.Is(err, fs.ErrPermission):
		return nil, diag.Hint(err, "the folder must belong to the user that the server runs as")
	case err != nil && strings.HasPrefix(where, "s3:"):
		return nil, diag.Hint(err, "credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or the machine's role; for other than AWS: ?endpoint=https://…&use_path_style=true&region=…")
	}
	return st, err
}

// openTime is how long a bucket may take to answer at the start.
const openTime = 30 * time.Second
