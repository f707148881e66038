// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"strings"
)

const bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// maxRecipient leaves room for age's post-quantum keys, of some 2,000 characters.
const maxRecipient = 8192

// checkRecipient checks the syntax and the checksum (BIP 173, without its
// length limit, as age has it) of an age recipient. A slip in one would
// be noticed only when a log turns out to be unreadable.
func checkRecipient(s string) error {
	split := strings.LastIndexByte(s, '1')
	if !strings.HasPrefix(s, "age1") || len(s) > maxRecipient || len(s)-split-1 <= 6 {
		return fmt.Errorf("%.64q is not an age recipient (age1…)", s)
	}
	human, data := s[:split], s[split+1:]
	values := make([]byte, 0, 2*len(human)+1+len(data))
	for _, c := range []byte(human) {
		if c < '!' || c > '~' || 'A' <= c && c <= 'Z' {
			return fmt.Errorf("%.64q is not an age recipient (age1…)", s)
		}
		values = append(values, c>>5)
	}
	values = append(values, 0)
	for _, c := range []byte(human) {
		values = append(values, c&31)
	}
	for _, c := range []byte(data) {
		v := strings.IndexByte(bech32Alphabet, c)
		if v < 0 {
			return fmt.Errorf("%.64q is not an age recipient: it cannot contain %q", s, c)
		}
		values = append(values, byte(v))
	}
	if bech32Checksum(values) != 1 {
		return fmt.Errorf("%.64q is not an age recipient: its checksum is wrong", s)
	}
	return nil
}

func bech32Checksum(values []byte) uint32 {
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}
