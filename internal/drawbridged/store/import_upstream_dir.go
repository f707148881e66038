// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// Limits on what is read from a directory that somebody else wrote.
const (
	maxSidecar  = 64 << 10  // bytes of meta.json
	maxChildren = 1_000_000 // names in one directory
)

var (
	errNotRegular  = errors.New("it is not an ordinary file")
	errNotFolder   = errors.New("it is not a directory")
	errNoSidecar   = errors.New("it has no meta.json: a write was cut off")
	errNoContent   = errors.New("it has no content: a write was cut off")
	errManyEntries = fmt.Errorf("it has more than %d entries", maxChildren)
)

// An oldEntity is a directory of upstream's store: meta.json is what its PUT
// declared, content what was received, whether or not the two agree. Nothing
// of it is believed, and no symbolic link is followed, not even inside.
type oldEntity struct {
	root *os.Root
	path string // from the store's root, for reports
}

func (e oldEntity) Close() error { return e.root.Close() }

// child opens a directory below e.
func (e oldEntity) child(name string) (oldEntity, error) {
	before, err := e.root.Lstat(name)
	if err != nil {
		return oldEntity{}, err
	}
	if !before.IsDir() {
		return oldEntity{}, errNotFolder
	}
	sub, err := e.root.OpenRoot(name)
	if err != nil {
		return oldEntity{}, err
	}
	if after, err := sub.Stat("."); err != nil || !os.SameFile(before, after) {
		sub.Close()
		return oldEntity{}, errNotFolder
	}
	return oldEntity{sub, join(e.path, name)}, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// names lists what is below e, sorted.
func (e oldEntity) names() ([]string, error) {
	f, err := e.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		some, err := f.Readdirnames(1024)
		names = append(names, some...)
		switch {
		case len(names) > maxChildren:
			return nil, errManyEntries
		case err == io.EOF:
			slices.Sort(names)
			return names, nil
		case err != nil:
			return nil, err
		}
	}
}

// open opens an ordinary file of e, and returns its size.
func (e oldEntity) open(name string) (*os.File, int64, error) {
	f, err := openOrdinary(e.root, name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// meta reads what was declared of e.
func (e oldEntity) meta() (drawbridge.Meta, error) {
	f, size, err := e.open("meta.json")
	if errors.Is(err, os.ErrNotExist) {
		err = errNoSidecar
	}
	if err != nil {
		return drawbridge.Meta{}, err
	}
	defer f.Close()
	if size > maxSidecar {
		return drawbridge.Meta{}, fmt.Errorf("meta.json has more than %d bytes", maxSidecar)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSidecar))
	if err != nil {
		return drawbridge.Meta{}, err
	}
	meta, err := drawbridge.ParseMeta(data)
	if err != nil {
		return drawbridge.Meta{}, fmt.Errorf("meta.json: %w", err)
	}
	return meta, nil
}

// content opens the bytes of e if there are as many as meta says.
func (e oldEntity) content(meta drawbridge.Meta) (*os.File, error) {
	f, size, err := e.open("content")
	if errors.Is(err, os.ErrNotExist) {
		err = errNoContent
	}
	if err != nil {
		return nil, err
	}
	if size != meta.Length {
		f.Close()
		return nil, fmt.Errorf("content has %d bytes: %w", size, drawbridge.ErrLengthMismatch)
	}
	return f, nil
}

// object reads an entity that is a small document, and verifies it.
func (e oldEntity) object() (Object, error) {
	meta, err := e.meta()
	if err != nil {
		return Object{}, err
	}
	if meta.Length > drawbridge.MaxJSON {
		return Object{}, fmt.Errorf("content has more than %d bytes", drawbridge.MaxJSON)
	}
	f, err := e.content(meta)
	if err != nil {
		return Object{}, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, drawbridge.MaxJSON+1))
	if err != nil {
		return Object{}, err
	}
	if err := meta.Verify(body); err != nil {
		return Object{}, err
	}
	return Object{Body: body, Meta: meta}, nil
}
