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
	put64(page, offMagic, bootMagic)
	put32(page, offVersion, bootVersion)
	put32(page, offMaxCPUs, b.MaxCPUs)
	put64(page, offHeapLimit, b.HeapLimit)
	put64(page, offTSCKHz, b.TSCKHz)
	put64(page, offWall, b.Wall)
	put64(page, offExecGPA, b.ExecGPA)
	put64(page, offExecSize, b.ExecSize)
	put32(page, offDescriptors, b.Descriptors)
	put32(page, offArgc, b.Argc)
	put32(page, offEnvc, b.Envc)
	put32(page, offArgsLength, b.ArgsLength)
	put64(page, offFlags, b.Flags)
	put32(page, offHostCPUs, b.HostCPUs)
}

// DecodeBoot reads the boot page, each field once, and checks every one.
func DecodeBoot(page []byte) (b Boot, ok bool) {
	if len(page) < bootSize || get64(page, offMagic) != bootMagic || get32(page, offVersion) != bootVersion {
		return Boot{}, false
	}
	b = Boot{
		MaxCPUs:     get32(page, offMaxCPUs),
		HeapLimit:   get64(page, offHeapLimit),
		TSCKHz:      get64(page, offTSCKHz),
		Wall:        get64(page, offWall),
		ExecGPA:     get64(page, offExecGPA),
		ExecSize:    get64(page, offExecSize),
		Descriptors: get32(page, offDescriptors),
		Argc:        get32(page, offArgc),
		Envc:        get32(page, offEnvc),
		ArgsLength:  get32(page, offArgsLength),
		Flags:       get64(page, offFlags),
		HostCPUs:    get32(page, offHostCPUs),
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

func put32(p []byte, off int, v uint32) {
	p = p[off : off+4]
	p[0], p[1], p[2], p[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

func put64(p []byte, off int, v uint64) {
	put32(p, off, uint32(v))
	put32(p, off+4, uint32(v>>32))
}

func get32(p []byte, off int) uint32 {
	p = p[off : off+4]
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
}

func get64(p []byte, off int) uint64 {
	return uint64(get32(p, off)) | uint64(get32(p, off+4))<<32
}
