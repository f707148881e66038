// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fact is a line on the machine and the programs.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func facts(ctx context.Context, b *bench) []fact {
	list := []fact{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"processor", fmt.Sprintf("%s, %d in use", field("/proc/cpuinfo", "model name"), runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", content("/proc/sys/kernel/osrelease")},
		{"system", strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`)},
	}
	for _, r := range b.runners {
		if r.name != enarx && r.name != wasmtime && r.name != node {
			continue
		}
		value := r.why
		if value == "" {
			value = version(ctx, r.prefix[0], "--version")
		}
		if r.name == enarx && r.why == "" {
			value += ", sha256 " + digest(r.prefix[0])
		}
		list = append(list, fact{r.name, value})
	}
	return append(list,
		fact{"go", version(ctx, "go", "version")},
		fact{"clang", version(ctx, "clang", "--version")},
		fact{"rounds", strconv.Itoa(b.rounds) + map[bool]string{true: ", quick: kernels a fifth as long"}[b.quick]},
		fact{"load average before", content("/proc/loadavg")},
	)
}

func content(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(text))
}

// field returns the value of the first line "name: value" or "name=value".
func field(file, name string) string {
	for line := range strings.Lines(content(file)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return "unknown: " + file + " does not say"
}

func version(ctx context.Context, program, flag string) string {
	out, err := exec.CommandContext(ctx, program, flag).Output()
	if err != nil {
		return filepath.Base(program) + " " + flag + ": " + err.Error()
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

// digest reads the file piece by piece: see rssFloor.
func digest(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]) + "..."
}

// usage is how long the processors worked, in all and for this program and its
// children.
type usage struct {
	at   time.Time
	all  time.Duration
	ours time.Duration
}

func readUsage() usage {
	u := usage{at: time.Now()}
	first, _, _ := strings.Cut(content("/proc/stat"), "\n")
	for i, text := range strings.Fields(strings.TrimPrefix(first, "cpu")) {
		n, err := strconv.ParseInt(text, 10, 64)
		if idle := i == 3 || i == 4; err == nil && !idle && i < 8 { // then come parts of the first two
			u.all += time.Duration(n) * tick
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			u.ours += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	return u
}

// elsewhere is the share of the machine that others used since then, time that a
// hypervisor gave away included: it says how far the numbers can be trusted.
func (u usage) elsewhere() float64 {
	now := readUsage()
	others := (now.all - u.all) - (now.ours - u.ours)
	capacity := now.at.Sub(u.at).Seconds() * float64(runtime.NumCPU())
	return max(0, others.Seconds()/capacity)
}

func factTable(list []fact) *table {
	t := &table{title: "Machine and programs", head: []string{"what", "value"}, words: 2}
	for _, f := range list {
		t.add(f.Name, f.Value)
	}
	return t
}
