// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
)

// maxListings bounds the listings of a package that is fetched. A small
// package can list the same folder many times on many levels.
const maxListings = 64 << 20

// Listed is a node of a package, as its parent lists it.
type Listed struct {
	Path drawbridge.Path
	Meta drawbridge.Meta
}

// Walk returns all nodes of a package below a root that Resolve returned: the
// root first, parents before children, names by their bytes. Listings are
// verified; the files are not read.
func (c *Client) Walk(ctx context.Context, s drawbridge.Slug, root drawbridge.Meta) ([]Listed, error) {
	return c.walk(ctx, s, root, maxNodes)
}

func (c *Client) walk(ctx context.Context, s drawbridge.Slug, root drawbridge.Meta, most int) ([]Listed, error) {
	var all []Listed
	left := int64(maxListings)
	// A stack, on which the children lie in reverse, gives the order.
	for todo := []Listed{{Meta: root}}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		all = append(all, n)
		if n.Meta.Type != drawbridge.TypeDirectory {
			continue
		}
		if left -= n.Meta.Length; left < 0 || len(n.Path) == drawbridge.MaxDepth {
			return nil, fmt.Errorf("%w: the package's listings", ErrTooLarge)
		}
		d, err := c.Directory(ctx, s, n.Path, n.Meta)
		if err != nil {
			return nil, err
		}
		if len(all)+len(todo)+len(d) > most {
			return nil, fmt.Errorf("%w: a package of more than %d nodes", ErrTooLarge, most)
		}
		names := d.Names()
		for i := len(names) - 1; i >= 0; i-- {
			todo = append(todo, Listed{Path: n.Path.Child(names[i]), Meta: d[names[i]].Meta})
		}
	}
	return all, nil
}

// FetchOptions says how to fetch.
type FetchOptions struct {
	Signers  drawbridge.Signers // not nil: the tag must be signed by one of them
	Progress func(Event)        // may be nil
	Parallel int                // files at a time; default 4, at most 8
}

// Fetch gets a package into a folder, which must not exist or be empty, and
// returns the Meta of its root. Everything is verified before the folder is
// there: it is filled beside its place and then renamed. A package that is a
// lone file becomes a folder with main.wasm, or with the file "content" if it
// is no Wasm module.
func (c *Client) Fetch(ctx context.Context, s drawbridge.Slug, into string, o FetchOptions) (drawbridge.Meta, error) {
	if err := vacant(into); err != nil {
		return drawbridge.Meta{}, err
	}
	root, _, err := c.Resolve(ctx, s, o.Signers)
	if err != nil {
		return drawbridge.Meta{}, err
	}
	nodes, err := c.Walk(ctx, s, root)
	if err != nil {
		return drawbridge.Meta{}, err
	}
	into = filepath.Clean(into)
	temp, err := os.MkdirTemp(filepath.Dir(into), "."+filepath.Base(into)+".fetching-")
	if err != nil {
		return drawbridge.Meta{}, err
	}
	f := &fetch{c: c, slug: s, meter: newMeter(o.Progress, Receiving)}
	parallel := min(cmp.Or(max(o.Parallel, 0), 4), maxParallel)
	if err = f.fill(ctx, temp, nodes, parallel); err == nil {
		err = install(temp, into)
	}
	if err != nil {
		_ = os.RemoveAll(temp) // the first error is the one to tell
		return drawbridge.Meta{}, err
	}
	return root, nil
}

// vacant returns an error unless nothing or an empty folder is there, other
// than the working folder: it could not be replaced under the process.
func vacant(into string) error {
	entries, err := os.ReadDir(into)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = &fs.PathError{Op: "fetch", Path: into, Err: fs.ErrExist}
	}
	if err != nil {
		return err
	}
	there, err := os.Stat(into)
	if err != nil {
		return err
	}
	if here, err := os.Stat("."); err == nil && os.SameFile(here, there) {
		return fmt.Errorf("%s is the working folder, name one that does not exist", into)
	}
	return nil
}

func install(temp, into string) error {
	if err := os.Chmod(temp, 0o755); err != nil { // it was made for us alone
		return err
	}
	if err := os.Remove(into); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(temp, into)
}

type fetch struct {
	c     *Client
	slug  drawbridge.Slug
	meter *meter
	root  *os.Root
}

// fill writes all nodes below dir.
func (f *fetch) fill(ctx context.Context, dir string, nodes []Listed, parallel int) (err error) {
	if f.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer f.root.Close()
	var files []Listed
	for _, n := range nodes {
		if n.Meta.Type != drawbridge.TypeDirectory {
			files = append(files, n)
			f.meter.expect(n.Meta.Length)
		} else if len(n.Path) > 0 {
			if err := f.root.Mkdir(filepath.Join(n.Path...), 0o755); err != nil {
				return err
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, n := range files {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f.file(ctx, n); err != nil {
				return fmt.Errorf("fetching %q: %w", n.Path.String(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// file fetches one file. It goes on where the connection broke.
func (f *fetch) file(ctx context.Context, n Listed) error {
	name := filepath.Join(n.Path...)
	if len(n.Path) == 0 {
		name = "content"
		if n.Meta.Type == drawbridge.TypeWasm {
			name = "main.wasm"
		}
	}
	// Where names differ in case alone for us but not for the disk, O_EXCL
	// keeps one file from taking the other's place.
	out, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	d := &download{f: f, n: n, out: out}
	d.reset()
	err = d.run(ctx)
	if closeErr := out.Close(); err == nil && closeErr != nil {
		err = local{closeErr}
	}
	return err
}

// download is a file that is on its way.
type download struct {
	f    *fetch
	n    Listed
	out  *os.File
	hash *drawbridge.Hasher // of what is in out
}

func (d *download) reset() {
	d.hash = drawbridge.NewHasher(d.n.Meta.Digests.Algorithms()...)
}

func (d *download) run(ctx context.Context) error {
	wait := patience{c: d.f.c}
	for {
		before := d.hash.Len()
		err := d.more(ctx)
		if err == nil {
			break
		}
		if d.hash.Len() > before {
			wait.progress()
		}
		if err := wait.wait(ctx, err); err != nil {
			return err
		}
	}
	if d.hash.Sum() != d.n.Meta.Digests {
		return drawbridge.ErrDigestMismatch
	}
	return nil
}

// more asks for the file, or for the rest of it, and reads until the end or
// until it breaks off.
func (d *download) more(ctx context.Context) error {
	r := request{method: http.MethodGet, path: d.f.slug.NodePath(d.n.Path)}
	if offset := d.hash.Len(); offset > 0 {
		r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", offset)}}
		r.want = []int{http.StatusPartialContent}
	}
	resp, err := d.f.c.once(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent {
		err = d.checkPart(resp)
	} else {
		err = d.checkWhole(resp)
	}
	if err != nil {
		return err
	}
	return d.read(resp.Body)
}

// checkWhole starts the file anew: upstream's servers know no ranges.
func (d *download) checkWhole(resp *http.Response) error {
	m, err := metaOf(resp)
	switch {
	case err != nil:
		return err
	case m != d.n.Meta:
		return ErrListing
	case d.hash.Len() == 0:
		return nil
	}
	d.f.meter.add(d.n.Path, -d.hash.Len())
	d.reset()
	if _, err := d.out.Seek(0, io.SeekStart); err != nil {
		return local{err}
	}
	return nil
}

func (d *download) checkPart(resp *http.Response) error {
	want := fmt.Sprintf("bytes %d-%d/%d", d.hash.Len(), d.n.Meta.Length-1, d.n.Meta.Length)
	if got := resp.Header.Get("Content-Range"); got != want {
		return fmt.Errorf("%w: Content-Range is %.80q, not %q", ErrHeader, got, want)
	}
	return nil
}

func (d *download) read(body io.Reader) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	left := d.n.Meta.Length - d.hash.Len()
	for {
		n, err := io.ReadFull(body, buf[:min(left+1, bufferSize)])
		if left -= int64(n); left < 0 {
			return fmt.Errorf("%w: more than %d bytes", drawbridge.ErrLengthMismatch, d.n.Meta.Length)
		}
		if _, err := d.out.Write(buf[:n]); err != nil {
			return local{err}
		}
		_, _ = d.hash.Write(buf[:n])
		d.f.meter.add(d.n.Path, int64(n))
		switch {
		case left == 0 && (err == io.EOF || err == io.ErrUnexpectedEOF):
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
