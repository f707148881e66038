// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// A Logging is the flags --log-level and --log-format.
type Logging struct{ Level, Format string }

// Define adds the flags.
func (l *Logging) Define(f *pflag.FlagSet) {
	f.StringVar(&l.Level, "log-level", "", "debug, info, warn or error (env RUST_LOG; default info)")
	f.StringVar(&l.Format, "log-format", "", "text or json (env RUST_LOG_JSON: json)")
}

// Logger returns the log: text or JSON, with upstream's variables for both. program
// is its target in RUST_LOG.
func (l *Logging) Logger(w io.Writer, program string) (*slog.Logger, error) {
	name := l.Level
	if name == "" {
		name = rustLevel(os.Getenv("RUST_LOG"), program)
	}
	var level slog.Level
	switch name {
	case "", "info":
	case "error", "warn", "debug":
		_ = level.UnmarshalText([]byte(name)) // these it knows
	case "trace":
		level = slog.LevelDebug - 4
	case "off":
		return slog.New(slog.DiscardHandler), nil
	default:
		return nil, fmt.Errorf("unknown log level %q: debug, info, warn or error", name)
	}
	format := l.Format
	if _, set := os.LookupEnv("RUST_LOG_JSON"); format == "" && set {
		format = "json"
	}
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("unknown log format %q: text or json", format)
}

// rustLevel returns the level that upstream's filter has for a program:
// directives separated by commas, each a level or target=level. Others are
// ignored, as they were.
func rustLevel(filter, program string) (level string) {
	named := false
	for directive := range strings.SplitSeq(strings.ToLower(filter), ",") {
		target, name, both := strings.Cut(strings.TrimSpace(directive), "=")
		if !both {
			target, name = "", target
		}
		known := slices.Contains([]string{"trace", "debug", "info", "warn", "error", "off"}, name)
		switch {
		case known && target == program:
			level, named = name, true
		case known && target == "" && !named:
			level = name
		}
	}
	return level
}
