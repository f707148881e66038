// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/loader"
	"enarx.dev/enarx/workload"
)

// runOptions is the flags of `enarx run`.
type runOptions struct {
	backend     string
	wasmcfgfile string
	unsigned    bool
	signatures  string
	requireTEE  bool
	env         []string
	dirs        []string
	noCache     bool
}

func runCommand(log *logging) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] MODULE [-- ARG…]",
		Short: "Run a WebAssembly module or a package folder in a Keep",
		Long: "Run a WebAssembly module in a Keep.\n\n" +
			"MODULE is a module in the binary format, or a package: a folder that holds\n" +
			"main.wasm and, if it likes, an Enarx.toml. What follows -- are the program's\n" +
			"arguments; they replace those of Enarx.toml. The exit code is the program's,\n" +
			"134 if it trapped.",
		Example: "  enarx run hello.wasm\n" +
			"  enarx run --wasmcfgfile Enarx.toml server.wasm\n" +
			"  enarx run --dir ./data::/data --env LANG=C report.wasm -- --verbose\n" +
			"  enarx run ./package",
		Args: moduleAndArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, log, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.backend, "backend", "", "`backend` of the Keep: sgx, sev, kvm or nil (env ENARX_BACKEND; default the first that works)")
	f.StringVar(&o.wasmcfgfile, "wasmcfgfile", "", "the module's Enarx.toml, a `file` (env ENARX_WASMCFGFILE)")
	f.BoolVar(&o.unsigned, "unsigned", false, "ignore signature files")
	f.StringVar(&o.signatures, "signatures", "", "`file` with the signatures of the Keep")
	f.BoolVar(&o.requireTEE, "require-tee", false, "fail rather than run without a TEE")
	f.StringArrayVar(&o.env, "env", nil, "environment variable `K=V` for the program (repeatable)")
	f.StringArrayVar(&o.dirs, "dir", nil, "give the program a writable copy of a folder, `HOST[::GUEST]` (repeatable)")
	f.BoolVar(&o.noCache, "no-cache", false, "compile the module afresh (env ENARX_NO_CACHE)")
	return cmd
}

// moduleAndArgs wants one argument before the --.
func moduleAndArgs(cmd *cobra.Command, args []string) error {
	n := cmd.ArgsLenAtDash()
	if n < 0 {
		n = len(args)
	}
	switch {
	case n == 0:
		return cli.Usage(cmd, fmt.Errorf("which module? `enarx run` needs the path of one"))
	case n > 1:
		return cli.Usage(cmd, diag.Hint(fmt.Errorf("unexpected argument %q", args[1]),
			"the program's own arguments go after --"))
	}
	return nil
}

func (o *runOptions) run(cmd *cobra.Command, logging *logging, args []string) error {
	env, dirs, err := o.parse(cmd)
	if err != nil {
		return err
	}
	if o.signatures != "" && !o.unsigned {
		if err := checkSignatures(o.signatures); err != nil {
			return err
		}
	}
	backend, err := loader.Choose(o.backend, o.requireTEE)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(loader.Procs(backend))
	warn := func(text string) { diag.Warnf(cmd.ErrOrStderr(), "%s", text) }
	p, err := openPackage(args[0], o.wasmcfgfile, warn)
	if err != nil {
		return err
	}
	defer p.close()
	o.warn(backend, warn)
	log, keepLevel := logging.open(cmd)
	l := loader.Launch{
		Backend: backend, Module: p.module, Config: p.config, Workload: p.workload, Folder: p.folder, Name: args[0],
		Env: env, Dirs: dirs, LogLevel: keepLevel, Progress: isTerminal(os.Stderr), Warn: warn, Log: log,
	}
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		l.Args = append([]string{}, args[n:]...)
	}
	if !backend.TEE() {
		l.Images = openCache("programs", loader.MaxImages, log)
		if !o.noCache {
			l.Modules = openCache("modules", loader.MaxModules, log)
		}
	}
	return launch(l)
}

// parse takes in the environment and checks the flags that have a form.
func (o *runOptions) parse(cmd *cobra.Command) (env []string, dirs []loader.Dir, err error) {
	for name, value := range map[string]*string{"ENARX_BACKEND": &o.backend, "ENARX_WASMCFGFILE": &o.wasmcfgfile} {
		if *value == "" {
			*value = os.Getenv(name)
		}
	}
	switch os.Getenv("ENARX_NO_CACHE") {
	case "", "0", "false":
	default:
		o.noCache = true
	}
	if err := checkEnv(cmd, o.env); err != nil {
		return nil, nil, err
	}
	for _, arg := range o.dirs {
		d, err := parseDir(arg)
		if err != nil {
			return nil, nil, cli.Usage(cmd, fmt.Errorf("--dir: %w", err))
		}
		if info, err := os.Stat(d.Host); err != nil {
			return nil, nil, fmt.Errorf("--dir: %w", err)
		} else if !info.IsDir() {
			return nil, nil, fmt.Errorf("--dir: %s is not a folder", d.Host)
		}
		dirs = append(dirs, d)
	}
	return o.env, dirs, nil
}

// checkEnv checks the values of --env.
func checkEnv(cmd *cobra.Command, env []string) error {
	for _, kv := range env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok {
			return cli.Usage(cmd, fmt.Errorf("--env %q is not of the form K=V", kv))
		}
		if err := workload.CheckEnv(name, value); err != nil {
			return cli.Usage(cmd, fmt.Errorf("--env: %w", err))
		}
	}
	return nil
}

// parseDir reads HOST[::GUEST]. A program sees the folder under its GUEST
// name, or the name it has here. A relative name is taken from the program's
// root, which is where a C library's relative paths start: --dir data and
// --dir data::/data are the same, and --dir . is the root itself.
func parseDir(arg string) (loader.Dir, error) {
	host, guest, named := strings.Cut(arg, "::")
	if host == "" {
		return loader.Dir{}, fmt.Errorf("%q names no folder", arg)
	}
	if !named {
		guest = host
	}
	if guest == "" {
		return loader.Dir{}, fmt.Errorf("%q names no guest path", arg)
	}
	if clean := path.Clean(guest); clean == ".." || strings.HasPrefix(clean, "../") {
		return loader.Dir{}, diag.Hint(fmt.Errorf("%q leads out of the program's root", guest),
			"say where the program shall see it: --dir %s::/name", host)
	}
	guest = path.Join("/", guest)
	return loader.Dir{Host: host, Guest: guest}, workload.CheckGuestPath(guest)
}

// warn says what a Keep without a TEE does not do: once, and not to somebody
// who has asked for it by name.
func (o *runOptions) warn(backend loader.Backend, warn func(string)) {
	if o.backend == "" && !backend.TEE() {
		warn(fmt.Sprintf("no TEE in use: the %s backend protects nothing from this machine; --backend %s accepts that, --require-tee refuses it",
			backend, backend))
	}
	if backend != loader.Nil {
		return
	}
	for _, layer := range confine.Probe() {
		if layer.Missing != "" {
			warn("this kernel lacks " + layer.Name + " or part of it: " + layer.Missing)
		}
	}
}

// launch runs a Keep to its end. There are no signal handlers: a signal that
// ends this program ends it as any other, with the status that shells and
// supervisors look for, and the kernel ends the Keep with it (internal/loader).
func launch(l loader.Launch) error {
	k, err := loader.Start(context.Background(), l)
	return finish(k, err)
}

// finish waits for a Keep that was started, or was not.
func finish(k *loader.Keep, err error) error {
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGQUIT) // the Go runtime would print its goroutines
	switch code, err := k.Wait(); {
	case err != nil && code > 1:
		return endedError{err, code}
	case err != nil:
		return err
	case code != 0:
		return exitCode(code)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
