// SPDX-License-Identifier: Apache-2.0

package sallyport

// LoadError says why a shim did not start the program that it was given; 0 means
// that it did. The shim has no text of its own: it hands the host this number,
// and Text is what the host tells its user.
type LoadError uint32

// Reasons not to start a program.
const (
	LoadOK             LoadError = iota
	LoadNotELF                   // too short for a header, or no ELF magic
	LoadClass                    // not 64 bit, little endian, version 1
	LoadMachine                  // not x86-64
	LoadType                     // neither ET_EXEC nor ET_DYN
	LoadHeaders                  // the program header table is malformed or outside the file
	LoadHeadersHidden            // no segment holds the program header table
	LoadNoSegments               // nothing to load
	LoadTooMany                  // more segments than a Keep takes
	LoadTruncated                // a segment ends after the file
	LoadSegmentSize              // more bytes in the file than in memory, or zeroes after a read-only segment
	LoadUnaligned                // a segment's address and place in the file differ within a page
	LoadAddress                  // a segment outside the addresses of a program
	LoadOverlap                  // two segments in one page, or out of order
	LoadWriteExec                // a segment both writable and executable
	LoadExecStack                // an executable stack is asked for
	LoadEntry                    // the entry point is in no executable segment
	LoadDynamic                  // the dynamic section is malformed
	LoadShared                   // shared libraries are needed
	LoadInterpreter              // an interpreter is needed: relocations only it could apply
	LoadTextRelocation           // relocations in a segment that is not writable
	LoadRelocation               // a relocation outside the program, or a malformed table
	LoadArguments                // arguments or environment malformed or too long
	LoadMemory                   // not enough memory for the program
	LoadRandom                   // the processor gave no random numbers
	LoadImage                    // the image is not where a Keep's layout puts it
	loadErrors                   // how many there are
)

// texts is static data: a shim links this package too.
var texts = [loadErrors]string{
	LoadOK:             "the program was started",
	LoadNotELF:         "it is not an ELF file",
	LoadClass:          "it is not a 64-bit little-endian ELF file for Linux",
	LoadMachine:        "it was built for another processor than x86-64",
	LoadType:           "it is not an executable: an object file, a library or a core dump",
	LoadHeaders:        "its program headers are malformed",
	LoadHeadersHidden:  "its program headers are not loaded with it",
	LoadNoSegments:     "it has nothing to load",
	LoadTooMany:        "it has too many segments",
	LoadTruncated:      "it ends before its last segment does",
	LoadSegmentSize:    "a segment's size is impossible",
	LoadUnaligned:      "a segment is not aligned to pages",
	LoadAddress:        "a segment lies outside the addresses that a program may use",
	LoadOverlap:        "its segments overlap",
	LoadWriteExec:      "a segment is both writable and executable",
	LoadExecStack:      "it wants an executable stack",
	LoadEntry:          "its entry point is not executable",
	LoadDynamic:        "its dynamic section is malformed",
	LoadShared:         "it is linked dynamically: it needs shared libraries",
	LoadInterpreter:    "it is linked dynamically: it needs an interpreter",
	LoadTextRelocation: "it has relocations in read-only memory",
	LoadRelocation:     "its relocations are malformed",
	LoadArguments:      "its arguments and environment are malformed or too long",
	LoadMemory:         "there is not enough memory for it",
	LoadRandom:         "the processor gave no random numbers",
	LoadImage:          "it is not where it belongs in the Keep",
}

// Text returns the reason as the end of a sentence that starts with the program's
// name, such as "app: it is not an ELF file".
func (e LoadError) Text() string {
	if e >= loadErrors {
		return "for a reason that this version does not know"
	}
	return texts[e]
}
