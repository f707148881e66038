// SPDX-License-Identifier: Apache-2.0

// Package insecure is evidence without hardware. It proves nothing: whoever
// runs the machine, or merely claims to run a Keep, can make it, and can read
// and change all that the Keep does. It exists so that programs can be tried
// where there is no TEE. Whoever accepts it chose so by name, says so loudly,
// and writes it into the certificate; nothing ever infers that choice.
package insecure

import "enarx.dev/enarx/attest/check"

// Warning is what is printed, logged and written down wherever such evidence is
// accepted.
const Warning = "INSECURE: no hardware vouches for this Keep; its host can read and change everything in it"

// Verify checks that there is no evidence, which is the form of this evidence,
// and notes what that means.
func Verify(g *check.Group, report []byte) {
	g.Require(len(report) == 0, check.Check{
		Code: "none.report", What: "evidence without hardware is empty",
		Expected: check.Uint(0), Found: check.Uint(len(report)), Source: "spec/steward.md section 3.6",
	})
	g.Note(check.Check{Code: "none.hardware", What: Warning})
}
