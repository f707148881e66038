// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"enarx.dev/enarx/internal/lanes/emulated/wire"
)

// stamp tells whether a file is the one that was copied.
type stamp struct {
	size int64
	mode fs.FileMode
	time time.Time
}

// Put copies files, and folders with all in them, to the machine under the
// absolute paths that they have here. What it has already is not copied again.
func (m *Machine) Put(ctx context.Context, paths ...string) error {
	m.putMu.Lock()
	defer m.putMu.Unlock()
	news := map[string]stamp{}
	r, w := io.Pipe()
	defer r.Close() // ends the writer if the machine stops reading
	go func() {
		out := tar.NewWriter(w)
		err := m.pack(out, news, paths)
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	if _, err := m.run(ctx, wire.Command{}, Command{Stdin: r}); err != nil {
		return fmt.Errorf("copying to the machine: %w", err)
	}
	for name, s := range news {
		m.has[name] = s
	}
	return nil
}

func (m *Machine) pack(out *tar.Writer, news map[string]stamp, paths []string) error {
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			s := stamp{info.Size(), info.Mode(), info.ModTime()}
			if _, twice := news[name]; twice || m.has[name] == s {
				return nil
			}
			news[name] = s
			return packOne(out, name, info)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func packOne(out *tar.Writer, name string, info fs.FileInfo) error {
	var target string
	switch kind := info.Mode().Type(); kind {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if target, err = os.Readlink(name); err != nil {
			return err
		}
	default:
		return nil // sockets and the like stay where they are
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// Mkdir makes a folder and those above it, empty.
func (m *Machine) Mkdir(ctx context.Context, dir string) error {
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Format: tar.FormatPAX})
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		_, err = m.run(ctx, wire.Command{}, Command{Stdin: &buf})
	}
	return err
}
