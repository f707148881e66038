// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/loader"
	"enarx.dev/enarx/workload"
)

// pkg is what `enarx run` runs. The checks here are for early, clear messages:
// the Keep trusts none of them and repeats them.
type pkg struct {
	module   *os.File
	config   *os.File // nil without an Enarx.toml
	workload *workload.Config
	folder   string // "" for a module without a package
}

func (p *pkg) close() {
	p.module.Close()
	if p.config != nil {
		p.config.Close()
	}
}

// openPackage opens a module or a package folder, and its Enarx.toml: the
// named one, or else the package's.
func openPackage(name, conf string, warn func(string)) (_ *pkg, err error) {
	p := &pkg{}
	info, err := os.Stat(name)
	if err != nil {
		return nil, openError(name, err)
	}
	module := name
	if info.IsDir() {
		p.folder, module = name, filepath.Join(name, "main.wasm")
	}
	f, err := os.Open(module)
	if errors.Is(err, fs.ErrNotExist) && info.IsDir() {
		return nil, diag.Hint(fmt.Errorf("no Enarx package or WASM module found at `%s`", name),
			"a package is a folder with a main.wasm")
	}
	if err != nil {
		return nil, openError(module, err)
	}
	if p.module, err = seekable(f, handover.MaxModule); err != nil {
		return nil, openError(module, err)
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := checkModule(p.module, module); err != nil {
		return nil, err
	}
	inFolder := conf == "" && info.IsDir()
	if inFolder {
		conf = filepath.Join(name, workload.FileName)
	}
	if conf == "" {
		return p, nil
	}
	if err := p.openConfig(conf, warn); err != nil && (!inFolder || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if p.folder == "" && loader.NeedsFolder(p.workload) {
		return nil, diag.Hint(fmt.Errorf("`%s` shows files of its package to the program, and there is no package", conf),
			"run the folder that holds main.wasm, Enarx.toml and the files")
	}
	return p, nil
}

func openError(name string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err // the message has the name already
	}
	return fmt.Errorf("failed to open WASM module at `%s`: %w", name, err)
}

// seekable returns f, or for a pipe a file with what is in it.
func seekable(f *os.File, max int64) (*os.File, error) {
	info, err := f.Stat()
	if err != nil || info.Mode().IsRegular() {
		return f, err
	}
	defer f.Close()
	if info.IsDir() {
		return nil, errors.New("is a folder")
	}
	c, err := os.CreateTemp("", "enarx-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(c.Name()) // it lives on in c
	n, err := io.Copy(c, io.LimitReader(f, max+1))
	if err == nil && n > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	if err == nil {
		_, err = c.Seek(0, io.SeekStart)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func checkModule(f *os.File, name string) error {
	head := make([]byte, workload.ModuleHeaderSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return openError(name, err)
	}
	err = workload.CheckModule(head[:n])
	if err == nil {
		return nil
	}
	return diag.Hint(fmt.Errorf("%s: %w", name, err), "%s", workload.ModuleHint(err))
}

func (p *pkg) openConfig(name string, warn func(string)) error {
	fail := func(err error) error {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return fmt.Errorf("failed to open package config at `%s`: %w", name, err)
	}
	f, err := os.Open(name)
	if err != nil {
		return fail(err)
	}
	if p.config, err = seekable(f, workload.MaxSize); err != nil {
		return fail(err)
	}
	data := make([]byte, workload.MaxSize+1)
	n, err := p.config.ReadAt(data, 0) // the Keep reads from the start
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	config, warnings, err := workload.Parse(data[:n])
	if e, ok := errors.AsType[*workload.Error](err); ok {
		named := fmt.Errorf("%s:%d:%d: %s", name, e.Line, e.Column, e.Msg)
		if e.Hint != "" {
			return diag.Hint(named, "%s", e.Hint)
		}
		return named
	}
	if err != nil {
		return fail(err)
	}
	for _, w := range warnings {
		warn(fmt.Sprintf("%s:%d:%d: %s", name, w.Line, w.Column, w.Msg))
	}
	p.workload = config
	return nil
}

// openCache opens one of the user's caches. Without it, things work, slower.
func openCache(name string, max int64, log *slog.Logger) *loader.Cache {
	dir, err := loader.CacheDir()
	if err == nil {
		var c *loader.Cache
		if c, err = loader.OpenCache(filepath.Join(dir, name), max, log); err == nil {
			return c
		}
	}
	log.Debug("running without a cache", "cache", name, "err", err)
	return nil
}
