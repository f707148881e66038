// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// logging is the global logging options. It concerns the runtime's log: the
// host's part of it here, the Keep's part through the hand-over.
type logging struct {
	filter string
	target logTarget
}

// logTarget is the value of --log-target.
type logTarget string

func (t *logTarget) String() string { return "stderr" }
func (t *logTarget) Type() string   { return "target" }

func (t *logTarget) Set(s string) error {
	switch s := strings.ToLower(s); s {
	case "stderr", "stdout":
		*t = logTarget(s)
		return nil
	}
	return errors.New("unknown log target")
}

// levels is upstream's names, which are also those of the hand-over.
var levels = map[string]slog.Level{
	"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo,
	"debug": slog.LevelDebug, "trace": slog.LevelDebug - 4,
}

const levelOff = slog.LevelError + 4

// parseFilter reads a filter in the style of upstream's: directives separated
// by commas, each `level`, `target` or `target=level`, bad ones ignored. host
// is the level for what this program logs, keep the name of the most talkative
// level anywhere, which goes to the Keep; "" when there is none.
func parseFilter(filter string) (host slog.Level, keep string) {
	host = levelOff
	most, set := levelOff, false
	for directive := range strings.SplitSeq(strings.ToLower(filter), ",") {
		target, name, both := strings.Cut(strings.TrimSpace(directive), "=")
		_, isLevel := levels[target]
		if !both && (isLevel || target == "off") {
			target, name = "", target
		} else if !both && target != "" {
			name = "trace" // a target alone means all it has to say
		}
		level, ok := levels[name]
		if name == "off" {
			level, ok = levelOff, true
		}
		if !ok || (target != "" && target != "enarx" && !strings.HasPrefix(target, "enarx_") && !strings.HasPrefix(target, "enarx::")) {
			continue
		}
		if target == "enarx" || (target == "" && !set) {
			host, set = level, target == "enarx"
		}
		if level < most {
			most, keep = level, name
		}
	}
	return host, keep
}

// open returns the host's log and the level for the Keep's.
func (l *logging) open(cmd *cobra.Command) (log *slog.Logger, keep string) {
	filter := l.filter
	if filter == "" {
		filter = os.Getenv("ENARX_LOG")
	}
	if filter == "" {
		return slog.New(slog.DiscardHandler), ""
	}
	var w io.Writer = cmd.ErrOrStderr()
	if l.target == "stdout" {
		w = cmd.OutOrStdout()
	}
	host, keep := parseFilter(filter)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: host})), keep
}
