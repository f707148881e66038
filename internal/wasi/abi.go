// SPDX-License-Identifier: Apache-2.0

package wasi

// Numbers and layouts of WASI preview 1 (module wasi_snapshot_preview1), from
// phases/snapshot/witx/typenames.witx of the WASI repository. Preview 0 (module
// wasi_unstable, phases/old/snapshot_0) shares all numbers but whence; its
// layouts that differ are in the abi values below.

// filetype
const (
	fileUnknown      = 0
	fileCharDevice   = 2
	fileDirectory    = 3
	fileRegular      = 4
	fileSocketStream = 6
	fileSymlink      = 7
)

// fdflags
const (
	flagAppend   = 1 << 0
	flagDsync    = 1 << 1
	flagNonblock = 1 << 2
	flagRsync    = 1 << 3
	flagSync     = 1 << 4
	flagsAll     = 1<<5 - 1
)

// lookupflags, oflags, fstflags, riflags, sdflags, subclockflags, eventrwflags
const (
	lookupFollow = 1 << 0

	oflagCreat     = 1 << 0
	oflagDirectory = 1 << 1
	oflagExcl      = 1 << 2
	oflagTrunc     = 1 << 3
	oflagsAll      = 1<<4 - 1

	setAtime    = 1 << 0
	setAtimeNow = 1 << 1
	setMtime    = 1 << 2
	setMtimeNow = 1 << 3
	setTimesAll = 1<<4 - 1

	recvPeek    = 1 << 0
	recvWaitall = 1 << 1

	shutRead  = 1 << 0
	shutWrite = 1 << 1

	clockAbstime = 1 << 0

	eventHangup = 1 << 0
)

// clockid
const (
	clockRealtime = iota
	clockMonotonic
	clockProcessCPU
	clockThreadCPU
)

// eventtype
const (
	eventClock = iota
	eventRead
	eventWrite
)

// preopentype. The standard has only the directory; programs skip others.
const (
	preopenDir   = 0
	preopenOther = 1
)

const adviceLast = 5 // noreuse

// rights
const (
	rightDatasync = 1 << iota
	rightRead
	rightSeek
	rightSetFlags
	rightSync
	rightTell
	rightWrite
	rightAdvise
	rightAllocate
	rightPathCreateDirectory
	rightPathCreateFile
	rightPathLinkSource
	rightPathLinkTarget
	rightPathOpen
	rightReaddir
	rightPathReadlink
	rightPathRenameSource
	rightPathRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFilestatGet
	rightFilestatSetSize
	rightFilestatSetTimes
	rightPathSymlink
	rightPathRemoveDirectory
	rightPathUnlinkFile
	rightPoll
	rightSockShutdown
	rightSockAccept
	rightsEnd
)

// What each kind of descriptor may do (spec/enarx.md 3.5). A socket's rights
// are upstream's plus the two that name socket calls, which upstream's library
// did not know.
const (
	rightsStdio = rightSockShutdown - 1 | rightSockShutdown // everything but accepting

	rightsListener = rightRead | rightSetFlags | rightFilestatGet | rightPoll | rightSockAccept
	rightsConn     = rightRead | rightWrite | rightSetFlags | rightFilestatGet | rightPoll | rightSockShutdown

	rightsRegular = rightDatasync | rightRead | rightSeek | rightSetFlags | rightSync | rightTell |
		rightWrite | rightAdvise | rightAllocate | rightFilestatGet | rightFilestatSetSize |
		rightFilestatSetTimes | rightPoll

	rightsDirectory = rightSync | rightDatasync | rightPathCreateDirectory | rightPathCreateFile |
		rightPathLinkSource | rightPathLinkTarget | rightPathOpen | rightReaddir | rightPathReadlink |
		rightPathRenameSource | rightPathRenameTarget | rightPathFilestatGet |
		rightPathFilestatSetSize | rightPathFilestatSetTimes | rightFilestatGet |
		rightFilestatSetTimes | rightPathSymlink | rightPathRemoveDirectory | rightPathUnlinkFile | rightPoll
)

// Sizes of structures that both versions share.
const (
	sizeEvent   = 32
	sizeFdstat  = 24
	sizePrestat = 8
	sizeDirent  = 24
	sizeIovec   = 8
)

// abi is what differs between preview 0 and preview 1 in memory.
type abi struct {
	whence [3]uint8 // of SEEK_SET, SEEK_CUR, SEEK_END

	filestat   uint32 // size of filestat
	nlinkWide  bool   // u64 at 24, else u32 at 20
	afterNlink uint32 // offset of size, atim, mtim, ctim

	subscription uint32 // size of subscription
	subClock     uint32 // offset of the clock id; preview 0 has a u64 identifier before it
}

var (
	preview1 = abi{
		whence:   [3]uint8{0, 1, 2},
		filestat: 64, nlinkWide: true, afterNlink: 32,
		subscription: 48, subClock: 16,
	}
	preview0 = abi{
		whence:   [3]uint8{2, 0, 1},
		filestat: 56, afterNlink: 24,
		subscription: 56, subClock: 24,
	}
)
