// SPDX-License-Identifier: Apache-2.0

// Command emurun runs a program in an emulated machine, for people at work on what
// needs KVM. A server keeps one machine, so that each run need not boot its own.
//
//	go build -o /tmp/emurun ./internal/lanes/emulated/cmd/emurun
//	/tmp/emurun -serve &
//	/tmp/emurun -put bin/enarx -put build/examples -- bin/enarx run build/examples/hello-c
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"enarx.dev/enarx/internal/lanes/emulated"
	"enarx.dev/enarx/internal/lanes/emulated/wire"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "emurun:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run() (int, error) {
	var put, env list
	socket := flag.String("socket", filepath.Join(os.TempDir(), fmt.Sprintf("emurun-%d.sock", os.Getuid())), "of the server")
	server := flag.Bool("serve", false, "boot a machine and run what other calls of emurun ask for")
	own := flag.Bool("own", false, "boot a machine for this run even if there is a server")
	dir := flag.String("dir", "", "working directory of the program (default: this one)")
	limit := flag.Duration("timeout", 5*time.Minute, "kill the program after this `time`")
	memory := flag.Int("memory", 0, "of the machine, in `MiB`")
	verbose := flag.Bool("v", false, "show the machine's console, and how long things took")
	flag.Var(&put, "put", "copy this file or folder of the host, under the same path; argv[0] is copied anyway")
	flag.Var(&env, "env", "set `K=V`, beside ENARX_TEST_KVM=1")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg := emulated.Config{Root: root(), Memory: *memory}
	if *verbose {
		cfg.Console = os.Stderr
	}
	if *server {
		return 0, serve(ctx, cfg, *socket)
	}
	what, err := command(flag.Args(), put, env, *dir, *limit)
	if err != nil {
		return 0, err
	}
	conn, err := net.Dial("unix", *socket)
	if err != nil || *own {
		start := time.Now()
		m, err := emulated.Start(ctx, cfg)
		if err != nil {
			return 0, err
		}
		defer m.Close()
		if *verbose {
			fmt.Fprintf(os.Stderr, "emurun: kernel %s booted in %v\n", m.Kernel(), time.Since(start).Round(time.Millisecond))
		}
		return do(ctx, m, what, os.Stdin, os.Stdout, os.Stderr)
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	return ask(conn, what)
}

// root is where the source of this program is.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../../../..")
}

func command(argv, put, env []string, dir string, limit time.Duration) (wire.Command, error) {
	if len(argv) == 0 {
		return wire.Command{}, errors.New("usage: emurun [flags] [--] program [argument…]; emurun -help")
	}
	what := wire.Command{Argv: argv, Dir: dir, Wait: limit, Env: append([]string{"ENARX_TEST_KVM=1"}, env...)}
	// A program is of the host if it has a path; without one it is of the machine.
	if filepath.Base(argv[0]) != argv[0] {
		if path, err := exec.LookPath(argv[0]); err == nil {
			put = append(put, path)
			if argv[0], err = filepath.Abs(path); err != nil {
				return what, err
			}
		}
	}
	for _, path := range put {
		path, err := filepath.Abs(path)
		if err != nil {
			return what, err
		}
		what.Put = append(what.Put, path)
	}
	if dir == "" {
		var err error
		if what.Dir, err = os.Getwd(); err != nil {
			return what, err
		}
	}
	return what, nil
}

func do(ctx context.Context, m *emulated.Machine, what wire.Command, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, what.Wait)
	defer cancel()
	if err := m.Mkdir(ctx, what.Dir); err != nil {
		return 0, err
	}
	if err := m.Put(ctx, what.Put...); err != nil {
		return 0, err
	}
	env := map[string]string{}
	for _, pair := range what.Env {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	return m.Run(ctx, emulated.Command{Argv: what.Argv, Env: env, Dir: what.Dir, Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

// serve keeps a machine until the process is asked to end, and boots another when
// it stops.
func serve(ctx context.Context, cfg emulated.Config, socket string) error {
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return fmt.Errorf("there is a server at %s already", socket)
	}
	_ = os.Remove(socket) // of a server that is gone
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer l.Close()
	context.AfterFunc(ctx, func() { l.Close() })
	machines := make(chan *emulated.Machine, 1)
	machines <- nil
	current := func() (*emulated.Machine, error) {
		m := <-machines
		var err error
		if m == nil || m.Gone() {
			start := time.Now()
			if m, err = emulated.Start(ctx, cfg); err != nil {
				m = nil
			} else {
				fmt.Fprintf(os.Stderr, "emurun: kernel %s booted in %v\n", m.Kernel(), time.Since(start).Round(time.Millisecond))
			}
		}
		machines <- m
		return m, err
	}
	if _, err := current(); err != nil {
		return err
	}
	defer func() {
		if m := <-machines; m != nil {
			m.Close()
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			return ctx.Err()
		}
		go func() {
			defer conn.Close()
			m, err := current()
			answer(ctx, conn, m, err)
		}()
	}
}

func answer(ctx context.Context, conn net.Conn, m *emulated.Machine, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := bufio.NewReader(conn)
	to := wire.NewSender(conn)
	f, err2 := wire.Read(in)
	var what wire.Command
	if err2 == nil {
		err2 = json.Unmarshal(f.Data, &what)
	}
	var result wire.Result
	if err = errors.Join(err, err2); err == nil {
		r, w := io.Pipe()
		defer r.Close()
		go func() {
			defer w.Close()
			for {
				f, err := wire.Read(in)
				if err != nil {
					cancel() // the client is gone
					return
				}
				if len(f.Data) == 0 {
					w.Close()
					continue
				}
				_, _ = w.Write(f.Data) // fails only when the command is over
			}
		}()
		result.Code, err = do(ctx, m, what, r, to.Stream(wire.Stdout, 0), to.Stream(wire.Stderr, 0))
	}
	if err != nil {
		result.Err = err.Error()
	}
	data, err := json.Marshal(result)
	if err == nil {
		_ = to.Send(wire.Ended, 0, data) // the client may be gone
	}
}

// ask has the server run a command.
func ask(conn net.Conn, what wire.Command) (int, error) {
	to := wire.NewSender(conn)
	spec, err := json.Marshal(what)
	if err != nil {
		return 0, err
	}
	if err := to.Send(wire.Start, 0, spec); err != nil {
		return 0, err
	}
	go func() {
		_, _ = io.Copy(to.Stream(wire.Stdin, 0), os.Stdin)
		_ = to.Send(wire.Stdin, 0, nil)
	}()
	in := bufio.NewReader(conn)
	for {
		f, err := wire.Read(in)
		if err != nil {
			return 0, fmt.Errorf("the server is gone: %w", err)
		}
		switch f.Kind {
		case wire.Stdout:
			_, _ = os.Stdout.Write(f.Data)
		case wire.Stderr:
			_, _ = os.Stderr.Write(f.Data)
		case wire.Ended:
			var result wire.Result
			if err := json.Unmarshal(f.Data, &result); err != nil {
				return 0, err
			}
			if result.Err != "" {
				return 0, errors.New(result.Err)
			}
			return result.Code, nil
		}
	}
}
