// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	kvmGetAPIVersion = 0xae00 // KVM_GET_API_VERSION, linux/kvm.h
	kvmAPIVersion    = 12     // and the only answer since Linux 2.6.22
)

func kvmVersion(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return unix.IoctlRetInt(int(f.Fd()), kvmGetAPIVersion)
}

// epc returns the bytes of enclave page cache, which the kernel adds up per
// memory node.
func (m *Machine) epc() (total uint64) {
	nodes, _ := filepath.Glob(m.path("/sys/devices/system/node/node*/x86/sgx_total_bytes"))
	for _, name := range nodes {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
		if err == nil {
			total += n
		}
	}
	return total
}

func containsWord(s, word string) bool { return slices.Contains(strings.Fields(s), word) }

func nonzero(n uint64) string {
	if n == 0 {
		return ""
	}
	return size(n)
}

// size writes a number of bytes the way upstream does: in the unit that
// leaves at most 512, so 512 MiB and 1024 MiB are "512 MiB" and "1 GiB".
func size(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for n > 512 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
