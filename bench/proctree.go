// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc (USER_HZ), the same on every Linux that
// Go supports.
const tick = 10 * time.Millisecond

// process is what /proc tells about one.
type process struct {
	pid, parent int
	cpu         time.Duration
	peak        int64 // VmHWM, KiB: the most memory it ever had resident
}

func readProcess(pid int) (process, error) {
	p := process{pid: pid}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	// The second field is the name in parentheses and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return p, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	if fields[0] == "Z" {
		return p, fmt.Errorf("process %d has ended", pid)
	}
	p.parent, _ = strconv.Atoi(fields[1])
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	p.cpu = time.Duration(user+system) * tick
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, err
	}
	if _, rest, found := strings.Cut(string(status), "\nVmHWM:"); found {
		if words := strings.Fields(rest); len(words) > 0 {
			p.peak, _ = strconv.ParseInt(words[0], 10, 64)
		}
	}
	return p, nil
}

// tree returns the process and all its living descendants.
func tree(root int) []process {
	var all []process
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil { // else it ended meanwhile
			all = append(all, p)
		}
	}
	in := map[int]bool{root: true}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if in[p.parent] && !in[p.pid] {
				in[p.pid], grew = true, true
			}
		}
	}
	var members []process
	for _, p := range all {
		if in[p.pid] {
			members = append(members, p)
		}
	}
	return members
}

func treeCPU(root int) time.Duration {
	var sum time.Duration
	for _, p := range tree(root) {
		sum += p.cpu
	}
	return sum
}

// treePeak returns the sum of the peaks, in MiB, and the number of processes.
func treePeak(root int) (mib float64, processes int) {
	members := tree(root)
	for _, p := range members {
		mib += float64(p.peak) / 1024
	}
	return mib, len(members)
}
