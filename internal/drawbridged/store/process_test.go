// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/drawbridged/disk"
)

// publisherEnv names the store of a child of TestKillReplica, and its number.
const publisherEnv = "ENARX_STORE_PUBLISHER"

// TestPublisherChild is a server's process that publishes until it is killed,
// and writes down what it has acknowledged.
func TestPublisherChild(t *testing.T) {
	number, url, ok := strings.Cut(os.Getenv(publisherEnv), ":")
	if !ok {
		t.Skip("skipped: it is run by TestKillReplica")
	}
	s, err := OpenURL(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	pipe := os.NewFile(3, "pipe")
	f := &fleet{t: t, replicas: []*Store{s}, clock: &clock{}, random: rand.New(rand.NewPCG(4, 1)), promised: map[string]map[string]sent{}}
	for i := 0; ; i++ {
		own, common := fmt.Sprintf("%s.0.%d", number, i), fmt.Sprintf("9.0.%d", i)
		if f.publish(t.Context(), own, contentsOf(i), f.likeOurs) {
			fmt.Fprintf(pipe, "%s %d\n", own, i)
		}
		if content := 2*i + int(number[0]%2); f.publish(t.Context(), common, contentsOf(content), f.likeUpstream) {
			fmt.Fprintf(pipe, "%s %d\n", common, content)
		}
	}
}

// A victim is a child that is going to be killed.
type victim struct {
	cmd    *exec.Cmd
	output strings.Builder
	acks   map[string]int // contents of tags, by contentsOf; complete when done is closed
	seen   chan struct{}  // one for each acknowledgement
	done   chan struct{}
}

func startVictim(t *testing.T, number int, url string, env []string) *victim {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{acks: map[string]int{}, seen: make(chan struct{}, 1000), done: make(chan struct{})}
	v.cmd = exec.Command(os.Args[0], "-test.run=^TestPublisherChild$")
	v.cmd.Env = append(append(os.Environ(), env...), fmt.Sprintf("%s=%d:%s", publisherEnv, number, url))
	v.cmd.ExtraFiles = []*os.File{w}
	v.cmd.Stdout, v.cmd.Stderr = &v.output, &v.output
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(v.done)
		defer r.Close()
		for in := bufio.NewScanner(r); in.Scan(); {
			var tag string
			var content int
			if _, err := fmt.Sscan(in.Text(), &tag, &content); err == nil {
				v.acks[tag] = content
				v.seen <- struct{}{}
			}
		}
	}()
	return v
}

// kill kills the child in the middle of whatever it does.
func (v *victim) kill(t *testing.T) {
	t.Helper()
	v.cmd.Process.Kill()
	<-v.done
	v.cmd.Wait()
	if status, ok := v.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("a publisher ended by itself: %v\n%s", v.cmd.ProcessState, v.output.String())
	}
}

// TestKillReplica has two processes on one store, a directory and a bucket of
// S3, that publish the same and different tags. One is killed after the other,
// and others follow.
func TestKillReplica(t *testing.T) {
	t.Parallel()
	generations := 1
	if long() {
		generations = 40
	}
	dir, s3 := fastDir(t), startVersity(t)
	inDir, err := disk.Open(dir, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url string
		env       []string
		bucket    *blob.Bucket
	}{
		{"directory", "file://" + dir, nil, inDir},
		{"versitygw", s3.url("processes"), s3.env(), s3.bucket(t, "processes")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(t.Context(), c.bucket, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			killReplicas(t, s, c.url, c.env, generations)
		})
	}
}

func killReplicas(t *testing.T, s *Store, url string, env []string, generations int) {
	ctx, c := t.Context(), &clock{}
	for _, st := range scenario()[:2] {
		if err := st.do(ctx, &actor{Store: s, clock: c}); err != nil {
			t.Fatal(err)
		}
	}
	acks := map[string]int{}
	for g := range generations {
		victims := []*victim{startVictim(t, 2*g+1, url, env), startVictim(t, 2*g+2, url, env)}
		for i, v := range victims {
			for range 3 {
				select {
				case <-v.seen:
				case <-v.done:
				case <-time.After(time.Minute):
					t.Fatalf("a publisher does nothing:\n%s", v.output.String())
				}
			}
			if i == 0 { // a moment that is another each time
				time.Sleep(time.Duration(g*7%23) * time.Millisecond)
			}
			v.kill(t)
		}
		for _, v := range victims {
			for tag, content := range v.acks {
				if before, ok := acks[tag]; ok && before != content {
					t.Errorf("%s was acknowledged for %d and %d", tag, before, content)
				}
				acks[tag] = content
			}
		}
	}
	checkAcks(ctx, t, s, acks)
	t.Logf("%d processes killed, %d tags acknowledged", 2*generations, len(acks))
}

// checkAcks checks that what was acknowledged is there, that what is there is
// whole, and that what is not can be published.
func checkAcks(ctx context.Context, t *testing.T, s *Store, acks map[string]int) {
	t.Helper()
	for tag, content := range acks {
		checkPublished(t, s, theUser, theRepo, tag, contentsOf(content))
	}
	report, err := s.Fsck(ctx, FsckOptions{})
	if err != nil || !report.Clean() {
		t.Fatalf("%v\n%v", err, report)
	}
	if names, err := s.TagNames(ctx, theUser, theRepo); err != nil || len(names) < len(acks) {
		t.Errorf("%d tags of %d: %v", len(names), len(acks), err)
	}
	f := &fleet{t: t, replicas: []*Store{s}, clock: &clock{}, random: rand.New(rand.NewPCG(4, 2)), promised: map[string]map[string]sent{}}
	for i := range 30 { // those that were begun, and others
		for number := 1; number <= 2; number++ {
			tag := fmt.Sprintf("%d.0.%d", number, i)
			if !f.publish(ctx, tag, contentsOf(i), f.likeUpstream) {
				t.Errorf("%s cannot be published", tag)
			}
		}
	}
}

// TestDiskFull fills a small file system of its own. Where it must stop, what
// was acknowledged stays, and deleting makes room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("skipped: a file system cannot be mounted here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ctx, c := t.Context(), &clock{}
	b, err := disk.Open(filepath.Join(dir, "store"), disk.Options{Reserve: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, b, testOptions(c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := &actor{Store: s, clock: c}
	for _, st := range append(scenario()[:2], ownSteps("1.0.0", ownTree)...) {
		if err := st.do(ctx, a); err != nil {
			t.Fatalf("%s: %v", st.name, err)
		}
	}
	uploaded := fillDisk(ctx, t, s, 30<<10) + fillDisk(ctx, t, s, 100)
	// With the last bytes gone too, which the reserve was for.
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 32<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if _, err := s.PutTag(ctx, theUser, theRepo, "2.0.0", entryOf(otherTree)); err == nil {
		t.Error("a tag was put on a full disk")
	}
	checkPublished(t, s, theUser, theRepo, "1.0.0", ownTree)
	if report := mustFsck(t, s); !report.Clean() {
		t.Error(report)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// In the reserve there is room to collect, and then for everything again.
	for _, st := range append(gcSteps("gc"), upstreamSteps("2.0.0", otherTree)...) {
		if err := st.do(ctx, a); err != nil {
			t.Errorf("%s: %v", st.name, err)
		}
	}
	checkPublished(t, s, theUser, theRepo, "1.0.0", ownTree)
	report := mustFsck(t, s)
	if !report.Clean() || report.Unreferenced > 0 {
		t.Error(report)
	}
	t.Logf("%d nodes until the disk was full", uploaded)
}

// fillDisk uploads nodes of some size until there is no more room for them,
// from several sides.
func fillDisk(ctx context.Context, t *testing.T, s *Store, size int) (uploaded int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 4 {
		wg.Go(func() {
			for n := range 10_000 {
				nodes := tree{"x": strings.Repeat(fmt.Sprintf("%d %d ", i, n), size)}.nodes(false)["x"]
				_, err := s.PutNode(ctx, theUser, theRepo, "", nil, nodes.meta, strings.NewReader(string(nodes.content)))
				if errors.Is(err, unix.ENOSPC) {
					return
				}
				if err != nil {
					t.Errorf("filling: %v", err)
					return
				}
				mu.Lock()
				uploaded++
				mu.Unlock()
			}
			t.Error("the disk does not fill")
		})
	}
	wg.Wait()
	return uploaded
}
