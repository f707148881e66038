// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/collateral/cachefile"
)

// A Chip is an AMD processor as its vendor knows it.
type Chip struct {
	Product string // product line, like "Milan"
	ID      [64]byte
	TCB     snp.TCBVersion // as it reports it
}

// VCEKName returns the name of the cache file for the chip's certificate.
func (c *Chip) VCEKName() string {
	return cachefile.VCEKName(c.Product, c.ID, c.TCB.Decode(c.Product))
}

// The commands of /dev/sev, and what they answer (linux/psp-sev.h).
const (
	sevIssueCmd       = 0xc0105300 // SEV_ISSUE_CMD
	sevGetID2         = 8          // SEV_GET_ID2
	snpPlatformStatus = 9          // SNP_PLATFORM_STATUS

	sevIssueSize  = 16 // struct sev_issue_cmd
	sevGetIDSize  = 12 // struct sev_user_data_get_id2
	snpStatusSize = 32 // struct sev_user_data_snp_status
)

// Where struct sev_user_data_snp_status has what is wanted here.
const (
	statusFlags       = 8 // bit 0: MASK_CHIP_ID
	statusReportedTCB = 24
)

// ErrNoChip is wrapped by the errors of [Machine.Chip].
var ErrNoChip = errors.New("this machine does not say which AMD chip it has")

// Chip asks the machine's security processor which chip it is and at which
// TCB. It needs /dev/sev.
func (m *Machine) Chip() (*Chip, error) {
	product := m.ProductLine()
	if product == "" {
		return nil, fmt.Errorf("%w: it is no AMD processor with SEV-SNP", ErrNoChip)
	}
	f, err := os.OpenFile(m.path("/dev/sev"), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoChip, err)
	}
	defer f.Close()
	c := &Chip{Product: product}
	var status [snpStatusSize]byte
	if err := issue(f, snpPlatformStatus, status[:]); err != nil {
		return nil, fmt.Errorf("%w: SNP_PLATFORM_STATUS: %w", ErrNoChip, err)
	}
	if binary.LittleEndian.Uint32(status[statusFlags:])&1 != 0 {
		return nil, fmt.Errorf("%w: its chip id is masked", ErrNoChip)
	}
	if c.ID, err = chipID(f); err != nil {
		return nil, fmt.Errorf("%w: GET_ID: %w", ErrNoChip, err)
	}
	copy(c.TCB[:], status[statusReportedTCB:])
	return c, nil
}

// ProductLine returns the AMD product line of the machine, or "".
func (m *Machine) ProductLine() string {
	family, model := uint8(m.cpu.family), uint8(m.cpu.model)
	if m.cpu.vendor != amd || int(family) != m.cpu.family || int(model) != m.cpu.model {
		return ""
	}
	return snp.ProductLine(family, model)
}
