// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

var packages = []string{module + "internal/shim/kvm", module + "internal/shim/mem"}

func TestEscapes(t *testing.T) {
	got := escapes([]byte("mem/a.go:3:6: can inline f\nmem/a.go:9:2: moved to heap: x\nmem/a.go:9:9: &y escapes to heap\nmem/a.go:1:1: z does not escape\n"))
	if len(got) != 2 || !strings.HasSuffix(got[0], "moved to heap: x") || !strings.HasSuffix(got[1], "&y escapes to heap") {
		t.Errorf("%q", got)
	}
}

// TestInspect shows the check one instruction at a time.
func TestInspect(t *testing.T) {
	for line, want := range map[string]string{
		"  a.go:1\t0xffffffff80001000\te8fb000000\tCALL runtime.memmove(SB)":                                  "",
		"  a.go:2\t0xffffffff80001005\te8fb000000\tCALL main.trap(SB)":                                        "",
		"  a.go:3\t0xffffffff80001005\te8fb000000\tCALL enarx.dev/enarx/internal/shim/mem.(*Space).Fault(SB)": "",
		"  a.go:4\t0xffffffff80001005\tffd0\tCALL AX":                                                         "",
		"  a.go:5\t0xffffffff80001005\teb00\tJMP 0xffffffff80001020":                                          "",
		"  a.go:6\t0xffffffff80001005\te8fb000000\tCALL runtime.newobject(SB)":                                "calls runtime.newobject",
		"  a.go:7\t0xffffffff80001005\te9fb000000\tJMP runtime.gopanic(SB)":                                   "calls runtime.gopanic",
		"  a.go:8\t0xffffffff80001005\te8fb000000\tCALL enarx.dev/enarx/internal/loader.Start(SB)":            "calls enarx.dev/enarx/internal/loader.Start",
		"  a.go:9\t0xffffffff80001005\tc5fe6f06\tVMOVDQU 0(SI), Y0":                                           "uses AVX",
		"  a.go:10\t0xffffffff80001005\t62f17c48\tVMOVUPS Z0, 0(AX)":                                          "uses AVX",
		"TEXT enarx.dev/enarx/internal/shim/mem.init(SB) a.go":                                                "initialisation code",
		"TEXT enarx.dev/enarx/internal/shim/mem.init.0(SB) a.go":                                              "initialisation code",
		"TEXT enarx.dev/enarx/internal/shim/mem.(*frames).init(SB) a.go":                                      "",
	} {
		got := strings.Join(inspect([]byte(line+"\n"), packages), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}
