// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"fmt"
	"sync/atomic"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/memfs"
	"enarx.dev/enarx/internal/socket"
	"enarx.dev/enarx/internal/wasi"
	"enarx.dev/enarx/workload"
)

// host builds what the guest sees: arguments, environment and descriptors.
// Listeners are bound and connections made when it returns. end closes them
// all, after what the guest wrote has gone out or a bounded time has passed.
func (k *Keep) host(ctx context.Context, yield func()) (h *wasi.Host, end func(), err error) {
	var host atomic.Pointer[wasi.Host]
	// Sockets may become ready before there is a host to wake: it looks at all
	// of them before it first waits.
	o := &opener{keep: k, fs: memfs.New(handover.MaxFiles), net: socket.New(socket.Config{
		Limit: k.limits().Sockets, Log: k.log,
		Wake: func() {
			if h := host.Load(); h != nil {
				h.Wake()
			}
		},
	})}
	if err := o.loadPackage(); err != nil {
		return nil, nil, err
	}
	files := k.files()
	table := make([]wasi.File, 0, len(files))
	for i, f := range files {
		file, err := o.open(ctx, f)
		if err != nil {
			return nil, nil, fmt.Errorf("files entry %d, %s %q: %w", i, f.Kind, f.Name, err)
		}
		table = append(table, file)
	}
	dirs, err := o.hostDirectories()
	if err != nil {
		return nil, nil, err
	}
	h = wasi.New(wasi.Config{
		Args: k.args(), Env: k.env(), Files: append(fillStdio(table), dirs...),
		Log: k.log, Yield: yield,
	})
	host.Store(h)
	return h, func() {
		h.Close()
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if err := o.net.Close(ctx); err != nil {
			k.log.Warn("connections not drained", "err", err)
		}
	}, nil
}

// fillStdio gives descriptors 0 to 2 to a table that is shorter: an empty
// source and sinks, as upstream. Only directories given on the command line
// can follow a table, so nothing declared moves.
func fillStdio(table []wasi.File) []wasi.File {
	for len(table) < 3 {
		if len(table) == 0 {
			table = append(table, wasi.Empty())
		} else {
			table = append(table, wasi.Sink())
		}
	}
	return table
}

// opener makes the descriptors of one Keep.
type opener struct {
	keep *Keep
	net  *socket.Net
	fs   *memfs.FS
	pkg  *memfs.Node // the folders of the package; nil without any
	dirs int         // directories made so far
	tls  tlsMaker
}

// root makes a directory at the top of the file system. Each preopen has one
// of its own, and is a jail: no path leads from one to another.
func (o *opener) root() (*memfs.Node, error) {
	name := fmt.Sprintf("%d", o.dirs)
	o.dirs++
	if err := o.fs.Mkdir(o.fs.Root(), name); err != nil {
		return nil, err
	}
	return o.fs.Lookup(o.fs.Root(), name, false)
}

// load makes a directory from the tar stream on a descriptor of the host.
func (o *opener) load(fd int) (*memfs.Node, error) {
	dir, err := o.root()
	if err != nil {
		return nil, err
	}
	stream := o.keep.Open(fd)
	defer stream.Close()
	return dir, o.fs.LoadTar(dir, stream)
}

func (o *opener) loadPackage() error {
	fd := o.keep.Doc.Package.Tree
	if fd == 0 {
		return nil
	}
	dir, err := o.load(fd)
	if err != nil {
		return fmt.Errorf("loading the folders of the package: %w", err)
	}
	o.pkg = dir
	return nil
}

func (o *opener) open(ctx context.Context, f workload.File) (wasi.File, error) {
	k := o.keep
	switch f.Kind {
	case workload.KindNull:
		return wasi.Null(), nil
	case workload.KindStdin:
		return wasi.Stdin(k.Stdin), nil
	case workload.KindStdout:
		return k.output(wasi.Stdout(k.Stdout)), nil
	case workload.KindStderr:
		return k.output(wasi.Stderr(k.Stderr)), nil
	case workload.KindListen:
		return o.listen(ctx, f)
	case workload.KindConnect:
		return o.connect(ctx, f)
	case workload.KindDir:
		return o.directory(f)
	}
	return wasi.File{}, fmt.Errorf("bug: unknown kind %q", f.Kind)
}

// output replaces a stream of the host where the package wants none.
func (k *Keep) output(f wasi.File) wasi.File {
	if k.quiet() {
		return wasi.Sink()
	}
	return f
}

func (o *opener) listen(ctx context.Context, f workload.File) (wasi.File, error) {
	conf, err := o.tls.server(f)
	if err != nil {
		return wasi.File{}, err
	}
	l, err := o.net.Listen(ctx, f.Addr, f.Port, conf)
	if err != nil {
		return wasi.File{}, fmt.Errorf("failed to setup listening socket: %w", err)
	}
	o.keep.log.Info("listening", "name", f.Name, "addr", l.Addr().String(), "prot", string(f.Prot))
	return wasi.Listener(l, true), nil
}

func (o *opener) connect(ctx context.Context, f workload.File) (wasi.File, error) {
	conf, err := o.tls.client(f)
	if err != nil {
		return wasi.File{}, err
	}
	c, err := o.net.Connect(ctx, f.Host, f.Port, conf)
	if err != nil {
		return wasi.File{}, fmt.Errorf("failed to setup connection stream: %w", err)
	}
	return wasi.Conn(c, true), nil
}

// directory opens a folder of the package, read-only, or an empty directory in
// memory.
func (o *opener) directory(f workload.File) (wasi.File, error) {
	if f.From == "" {
		dir, err := o.root()
		if err != nil {
			return wasi.File{}, err
		}
		return wasi.Dir(f.Path, o.fs, dir, false), nil
	}
	if o.pkg == nil {
		return wasi.File{}, diag.Hint(fmt.Errorf("the package has no folder %q", f.From),
			"run the folder that holds main.wasm, Enarx.toml and %s: enarx run FOLDER", f.From)
	}
	dir, err := o.fs.Lookup(o.pkg, f.From, false)
	if err != nil {
		return wasi.File{}, fmt.Errorf("folder %q of the package: %w", f.From, err)
	}
	if dir.Info().Type != memfs.Directory {
		return wasi.File{}, fmt.Errorf("%q in the package is not a folder", f.From)
	}
	return wasi.Dir(f.Path, o.fs, dir, true), nil
}

// hostDirectories opens the copies of host directories that the command line
// asked for.
func (o *opener) hostDirectories() ([]wasi.File, error) {
	var files []wasi.File
	for _, d := range o.keep.Doc.Dirs {
		dir, err := o.load(d.FD)
		if err != nil {
			return nil, fmt.Errorf("loading the directory for %q: %w", d.Guest, err)
		}
		files = append(files, wasi.Dir(d.Guest, o.fs, dir, false))
	}
	return files, nil
}
