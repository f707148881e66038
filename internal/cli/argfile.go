// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/diag"
)

// maxArgFile bounds a file of flags.
const maxArgFile = 1 << 20

// TakesArgFile marks, in its Annotations, a subcommand that takes @FILE too, for
// those of the file's flags that it has. Others may take files of other kinds.
const TakesArgFile = "argfile"

// Expand puts the flags of each @FILE among args in its place. Its keys are the
// long names of root's flags.
func Expand(root *cobra.Command, args *[]string) error {
	target := root
	if len(*args) > 0 {
		i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == (*args)[0] })
		if i >= 0 {
			target = root.Commands()[i]
		}
	}
	if target != root && target.Annotations[TakesArgFile] == "" {
		return nil
	}
	var all []string
	for _, arg := range *args {
		name, isFile := strings.CutPrefix(arg, "@")
		if !isFile {
			all = append(all, arg)
			continue
		}
		flags, err := ReadArgFile(name, root)
		if err != nil {
			return err
		}
		for _, f := range flags {
			long, _, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			if target == root || target.Flags().Lookup(long) != nil {
				all = append(all, f)
			}
		}
	}
	*args = all
	return nil
}

// ReadArgFile returns the flags of root that a file stands for.
func ReadArgFile(name string, root *cobra.Command) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxArgFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxArgFile {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxArgFile)
	}
	flags, err := parseArgFile(text, root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return flags, nil
}

// parseArgFile returns the flags that a TOML table of long flag names stands
// for, by upstream's rules: a string or number is the flag's value, true is a
// flag without one, false is no flag, and an array is the flag repeated.
func parseArgFile(text []byte, root *cobra.Command) ([]string, error) {
	var table map[string]any
	if err := toml.Unmarshal(text, &table); err != nil {
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := e.Position()
			return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
		}
		return nil, err
	}
	var flags []string
	for _, key := range slices.Sorted(maps.Keys(table)) {
		flag := root.Flags().Lookup(key)
		if flag == nil {
			return nil, diag.Hint(fmt.Errorf("unknown key %q", key), "keys are the long names of flags: see `%s --help`", root.Name())
		}
		values, many := table[key].([]any)
		if !many {
			values = []any{table[key]}
		}
		for _, value := range values {
			args, err := argument(key, value)
			if value == true && flag.NoOptDefVal == "" {
				err = errors.New("a value is wanted") // the flag after it would be taken for that
			}
			if err != nil {
				return nil, fmt.Errorf("key %q: %w", key, err)
			}
			flags = append(flags, args...)
		}
	}
	return flags, nil
}

// argument returns the flag of one value: one, or none for false.
func argument(key string, value any) ([]string, error) {
	text := ""
	switch v := value.(type) {
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		if !v {
			return nil, nil
		}
		return []string{"--" + key}, nil
	default:
		return nil, errors.New("a string, number, boolean, or an array of these is wanted")
	}
	return []string{"--" + key + "=" + text}, nil
}
