// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"

	"enarx.dev/enarx/workload"
)

func checkHeader(bin []byte) error {
	if err := workload.CheckModule(bin); err != nil {
		return fmt.Errorf("%w: %w", ErrModule, err)
	}
	return nil
}
