// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// firstFD is the first descriptor that systemd passes, sd_listen_fds(3).
const firstFD = 3

// Activated returns the sockets that systemd passed to this process, by their
// FileDescriptorName; those without one are called "". Without socket
// activation there are none. It takes the sockets: a second call would return
// them again, so it forgets the environment.
func Activated() (map[string]net.Listener, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 16 {
		return nil, fmt.Errorf("LISTEN_FDS=%q: not a small number", count)
	}
	named := strings.Split(names, ":")
	sockets := map[string]net.Listener{}
	for i := range n {
		name := ""
		if i < len(named) && named[i] != "unknown" {
			name = strings.TrimSuffix(named[i], ".socket")
		}
		f := os.NewFile(uintptr(firstFD+i), "systemd:"+name)
		l, err := net.FileListener(f)
		f.Close() // FileListener has a descriptor of its own
		if err != nil {
			return nil, fmt.Errorf("socket %d of systemd: %w", i, err)
		}
		if sockets[name] != nil {
			return nil, fmt.Errorf("two sockets of systemd are called %q", name)
		}
		sockets[name] = l
	}
	return sockets, nil
}

// Notify tells systemd about this process, sd_notify(3): "READY=1",
// "STOPPING=1". Without systemd nothing happens.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
