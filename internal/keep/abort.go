// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"strings"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/sallyport"
)

// abortTexts are the codes of OpAbort in words.
var abortTexts = map[uint64]string{
	sallyport.AbortException: "exception in the shim",
	sallyport.AbortHost:      "the host gave an answer that no kernel gives",
	sallyport.AbortBroken:    "the host does not answer",
	sallyport.AbortBoot:      "the boot page is malformed",
	sallyport.AbortProgram:   "the arguments are malformed",
	sallyport.AbortMemory:    "the shim itself has not enough memory",
	sallyport.AbortInternal:  "a bug in the shim",
	sallyport.AbortRandom:    "the processor gives no random numbers",
}

// vectors are the names of exceptions: Intel SDM volume 3, table 6-1.
var vectors = map[uint64]string{
	0: "divide error", 1: "debug", 2: "NMI", 3: "breakpoint", 4: "overflow", 5: "bound range", 6: "invalid opcode",
	7: "no FPU", 8: "double fault", 10: "invalid TSS", 11: "segment not present", 12: "stack segment", 13: "general protection",
	14: "page fault", 16: "x87 error", 17: "alignment check", 18: "machine check", 19: "SIMD error", 29: "VMM communication",
}

// abort is the error of a shim that gave up. The report is a private copy, and
// only shown.
func (c *cpu) abort(code uint64) error {
	var data [sallyport.ReportSize]byte
	copy(data[:], sallyport.Data(c.block))
	var r sallyport.Report
	r.Decode(data[:])
	return abortError(code, &r)
}

func abortError(code uint64, r *sallyport.Report) error {
	if code > sallyport.AbortLoad {
		why := "unknown reason"
		if n := code - sallyport.AbortLoad; n < 1<<32 {
			why = sallyport.LoadError(n).Text()
		}
		return fmt.Errorf("%w: %s", ErrProgram, why)
	}
	text, ok := abortTexts[code]
	if !ok {
		text = fmt.Sprintf("unknown code %#x", code)
	}
	err := fmt.Errorf("%w: %s", ErrAbort, text)
	switch code {
	case sallyport.AbortException:
		err = fmt.Errorf("%w: %s", err, describeReport(r))
		return diag.Hint(err, "this is a bug in enarx; please report it with the line above")
	case sallyport.AbortInternal:
		return diag.Hint(err, "this is a bug in enarx; please report it")
	case sallyport.AbortMemory:
		return diag.Hint(err, "give the Keep more memory")
	}
	return err
}

func describeReport(r *sallyport.Report) string {
	name, ok := vectors[r.Vector]
	if !ok {
		name = "unexpected"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "vector %d (%s), error %#x, rip %#x, cr2 %#x, rsp %#x, rbp %#x, cs %#x, rflags %#x, vCPU %d",
		r.Vector, name, r.Error, r.RIP, r.CR2, r.RSP, r.RBP, r.CS, r.RFLAGS, r.Index)
	for i, addr := range r.Trace {
		if addr == 0 {
			break
		}
		if i == 0 {
			b.WriteString(", trace")
		}
		fmt.Fprintf(&b, " %#x", addr)
	}
	return b.String()
}
