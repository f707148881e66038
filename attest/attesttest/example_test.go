// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"fmt"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
)

// A chip is asked for a report about a guest that the host may debug. The report
// is genuine, as far as the roots of this world go, and is refused for one reason.
func Example() {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	w := attesttest.New("example", now)
	der, _ := w.CSR("snp-v2", func(r *attesttest.Request) {
		r.Chip = w.AMD.Turin.Chip("the one in rack 7")
		r.Report = func(rep *attesttest.Report) { rep.Policy |= attesttest.PolicyDebug }
	})

	req, err := attest.ParseRequest(der, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	claims := attest.Verify(req.Evidence, &attest.Roots{Set: w.Roots()}, nil, now)
	result := attest.Appraise(claims, attest.DefaultPolicy())
	fmt.Println(claims.Checks.OK(), result.Accepted(), result.Code())
	// Output: true false snp.policy.debug
}
