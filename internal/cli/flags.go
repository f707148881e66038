// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/diag"
)

// NoArguments refuses arguments of a command that has subcommands, and knows
// what they may have been meant for.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command or argument %q", args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		err = diag.Hint(err, "did you mean `%s %s`?", cmd.CommandPath(), like[0])
	}
	return Usage(cmd, err)
}

// Once makes every flag that is no list refuse a second value. A flag that says
// how a server decides must not silently win over another: whichever was meant,
// the other one was meant too.
func Once(f *pflag.FlagSet) {
	f.VisitAll(func(flag *pflag.Flag) {
		if _, many := flag.Value.(pflag.SliceValue); !many {
			flag.Value = &once{Value: flag.Value}
		}
	})
}

// once refuses a second value.
type once struct {
	pflag.Value
	set bool
}

func (v *once) Set(s string) error {
	if v.set {
		return errors.New("it is given more than once")
	}
	v.set = true
	return v.Value.Set(s)
}

// IsBoolFlag keeps `--fetch` working without a value.
func (v *once) IsBoolFlag() bool { return v.Value.Type() == "bool" }

// FromEnvironment sets the flags that were not given from the environment:
// variables by the names of flags.
func FromEnvironment(f *pflag.FlagSet, environment map[string]string) error {
	for name, variable := range environment {
		value := os.Getenv(variable)
		if value == "" || f.Changed(name) {
			continue
		}
		if err := f.Set(name, value); err != nil {
			return fmt.Errorf("%s=%q: %w", variable, value, err)
		}
	}
	return nil
}

// unixProxy is the proxy that whoever comes by a Unix socket is.
const unixProxy = "unix"

// Proxies reads the values of --proxy: addresses, networks, and "unix" for who
// comes by a Unix socket.
func Proxies(values []string) (networks []netip.Prefix, unix bool, err error) {
	for _, text := range values {
		if text == unixProxy {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if a, errAddr := netip.ParseAddr(text); errAddr == nil && !strings.Contains(text, "/") {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, false, fmt.Errorf("--proxy %q: neither an address nor a network like 10.0.0.0/8 nor unix", text)
		}
		networks = append(networks, p.Masked())
	}
	return networks, slices.Contains(values, unixProxy), nil
}
