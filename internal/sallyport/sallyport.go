// SPDX-License-Identifier: Apache-2.0

// Package sallyport is the small gate between a Keep and its host: the layout
// of the block of shared memory that carries one request and its reply, and of
// the page with which the host starts a Keep. Both sides import it, the shim
// with no Go runtime below it, so nothing here allocates. Neither side trusts
// the other: what comes from across is read once, checked, and only then used.
// The protocol is specified in docs/sallyport.md.
package sallyport

// PageSize is the size of a page in bytes.
const PageSize = 4096

// Guest-physical addresses on which host and shim agree.
const (
	BootGPA   = 0x3000         // the page of EncodeBoot
	ArgsGPA   = 0x4000         // arguments and environment of the program
	ArgsSize  = 0x4000         // bytes for them
	ExecGPA   = 0x200_0000     // lowest address of the program's ELF file
	HeapGPA   = 0x1_0000_0000  // first byte of the heap, which grows upwards
	SharedGPA = 0x40_0000_0000 // slot of vCPU 0; those of the others follow
)

// Pages of one vCPU's shared slot.
const (
	SlotSize  = 24 * PageSize
	GHCBPage  = 0  // on SEV-SNP
	BlockPage = 1  // first page of the block
	ParkPage  = 18 // starts with the park word
)

// ExitPort is the I/O port to which a vCPU writes the number of its block, 32 bits,
// to have the host serve it.
const ExitPort = 0xe0

// MaxCPUs is the most vCPUs that a Keep has, one for each thread of the program.
const MaxCPUs = 1024

// The block: a header, then data.
const (
	BlockSize = 17 * PageSize

	offSeq      = 0x00 // u64, guest
	offNr       = 0x08 // u64, guest
	offArgs     = 0x10 // 6 × u64, guest
	offReplySeq = 0x40 // u64, host
	offRet      = 0x48 // i64, host

	DataOffset = 0x100
	DataSize   = BlockSize - DataOffset
)

// The data of a forwarded call: an address record, then payload. Both stand at
// fixed offsets, so a request carries lengths and never an offset.
const (
	AddrLength    = 0x00 // u32: length of the socket address that follows, 0 for none
	AddrBytes     = 0x08 // the address, at most AddrMax bytes
	AddrMax       = 28   // struct sockaddr_in6
	PayloadOffset = 0x40
	PayloadSize   = DataSize - PayloadOffset
)

// Operations that are not system calls. A number below OpFirst is that of a
// forwarded Linux call.
const (
	OpFirst   = 0x10000
	OpSpawn   = 0x10000 + iota - 1 // start one more vCPU: its thread waits in the shim's private queue
	OpPark                         // a0: expected park word, a1: most nanoseconds or Forever
	OpUnpark                       // a0: index of the vCPU whose park word changed
	OpKick                         // a0: index of the vCPU to bring into the shim
	OpExit                         // a0: status, a1: signal or 0; does not return
	OpAbort                        // a0: code; data: a Report; does not return
	OpGrow                         // a0: GPA, a1: bytes of heap to add
	OpRelease                      // a0: GPA, a1: bytes of heap whose content is no longer needed
	OpYield                        // give the rest of the time slice away
	OpLog                          // a0: level, a1: length of the text in data
	opEnd
)

// MaxNr bounds the numbers of forwarded calls: those below it are Linux's own.
const MaxNr = 0x1000

// Forever as a timeout never ends.
const Forever = ^uint64(0)

// Codes of OpAbort.
const (
	AbortException = 1     // exception at CPL 0; the report says which
	AbortHost      = 2     // the host gave an answer that no kernel gives
	AbortBroken    = 3     // the host does not answer requests
	AbortBoot      = 4     // the boot page is not one
	AbortProgram   = 5     // the arguments at ArgsGPA are not what the boot page says
	AbortMemory    = 6     // no memory for the shim itself
	AbortInternal  = 7     // a bug of ours
	AbortRandom    = 8     // the processor gives no random numbers
	AbortLoad      = 0x100 // plus a LoadError: the program cannot be loaded
)

// Handles name the host's descriptors. A handle is an index, which the host
// uses again, with a generation above it, which it does not: a request that was
// on its way when its descriptor was closed meets no other one.
const (
	HandleBits = 12
	MaxHandles = 1 << HandleBits
	MaxHandle  = 1 << 52
)

// ValidHandle reports whether h could be a handle.
func ValidHandle(h uint64) bool { return h < MaxHandle }

// HandleIndex returns the part of h that is below MaxHandles.
func HandleIndex(h uint64) uint32 { return uint32(h & (MaxHandles - 1)) }

// MaxPoll is the most entries of one poll, and the most events of one
// epoll_wait.
const MaxPoll = 1024

// An entry of poll's payload: the handle, events asked for and events that are.
const (
	PollEntry   = 16
	PollHandle  = 0  // u64
	PollEvents  = 8  // u32
	PollRevents = 12 // u32, host
)

// An entry of epoll_wait's payload is Linux's struct epoll_event, whose data is
// the token that the shim gave at epoll_ctl.
const (
	EventEntry = 12
	EventMask  = 0 // u32
	EventToken = 4 // u64
)

// The files that the host may be asked to open, by number: no name crosses.
const (
	FileResolvConf = iota // /etc/resolv.conf
	FileHosts             // /etc/hosts
	FileNSSwitch          // /etc/nsswitch.conf
	FileCount
)

// MaxFileSize is the most that the shim believes such a file to hold.
const MaxFileSize = 1 << 20
