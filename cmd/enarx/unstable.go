// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/loader"
)

func unstableCommand(log *logging) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "unstable",
		Short:   "Commands that may change or go without notice",
		Example: "  enarx unstable exec ./server",
	})
	cmd.AddCommand(execCommand(log))
	return cmd
}

// execOptions is the flags of `enarx unstable exec`.
type execOptions struct {
	backend string
	env     []string
}

func execCommand(log *logging) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] BINARY [ARG…]",
		Short: "Run a static Linux program in a Keep",
		Long: "Run a static x86-64 Linux program in a Keep, above the shim and without\n" +
			"enarx-exec. The program has its standard streams, the network, memory and\n" +
			"threads; no file system. The exit code is the program's, or 128 and the\n" +
			"number of the signal that ended it.",
		Example: "  enarx unstable exec ./server -addr 127.0.0.1:8080\n" +
			"  enarx unstable exec --backend kvm --env GODEBUG=gctrace=1 ./bench",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usage(cmd, fmt.Errorf("which program? `enarx unstable exec` needs the path of one"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, log, args) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows BINARY is the program's
	f.StringVar(&o.backend, "backend", "", "`backend` of the Keep: sgx, sev or kvm (env ENARX_BACKEND; default the first that works)")
	f.StringArrayVar(&o.env, "env", nil, "environment variable `K=V` for the program (repeatable)")
	return cmd
}

func (o *execOptions) run(cmd *cobra.Command, logging *logging, args []string) error {
	if o.backend == "" {
		o.backend = os.Getenv("ENARX_BACKEND")
	}
	if err := checkEnv(cmd, o.env); err != nil {
		return err
	}
	backend, err := loader.Choose(o.backend, false)
	if err != nil {
		return err
	}
	if backend == loader.Nil {
		err := fmt.Errorf("`enarx unstable exec` needs a Keep with a shim, which the nil backend has not")
		if why := loader.Why(loader.KVM); why != "" {
			return diag.Hint(err, "the kvm backend: %s; see `enarx platform info`", why)
		}
		return diag.Hint(err, "use --backend kvm")
	}
	program, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer program.Close()
	runtime.GOMAXPROCS(loader.Procs(backend))
	log, _ := logging.open(cmd)
	k, err := loader.Exec(context.Background(), loader.Program{
		Backend: backend, File: program, Args: args, Env: o.env, Log: log,
	})
	return finish(k, err)
}
