// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// footprint is the memory of processes, in KiB.
type footprint struct {
	processes int
	rss       int64 // counts what is shared once for each process
	pss       int64 // counts it once
	anonymous int64 // of pss: no file's
	guest     int64 // memory of the guest that is backed
}

// measureMemory watches programs that wait, in a Keep of either kind.
func measureMemory(ctx context.Context, o options, r *results) error {
	for round := range o.Rounds {
		progress("memory, round %d of %d", round+1, o.Rounds)
		for _, program := range []struct{ name, file string }{{"wat", o.Files.Hold}, {"go", o.Files.HoldGo}} {
			for _, backend := range backends {
				f, err := idle(ctx, o.Files.Enarx, "run", "--backend", backend, program.file)
				if err != nil {
					return err
				}
				key := "memory/" + program.name + "/" + backend + "/"
				r.add(key+"processes", float64(f.processes))
				for name, kib := range map[string]int64{"rss": f.rss, "pss": f.pss, "anonymous": f.anonymous, "guest": f.guest} {
					r.add(key+name, float64(kib)/1024)
				}
			}
		}
	}
	return nil
}

var backends = []string{"nil", "kvm"}

// idle runs a program that says "ready" and then waits for the end of its input. It
// does so once before it counts: compiling takes memory that running does not.
func idle(ctx context.Context, argv ...string) (footprint, error) {
	var f footprint
	for range 2 {
		c, err := start(ctx, maxProgram, nil, argv...)
		if err != nil {
			return f, err
		}
		line, silent := c.stdout.ReadString('\n')
		if line == "ready\n" {
			time.Sleep(500 * time.Millisecond) // what comes just after belongs to it
			f, silent = treeFootprint(c.cmd.Process.Pid)
		}
		if _, err := c.end(); err != nil {
			return f, err
		}
		if silent != nil || line != "ready\n" {
			return f, c.failed(fmt.Errorf("it wrote %.40q (%w)", line, silent))
		}
	}
	return f, nil
}

func treeFootprint(root int) (footprint, error) {
	var sum footprint
	pids, err := tree(root)
	if err != nil {
		return sum, err
	}
	for _, pid := range pids {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return sum, err
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
		if err != nil {
			return sum, err
		}
		sum.processes++
		sum.rss += field(rollup, "Rss:")
		sum.pss += field(rollup, "Pss:")
		sum.anonymous += field(rollup, "Pss_Anon:")
		sum.guest += guestMemory(maps)
	}
	return sum, nil
}

// guestMemory returns how many KiB are backed of the mappings that are a guest's
// memory: those, of no file and writable, for which no swap was to be reserved. A
// Go program makes no others.
func guestMemory(smaps []byte) int64 {
	var sum, rss int64
	var anonymous bool
	for line := range bytes.Lines(smaps) {
		words := strings.Fields(string(line))
		if len(words) == 0 {
			continue
		}
		switch {
		case !strings.HasSuffix(words[0], ":"): // address permissions offset device inode [path]
			anonymous = len(words) == 5 && strings.HasPrefix(words[1], "rw")
		case words[0] == "Rss:" && len(words) > 1:
			rss, _ = strconv.ParseInt(words[1], 10, 64)
		case words[0] == "VmFlags:" && anonymous && slices.Contains(words, "nr"):
			sum += rss
		}
	}
	return sum
}

// field returns the number of a line that begins with name.
func field(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		if words := strings.Fields(string(line)); len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}

// tree returns the process and all its descendants.
func tree(root int) ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents := map[int]int{}
	for _, name := range names {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		// The second field is the name in parentheses and may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if err == nil && len(fields) > 1 && fields[0] != "Z" {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	members := []int{root}
	for i := 0; i < len(members); i++ {
		for pid, parent := range parents {
			if parent == members[i] {
				members = append(members, pid)
			}
		}
	}
	return members, nil
}
