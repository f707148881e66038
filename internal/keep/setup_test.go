// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/sallyport"
)

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no memory":     func(c *Config) { c.Memory = 0 },
		"odd memory":    func(c *Config) { c.Memory++ },
		"too much":      func(c *Config) { c.Memory = sallyport.MaxHeap + sallyport.HeapChunk },
		"vCPUs":         func(c *Config) { c.MaxCPUs = sallyport.MaxCPUs + 1 },
		"fewer vCPUs":   func(c *Config) { c.MaxCPUs = -1 },
		"files":         func(c *Config) { c.Files = make([]*os.File, sallyport.MaxDescriptors+1) },
		"region":        func(c *Config) { c.Regions[0].GPA++ },
		"empty region":  func(c *Config) { c.Regions[0].Size = 0 },
		"far region":    func(c *Config) { c.Regions[0].GPA = ^uint64(0xfff) },
		"in the heap":   func(c *Config) { c.Regions[0].GPA = sallyport.HeapGPA },
		"too much data": func(c *Config) { c.Regions[0].Size = 0x1000 },
		"data and file": func(c *Config) { c.Regions[0].File = os.Stdin },
		"odd offset":    func(c *Config) { c.Regions[0].Offset = 1 },
	} {
		cfg := guestConfig(nil)
		change(&cfg)
		if _, err := Start(t.Context(), cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each stage fails with its own error and the cause, and leaves nothing.
func TestFailure(t *testing.T) {
	boom := errors.New("boom")
	for stage, want := range map[string]error{
		"open": ErrOpen, "vm": ErrSetup, "memory": ErrMemory, "vcpu": ErrSetup, "boot": ErrSetup, "proxy": ErrSetup,
	} {
		t.Run(stage, func(t *testing.T) {
			if stage != "open" {
				need.KVM(t)
			}
			before := resources(t)
			cfg := guestConfig(nil)
			cfg.testOnlyFail = func(s string) error {
				if s == stage {
					return boom
				}
				return nil
			}
			if _, err := Start(t.Context(), cfg); !errors.Is(err, want) || !errors.Is(err, boom) {
				t.Errorf("%v, want %v: boom", err, want)
			}
			if after := resources(t); after.fds != before.fds {
				t.Errorf("%+v, before %+v", after, before)
			}
		})
	}
	for name, change := range map[string]func(*Config){
		"boot page": func(c *Config) { c.Regions[0].GPA = 0x100000 },
		"NUL":       func(c *Config) { c.Args = []string{"a\x00b"} },
		"arguments": func(c *Config) { c.Args = make([]string, sallyport.ArgsSize+1) },
	} {
		t.Run(name, func(t *testing.T) {
			need.KVM(t)
			cfg := guestConfig(nil)
			change(&cfg)
			if _, err := Start(t.Context(), cfg); !errors.Is(err, ErrSetup) || !errors.Is(err, ErrConfig) {
				t.Error(err)
			}
		})
	}
}

// On a machine whose KVM runs no Keep, Start says so.
func TestOpenHere(t *testing.T) {
	if kvm.Probe(t.Context()) == nil {
		t.Skip("skipped: this machine's KVM works")
	}
	if _, err := Start(t.Context(), guestConfig(nil)); !errors.Is(err, ErrOpen) {
		t.Error(err)
	}
}

type usage struct{ fds, threads, maps int }

func resources(t *testing.T) (u usage) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range maps {
		if c == '\n' {
			u.maps++
		}
	}
	u.fds, u.threads = len(fds), len(threads)
	return u
}

// Two hundred Keeps, one after the other, each with two vCPUs.
func TestLeaveNothing(t *testing.T) {
	script := []line{{opCall, sallyport.OpSpawn}, {opWait, testWords, 1}, {opCall, sallyport.OpExit, 5}}
	other := []line{{opAdd, testWords, 1}, {opSpin}}
	var before usage
	for i := range 210 {
		if i == 10 {
			before = resources(t) // Go's own threads exist by now
		}
		g := start(t, guestConfig(script, other))
		if code, err := g.ends(); code != 5 || err != nil {
			t.Fatal(code, err)
		}
	}
	after := resources(t)
	t.Logf("before %+v, after %+v", before, after)
	if after.fds > before.fds || after.threads > before.threads+3 || after.maps > before.maps+10 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
