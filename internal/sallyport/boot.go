// SPDX-License-Identifier: Apache-2.0

package sallyport

// Limits of the boot page's fields.
const (
	MaxDescriptors = 1024
	MaxHostCPUs    = 8192
	MaxStrings     = ArgsSize / 2 // an argument is a byte and its NUL at least, or the NUL alone
	HeapChunk      = 2 << 20      // the heap's unit
	MinHeap        = 32 << 20     // present at start
	MaxHeap        = SharedGPA - HeapGPA
	MinTSCKHz      = 500_000
	MaxTSCKHz      = 10_000_000
	minWall        = 1_577_836_800_000_000_000 // 2020; a sanity check, no proof of anything
	maxWall        = 1 << 62                   // 2116
)

// Flags of the boot page.
const (
	FlagTrace     = 1 << 0 // log the system calls that the shim refuses
	FlagSteadyTSC = 1 << 1 // the time stamp counters of all vCPUs agree
	flagsAll      = FlagTrace | FlagSteadyTSC
)

const (
	bootMagic   = 0x746f_6f42_7872_6145 // "EarxBoot" as it lies in memory
	bootVersion = 1

	offMagic       = 0x00 // u64
	offVersion     = 0x08 // u32
	offMaxCPUs     = 0x0c // u32
	offHeapLimit   = 0x10 // u64
	offTSCKHz      = 0x18 // u64
	offWall        = 0x20 // u64
	offExecGPA     = 0x28 // u64
	offExecSize    = 0x30 // u64
	offDescriptors = 0x38 // u32
	offArgc        = 0x3c // u32
	offEnvc        = 0x40 // u32
	offArgsLength  = 0x44 // u32
	offFlags       = 0x48 // u64
	offHostCPUs    = 0x50 // u32
	bootSize       = 0x58
)

// Boot is what the host tells a Keep at start, all of it untrusted: the shim
// uses it for nothing that a wrong value could make unsafe.
type Boot struct {
	MaxCPUs     uint32 // vCPUs that the host can run, at least 1
	HostCPUs    uint32 // processors that the program may count on, at least 1
	Descriptors uint32 // handles 0 to Descriptors-1 are open
	HeapLimit   uint64 // most bytes of heap ever, a multiple of HeapChunk
	TSCKHz      uint64 // ticks of the time stamp counter per millisecond
	Wall        uint64 // nanoseconds since 1970 when the Keep was made
	ExecGPA     uint64 // the program's ELF file
	ExecSize    uint64
	Argc, Envc  uint32 // strings at ArgsGPA, each ended by a NUL: first arguments, then environment
	ArgsLength  uint32 // bytes of them
	Flags       uint64
}

// EncodeBoot writes b to page, which is PageSize bytes. It checks nothing, so
// that tests can write nonsense.
func EncodeBoot(b *Boot, page []byte) {
	_ = page[PageSize-1]
	clear(page[:PageSize])
	Put64(page, offMagic, bootMagic)
	Put32(page, offVersion, bootVersion)
	Put32(page, offMaxCPUs, b.MaxCPUs)
	Put64(page, offHeapLimit, b.HeapLimit)
	Put64(page, offTSCKHz, b.TSCKHz)
	Put64(page, offWall, b.Wall)
	Put64(page, offExecGPA, b.ExecGPA)
	Put64(page, offExecSize, b.ExecSize)
	Put32(page, offDescriptors, b.Descriptors)
	Put32(page, offArgc, b.Argc)
	Put32(page, offEnvc, b.Envc)
	Put32(page, offArgsLength, b.ArgsLength)
	Put64(page, offFlags, b.Flags)
	Put32(page, offHostCPUs, b.HostCPUs)
}

// DecodeBoot reads the boot page, each field once, and checks every one.
func DecodeBoot(page []byte) (b Boot, ok bool) {
	if len(page) < bootSize || Get64(page, offMagic) != bootMagic || Get32(page, offVersion) != bootVersion {
		return Boot{}, false
	}
	b = Boot{
		MaxCPUs:     Get32(page, offMaxCPUs),
		HeapLimit:   Get64(page, offHeapLimit),
		TSCKHz:      Get64(page, offTSCKHz),
		Wall:        Get64(page, offWall),
		ExecGPA:     Get64(page, offExecGPA),
		ExecSize:    Get64(page, offExecSize),
		Descriptors: Get32(page, offDescriptors),
		Argc:        Get32(page, offArgc),
		Envc:        Get32(page, offEnvc),
		ArgsLength:  Get32(page, offArgsLength),
		Flags:       Get64(page, offFlags),
		HostCPUs:    Get32(page, offHostCPUs),
	}
	return b, b.machineOK() && b.programOK()
}

func (b *Boot) machineOK() bool {
	return b.MaxCPUs >= 1 && b.MaxCPUs <= MaxCPUs && b.HostCPUs >= 1 && b.HostCPUs <= MaxHostCPUs &&
		b.HeapLimit >= MinHeap && b.HeapLimit <= MaxHeap && b.HeapLimit%HeapChunk == 0 &&
		b.TSCKHz >= MinTSCKHz && b.TSCKHz <= MaxTSCKHz &&
		b.Wall >= minWall && b.Wall <= maxWall &&
		b.Flags&^flagsAll == 0
}

func (b *Boot) programOK() bool {
	return b.ExecGPA >= ExecGPA && b.ExecGPA%PageSize == 0 && b.ExecGPA < HeapGPA &&
		b.ExecSize > 0 && b.ExecSize <= HeapGPA-b.ExecGPA &&
		b.Descriptors <= MaxDescriptors &&
		b.Argc >= 1 && b.Argc <= MaxStrings && b.Envc <= MaxStrings &&
		b.ArgsLength <= ArgsSize && b.Argc+b.Envc <= b.ArgsLength
}

// CheckArgs reports whether blob, a private copy of the bytes at ArgsGPA, holds
// the strings that b announces: each ended by a NUL, and nothing after them.
func (b *Boot) CheckArgs(blob []byte) bool {
	if uint64(len(blob)) < uint64(b.ArgsLength) || b.ArgsLength == 0 {
		return false
	}
	blob = blob[:b.ArgsLength]
	count := uint32(0)
	for _, c := range blob {
		if c == 0 {
			count++
		}
	}
	return count == b.Argc+b.Envc && blob[len(blob)-1] == 0
}
