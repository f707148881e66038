// SPDX-License-Identifier: Apache-2.0

// Instructions that Go's assembler lacks, one macro each.

// sysretq (the assembler's SYSRET returns to 32-bit code)
#define SYSRETQ BYTE $0x48; BYTE $0x0f; BYTE $0x07
