// SPDX-License-Identifier: Apache-2.0

package sallyport

// Report is what a Keep says when it aborts. Addresses in it are the shim's
// own, which are in the image that everybody can read.
type Report struct {
	Vector, Error uint64 // of the exception, with AbortException
	RIP, CS       uint64
	RFLAGS, RSP   uint64
	CR2, RBP      uint64
	Index         uint64     // of the vCPU
	Trace         [16]uint64 // return addresses, innermost first, 0 after the last
}

// ReportSize is the length of an encoded Report.
const ReportSize = (9 + 16) * 8

// Encode writes r to the first ReportSize bytes of data.
func (r *Report) Encode(data []byte) bool {
	if len(data) < ReportSize {
		return false
	}
	Put64(data, 0x00, r.Vector)
	Put64(data, 0x08, r.Error)
	Put64(data, 0x10, r.RIP)
	Put64(data, 0x18, r.CS)
	Put64(data, 0x20, r.RFLAGS)
	Put64(data, 0x28, r.RSP)
	Put64(data, 0x30, r.CR2)
	Put64(data, 0x38, r.RBP)
	Put64(data, 0x40, r.Index)
	for i, addr := range r.Trace {
		Put64(data, 0x48+8*i, addr)
	}
	return true
}

// Decode reads r from the first ReportSize bytes of data. Every value is
// possible: a report is shown, never acted on.
func (r *Report) Decode(data []byte) bool {
	if len(data) < ReportSize {
		return false
	}
	r.Vector, r.Error = Get64(data, 0x00), Get64(data, 0x08)
	r.RIP, r.CS = Get64(data, 0x10), Get64(data, 0x18)
	r.RFLAGS, r.RSP = Get64(data, 0x20), Get64(data, 0x28)
	r.CR2, r.RBP = Get64(data, 0x30), Get64(data, 0x38)
	r.Index = Get64(data, 0x40)
	for i := range r.Trace {
		r.Trace[i] = Get64(data, 0x48+8*i)
	}
	return true
}
