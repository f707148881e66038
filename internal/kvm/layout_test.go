// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// Sizes of structures as a C program prints them with the kernel's headers,
// and the requests that carry a size.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
		request   uint32
	}{
		{"kvm_userspace_memory_region", unsafe.Sizeof(memoryRegion{}), 0x20, ioSetUserMemoryRegion},
		{"kvm_regs", unsafe.Sizeof(Regs{}), 0x90, ioGetRegs},
		{"kvm_regs", unsafe.Sizeof(Regs{}), 0x90, ioSetRegs},
		{"kvm_sregs", unsafe.Sizeof(Sregs{}), 0x138, ioGetSregs},
		{"kvm_sregs", unsafe.Sizeof(Sregs{}), 0x138, ioSetSregs},
		{"kvm_xcrs", unsafe.Sizeof(xcrs{}), 0x188, ioSetXCRs},
		{"kvm_enable_cap", unsafe.Sizeof(enableCap{}), 0x68, ioEnableCap},
		{"kvm_device_attr", unsafe.Sizeof(deviceAttr{}), 0x18, ioGetDeviceAttr},
		{"kvm_device_attr", unsafe.Sizeof(deviceAttr{}), 0x18, ioSetDeviceAttr},
		{"kvm_device_attr", unsafe.Sizeof(deviceAttr{}), 0x18, ioHasDeviceAttr},
		{"kvm_interrupt", unsafe.Sizeof(uint32(0)), 4, ioInterrupt},
		{"kvm_segment", unsafe.Sizeof(Segment{}), 0x18, 0},
		{"kvm_dtable", unsafe.Sizeof(Table{}), 0x10, 0},
		{"kvm_cpuid_entry2", unsafe.Sizeof(CPUIDEntry{}), 40, 0},
		{"kvm_msr_entry", unsafe.Sizeof(MSR{}), 16, 0},
		{"head of kvm_cpuid2", unsafe.Offsetof(cpuid2{}.Entries), 8, ioSetCPUID2},
		{"head of kvm_cpuid2", unsafe.Offsetof(cpuid2{}.Entries), 8, ioGetSupportedCPUID},
		{"head of kvm_msrs", unsafe.Offsetof(msrs{}.Entries), 8, ioSetMSRs},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %#x bytes, want %#x", tt.name, tt.got, tt.want)
		}
		if size := uintptr(tt.request >> 16 & 0x3fff); tt.request != 0 && size != tt.want {
			t.Errorf("%s: request %#x is for %#x bytes, want %#x", tt.name, tt.request, size, tt.want)
		}
	}
}

func TestOffsets(t *testing.T) {
	for name, tt := range map[string]struct{ got, want uintptr }{
		"kvm_regs.rsp":                          {unsafe.Offsetof(Regs{}.RSP), 0x30},
		"kvm_regs.r8":                           {unsafe.Offsetof(Regs{}.R8), 0x40},
		"kvm_regs.rip":                          {unsafe.Offsetof(Regs{}.RIP), 0x80},
		"kvm_segment.selector":                  {unsafe.Offsetof(Segment{}.Selector), 0xc},
		"kvm_segment.type":                      {unsafe.Offsetof(Segment{}.Type), 0xe},
		"kvm_segment.l":                         {unsafe.Offsetof(Segment{}.L), 0x13},
		"kvm_segment.unusable":                  {unsafe.Offsetof(Segment{}.Unusable), 0x16},
		"kvm_sregs.tr":                          {unsafe.Offsetof(Sregs{}.TR), 0x90},
		"kvm_sregs.gdt":                         {unsafe.Offsetof(Sregs{}.GDT), 0xc0},
		"kvm_sregs.cr0":                         {unsafe.Offsetof(Sregs{}.CR0), 0xe0},
		"kvm_sregs.efer":                        {unsafe.Offsetof(Sregs{}.EFER), 0x108},
		"kvm_sregs.interrupt_bitmap":            {unsafe.Offsetof(Sregs{}.InterruptBitmap), 0x118},
		"kvm_cpuid_entry2.eax":                  {unsafe.Offsetof(CPUIDEntry{}.EAX), 0xc},
		"kvm_xcrs.xcrs":                         {unsafe.Offsetof(xcrs{}.XCRs), 8},
		"kvm_device_attr.addr":                  {unsafe.Offsetof(deviceAttr{}.Addr), 0x10},
		"kvm_enable_cap.args":                   {unsafe.Offsetof(enableCap{}.Args), 8},
		"kvm_run.exit_reason":                   {unsafe.Offsetof(runState{}.Reason), 8},
		"kvm_run.ready_for_interrupt_injection": {unsafe.Offsetof(runState{}.Ready), 0xc},
		"kvm_run.if_flag":                       {unsafe.Offsetof(runState{}.IfFlag), 0xd},
		"kvm_run.apic_base":                     {unsafe.Offsetof(runState{}.APICBase), 0x18},
		"kvm_run, union":                        {unsafe.Offsetof(runState{}.Union), 0x20},
		"end of kvm_run's union":                {unsafe.Sizeof(runState{}), 0x120},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is at %#x, want %#x", name, tt.got, tt.want)
		}
	}
}

// Request numbers as a C program prints them.
func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct{ got, want uint32 }{
		"KVM_GET_API_VERSION":        {ioGetAPIVersion, 0x0000ae00},
		"KVM_CREATE_VM":              {ioCreateVM, 0x0000ae01},
		"KVM_CHECK_EXTENSION":        {ioCheckExtension, 0x0000ae03},
		"KVM_GET_VCPU_MMAP_SIZE":     {ioGetVCPUMmapSize, 0x0000ae04},
		"KVM_GET_SUPPORTED_CPUID":    {ioGetSupportedCPUID, 0xc008ae05},
		"KVM_CREATE_VCPU":            {ioCreateVCPU, 0x0000ae41},
		"KVM_SET_USER_MEMORY_REGION": {ioSetUserMemoryRegion, 0x4020ae46},
		"KVM_SET_TSS_ADDR":           {ioSetTSSAddr, 0x0000ae47},
		"KVM_RUN":                    {ioRun, 0x0000ae80},
		"KVM_GET_REGS":               {ioGetRegs, 0x8090ae81},
		"KVM_SET_REGS":               {ioSetRegs, 0x4090ae82},
		"KVM_GET_SREGS":              {ioGetSregs, 0x8138ae83},
		"KVM_SET_SREGS":              {ioSetSregs, 0x4138ae84},
		"KVM_INTERRUPT":              {ioInterrupt, 0x4004ae86},
		"KVM_SET_MSRS":               {ioSetMSRs, 0x4008ae89},
		"KVM_SET_CPUID2":             {ioSetCPUID2, 0x4008ae90},
		"KVM_GET_TSC_KHZ":            {ioGetTSCKHz, 0x0000aea3},
		"KVM_ENABLE_CAP":             {ioEnableCap, 0x4068aea3},
		"KVM_SET_XCRS":               {ioSetXCRs, 0x4188aea7},
		"KVM_SET_DEVICE_ATTR":        {ioSetDeviceAttr, 0x4018aee1},
		"KVM_GET_DEVICE_ATTR":        {ioGetDeviceAttr, 0x4018aee2},
		"KVM_HAS_DEVICE_ATTR":        {ioHasDeviceAttr, 0x4018aee3},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %#08x, want %#08x", name, tt.got, tt.want)
		}
	}
}

// The plain numbers of the generated file against the kernel's headers, whose
// names are the comments.
func TestHeaders(t *testing.T) {
	var headers string
	for _, name := range []string{"/usr/include/linux/kvm.h", "/usr/include/x86_64-linux-gnu/asm/kvm.h", "/usr/include/asm/kvm.h"} {
		text, _ := os.ReadFile(name)
		headers += string(text)
	}
	if headers == "" {
		t.Skip("skipped: no kernel headers here: install linux-libc-dev")
	}
	generated, err := os.ReadFile("zconst_linux_amd64.go")
	if os.IsNotExist(err) {
		t.Skip("skipped: runs without its source")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, plain, _ := strings.Cut(string(generated), "Capabilities")
	checked := 0
	for _, m := range regexp.MustCompile(`= (\d+) +// (KVM_\w+)`).FindAllStringSubmatch(plain, -1) {
		def := regexp.MustCompile(`#define\s+` + m[2] + `\s+(?:\(1U?L?\s*<<\s*(\d+)\)|(?:BIT\((\d+)\))|(\d+))`).FindStringSubmatch(headers)
		if def == nil {
			continue // headers older than ours
		}
		want := def[3]
		if shift := def[1] + def[2]; shift != "" {
			n, _ := strconv.Atoi(shift)
			want = strconv.Itoa(1 << n)
		}
		if m[1] != want {
			t.Errorf("%s is %s, the headers have %s", m[2], m[1], want)
		}
		checked++
	}
	if checked < 15 {
		t.Errorf("only %d numbers found in the headers", checked)
	}
}
