// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/handover"
)

// The guest halves of the tests. The test binary itself is the image: started
// by the loader it finds itself called enarx-exec, and does what the first
// argument of the hand-over names.
var guests = map[string]func(*handover.Document) int{
	"exit":   guestExit,
	"look":   guestLook,
	"kill":   guestKill,
	"hang":   guestHang,
	"ignore": guestIgnore,
	"tar":    guestTar,
	"cache":  guestCache,
	"module": guestModule,
	"exe":    guestExe,
}

var tempDir string

func TestMain(m *testing.M) {
	if os.Args[0] == "enarx-exec" {
		doc, err := handover.Read(os.NewFile(handover.FD, "handover"))
		if err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		os.Exit(guests[doc.Args[0]](doc))
	}
	if os.Getenv("LOADER_TEST_ORPHAN") != "" {
		orphan()
	}
	code := m.Run()
	if tempDir != "" {
		os.RemoveAll(tempDir)
	}
	os.Exit(code)
}

// image is this test binary, built as enarx-exec is: a static file, since the
// loader's Landlock domain has no C library in it.
func image(t *testing.T) []byte {
	t.Helper()
	data, err := staticImage()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var staticImage = sync.OnceValues(func() ([]byte, error) {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		return os.ReadFile("/proc/self/exe")
	}
	var err error
	if tempDir, err = os.MkdirTemp("", "loader-test-"); err != nil {
		return nil, err
	}
	path := filepath.Join(tempDir, "guest")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the guest: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

func guestExit(doc *handover.Document) int {
	code, _ := strconv.Atoi(doc.Args[1])
	return code
}

// guestLook says what it was born with.
func guestLook(doc *handover.Document) int {
	var open []int
	for fd := range 256 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
		}
	}
	nnp, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	_, passwd := os.Open("/etc/passwd")
	_, hosts := os.Open("/etc/hosts")
	var core unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	fmt.Printf("args %q env %q nnp %d core %d\n", os.Args, os.Environ(), nnp, core.Max)
	fmt.Printf("passwd %v hosts %v\n", errors.Is(passwd, unix.EACCES), errors.Is(hosts, unix.EACCES))
	fmt.Printf("sandbox %q name %q\n", doc.Sandbox, doc.Package.Name)
	// The runtime of this half makes epoll and event descriptors of its own.
	own := 0
	for _, fd := range open {
		if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && strings.HasPrefix(link, "anon_inode:") {
			own++
			continue
		}
		fmt.Printf("fd %d\n", fd)
	}
	return 0
}

func guestKill(*handover.Document) int {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	return 0
}

func guestHang(*handover.Document) int {
	fmt.Println("pid", os.Getpid())
	time.Sleep(10 * time.Minute)
	return 0
}

func guestIgnore(*handover.Document) int {
	signal.Ignore(unix.SIGTERM)
	return guestHang(nil)
}

func guestTar(doc *handover.Document) int {
	for _, d := range doc.Dirs {
		for tr := tar.NewReader(os.NewFile(uintptr(d.FD), "tar")); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				fmt.Println(err)
				return 1
			}
			data, _ := io.ReadAll(tr)
			fmt.Printf("%s: %s %d\n", d.Guest, h.Name, len(data))
		}
	}
	return 0
}

// guestCache prints the entry it was given and stores a new one, all of it or
// as many bytes as it is told.
func guestCache(doc *handover.Document) int {
	if doc.Cache.Entry != 0 {
		data, err := io.ReadAll(os.NewFile(uintptr(doc.Cache.Entry), "entry"))
		fmt.Printf("entry %d %v\n", len(data), err)
	}
	if doc.Cache.Store == 0 {
		fmt.Println("no store")
		return 0
	}
	blob := make([]byte, 1000)
	copy(blob, entryMagic)
	binary.LittleEndian.PutUint64(blob[len(entryMagic):], uint64(len(blob)))
	n, _ := strconv.Atoi(doc.Args[1])
	if _, err := os.NewFile(uintptr(doc.Cache.Store), "store").Write(blob[:n]); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func guestModule(doc *handover.Document) int {
	data, err := io.ReadAll(os.NewFile(uintptr(doc.Package.Wasm), "module"))
	fmt.Printf("%.4q %d %v conf %d tree %v\n", data, len(data), err, doc.Package.Conf, doc.Package.Tree != 0)
	return 0
}

// guestExe says where its own program lies: a file with a link in some folder,
// or one in memory only.
func guestExe(*handover.Document) int {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil {
		fmt.Println(err)
		return 1
	}
	if st.Nlink == 0 {
		fmt.Println("memory")
	} else {
		fmt.Println("disk")
	}
	return 0
}
