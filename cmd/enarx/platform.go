// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/loader"
	"enarx.dev/enarx/internal/platform"
	"enarx.dev/enarx/internal/version"
)

func platformCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "platform",
		Short: "Look at what this machine can do, and prepare it",
		Example: "  enarx platform info\n" +
			"  enarx platform snp update",
	})
	var asJSON bool
	info := &cobra.Command{
		Use:   "info",
		Short: "Say which backends work here, and what the others lack",
		Example: "  enarx platform info\n" +
			"  enarx platform info --json",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			backends := backendInfo(platform.Host())
			if asJSON {
				return printJSON(cmd.OutOrStdout(), backends)
			}
			return printText(cmd.OutOrStdout(), backends, cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout))
		},
	}
	info.Flags().BoolVarP(&asJSON, "json", "j", false, "print JSON")
	cmd.AddCommand(info, sgxCommand(), snpCommand())
	return cmd
}

// backendInfo is the machine's probes with, for each backend, what the loader
// says of it: a machine that has everything is of no use to a build that
// cannot make that Keep.
func backendInfo(m *platform.Machine) []platform.Backend {
	backends := append(m.Backends(), platform.Backend{Name: string(loader.Nil), Probes: sandbox()})
	for i, b := range backends {
		if why := loader.Why(loader.Backend(b.Name)); why != "" {
			backends[i].Probes = append(b.Probes, platform.Probe{Name: "Keep can be started", Info: why})
		}
	}
	return backends
}

// sandbox is the layers that confine a nil Keep. They are no conditions: a
// nil Keep runs without them, less confined.
func sandbox() (probes []platform.Probe) {
	for _, l := range confine.Probe() {
		p := platform.Probe{Name: "Sandbox: " + l.Name, Pass: l.OK, Info: l.Info}
		if l.Missing != "" {
			p.Help = "nil Keeps are less confined here: " + l.Missing
		}
		probes = append(probes, p)
	}
	return probes
}

func usable(b platform.Backend) bool {
	return b.Name == string(loader.Nil) || platform.Passed(b.Probes) && platform.Passed(b.Config)
}

func printText(w io.Writer, backends []platform.Backend, color bool) error {
	var out strings.Builder
	mark := func(ok bool) string {
		m, code := "✗", "31"
		if ok {
			m, code = "✔", "32"
		}
		if color {
			m = "\x1b[" + code + "m" + m + "\x1b[0m"
		}
		return m
	}
	fmt.Fprintf(&out, "Enarx version %s\nSystem Info: %s\n", version.Version, platform.System())
	for _, b := range backends {
		fmt.Fprintf(&out, "%s Backend: %s\n", mark(usable(b)), b.Name)
		var help []string
		probes := append(b.Probes[:len(b.Probes):len(b.Probes)], b.Config...)
		walk(probes, 0, func(p platform.Probe, depth int) {
			line := p.Name
			if p.Info != "" {
				line += ": " + p.Info
			}
			// Upstream shows depth by one space each, after the mark.
			fmt.Fprintf(&out, "  %s %s%s\n", mark(p.Pass), strings.Repeat(" ", depth), line)
			if p.Help != "" && !slices.Contains(help, p.Help) {
				help = append(help, p.Help)
			}
		})
		for _, text := range help {
			fmt.Fprintf(&out, "\n  %s\n\n", text)
		}
	}
	out.WriteString("\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func walk(probes []platform.Probe, depth int, visit func(p platform.Probe, depth int)) {
	for _, p := range probes {
		visit(p, depth)
		walk(p.Sub, depth+1, visit)
	}
}

// The JSON is upstream's shape, with the config probes added. Tools read it
// (spec/enarx.md 1.8), so fields are only ever added.
type (
	jsonInfo struct {
		Version    string        `json:"version"`
		SystemInfo string        `json:"system_info"`
		Backends   []jsonBackend `json:"backends"`
	}
	jsonBackend struct {
		Backend string      `json:"backend"`
		Usable  bool        `json:"usable"`
		Data    []jsonDatum `json:"data"`
		Config  []jsonDatum `json:"config"`
	}
	jsonDatum struct {
		Data []jsonDatum `json:"data"`
		Info string      `json:"info"` // "null" when there is none, as upstream
		Mesg string      `json:"mesg"` // likewise
		Name string      `json:"name"`
		Pass bool        `json:"pass"`
	}
)

func printJSON(w io.Writer, backends []platform.Backend) error {
	info := jsonInfo{Version: version.Version, SystemInfo: platform.System()}
	for _, b := range backends {
		info.Backends = append(info.Backends, jsonBackend{
			Backend: b.Name, Usable: usable(b), Data: jsonData(b.Probes), Config: jsonData(b.Config)})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(info)
}

func jsonData(probes []platform.Probe) []jsonDatum {
	orNull := func(s string) string {
		if s == "" {
			return "null"
		}
		return s
	}
	data := []jsonDatum{}
	for _, p := range probes {
		data = append(data, jsonDatum{
			Data: jsonData(p.Sub), Info: orNull(p.Info), Mesg: orNull(p.Help), Name: p.Name, Pass: p.Pass})
	}
	return data
}
