// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("ledger: the log is closed")

const (
	maxBatch = 1024 // records that share one write and one sync
	maxQueue = 4096 // appends that wait for theirs
)

// A Log is an open log of records. Several processes may share one file: each
// takes a lock for as long as a write takes, and continues where the file then
// ends. It is safe for concurrent use.
type Log[T Record] struct {
	path, what string
	log        *slog.Logger

	queue   chan *batch[T]
	stopped sync.WaitGroup
	mu      sync.RWMutex // held for writing by Close, so that nothing is queued after it
	closed  bool
	broken  atomic.Pointer[error] // set once nothing can be known of the file any more
	failed  atomic.Bool           // the last write did: the disk is full, say

	// Of the goroutine that writes:
	file *os.File
	end  int64 // of the part of the file that at stands for
	at   position
}

// batch is the records of one Append.
type batch[T Record] struct {
	records []T
	done    chan error
	reopen  bool
}

// Open opens or makes the log at path; what is what errors call it, as "the
// issuance log". A last line that was cut short by a crash is removed, and said
// to log: nothing was handed out on the strength of it. The caller closes the
// log.
func Open[T Record](path, what string, log *slog.Logger) (*Log[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Log[T]{path: path, what: what, log: log, queue: make(chan *batch[T], maxQueue)}
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	l.file = file
	if err := l.locked(l.catchUp); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l.stopped.Go(l.run)
	return l, nil
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
}

// Append numbers the records, chains them to the log, and returns when they
// are on the disk. Appends that come together share one sync.
func (l *Log[T]) Append(records ...T) error {
	for _, r := range records {
		// With the longest number there is: one bad record must not fail others' turn.
		if _, err := encode(link{Sequence: math.MaxUint64}, r); err != nil {
			return err
		}
	}
	return l.enqueue(&batch[T]{records: records})
}

// Reopen continues in the file that now has the log's name, as after a
// rotation. A new file continues the chain of the old one.
func (l *Log[T]) Reopen() error { return l.enqueue(&batch[T]{reopen: true}) }

func (l *Log[T]) enqueue(b *batch[T]) error {
	b.done = make(chan error, 1)
	l.mu.RLock()
	if l.closed {
		l.mu.RUnlock()
		return ErrClosed
	}
	l.queue <- b
	l.mu.RUnlock()
	return <-b.done
}

// Err returns why the log cannot be written any more, or nil.
func (l *Log[T]) Err() error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Check returns why the log cannot be written now, or nil. After a write that
// failed it finds out whether the next one would.
func (l *Log[T]) Check() error {
	if err := l.Err(); err != nil || !l.failed.Load() {
		return err
	}
	return l.enqueue(&batch[T]{})
}

// Close writes what is queued, and closes the file.
func (l *Log[T]) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.queue)
	l.mu.Unlock()
	l.stopped.Wait()
	return l.file.Close()
}

// run writes what is queued, as much of it at once as there is.
func (l *Log[T]) run() {
	for first := range l.queue {
		for first != nil {
			first = l.next(first)
		}
	}
}

// next commits first and the batches that wait behind it, and returns one that
// has to wait for the next turn, if any.
func (l *Log[T]) next(first *batch[T]) (after *batch[T]) {
	if first.reopen {
		first.done <- l.reopen()
		return nil
	}
	turn, n := []*batch[T]{first}, len(first.records)
	for more := true; more && n < maxBatch; {
		select {
		case b, ok := <-l.queue:
			if !ok || b.reopen {
				after, more = b, false
				continue
			}
			turn, n = append(turn, b), n+len(b.records)
		default:
			more = false
		}
	}
	err := l.Err()
	if err == nil {
		err = l.write(turn)
		l.failed.Store(err != nil)
	}
	for _, b := range turn {
		b.done <- err
	}
	return after
}

// errMoved is returned by commit when the log goes on in another file.
var errMoved = errors.New("ledger: the log was rotated")

// write commits turn, to the file that now has the log's name: another process
// may have begun it.
func (l *Log[T]) write(turn []*batch[T]) error {
	commit := func() error { return l.commit(turn) }
	err := l.locked(commit)
	if errors.Is(err, errMoved) {
		if err = l.reopen(); err == nil {
			err = l.locked(commit)
		}
	}
	return err
}

// locked calls f while no other process writes.
func (l *Log[T]) locked(f func() error) error {
	fd := int(l.file.Fd())
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("locking %s: %w", l.path, err)
		}
	}
	err := f()
	if unlock := unix.Flock(fd, unix.LOCK_UN); unlock != nil {
		err = errors.Join(err, fmt.Errorf("unlocking %s: %w", l.path, unlock))
	}
	return err
}

// commit writes the records of turn. The caller holds the lock.
func (l *Log[T]) commit(turn []*batch[T]) error {
	if info, err := os.Stat(l.path); err == nil && !l.is(info) {
		return errMoved
	}
	if err := l.catchUp(); err != nil {
		return err
	}
	var text bytes.Buffer
	at := l.at
	for _, b := range turn {
		for _, r := range b.records {
			next := at.next()
			line, err := encode(next, r)
			if err != nil {
				return err
			}
			at.advance(next, line[:len(line)-1])
			text.Write(line)
		}
	}
	if text.Len() == 0 {
		return l.room()
	}
	if _, err := l.file.Write(text.Bytes()); err != nil {
		// What part of it was written must not stay: others would stumble over it.
		return errors.Join(err, l.file.Truncate(l.end))
	}
	// After a failed sync nobody knows what is on the disk, and asking again
	// says nothing: the kernel has dropped the pages.
	if err := unix.Fdatasync(int(l.file.Fd())); err != nil {
		return l.fail(fmt.Errorf("syncing %s %s: %w", l.what, l.path, err))
	}
	l.at, l.end = at, l.end+int64(text.Len())
	return nil
}

// room returns an error if the disk has no room for a line. Not every file
// system can tell.
func (l *Log[T]) room() error {
	err := unix.Fallocate(int(l.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, l.end, MaxLine)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return nil
}

func (l *Log[T]) fail(err error) error {
	l.broken.Store(&err)
	l.log.Error(l.what+" cannot be written any more: what has to be in it is refused until a restart", "err", err)
	return err
}

// catchUp moves to the end of the file, which another process may have moved.
// The caller holds the lock.
func (l *Log[T]) catchUp() error {
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("opening %s: %w", l.what, err)
	}
	size := info.Size()
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s %s is not a file", l.what, l.path)
	case size == l.end:
		return nil
	case size < l.end:
		return l.fail(fmt.Errorf("%s was cut from %d to %d bytes", l.path, l.end, size))
	}
	tail, torn, err := lastLine(l.file, size)
	if err != nil {
		return fmt.Errorf("reading the end of %s: %w", l.path, err)
	}
	if torn > 0 {
		l.log.Warn("the last line of "+l.what+" was cut short, by a crash or a full disk: removing it; nothing was handed out on the strength of it",
			"log", l.path, "bytes", torn)
		size -= torn
		if err := errors.Join(l.file.Truncate(size), l.file.Sync()); err != nil {
			return fmt.Errorf("removing a cut line from %s: %w", l.path, err)
		}
	}
	if size > 0 {
		at, _, err := parse[T](tail)
		if err != nil {
			return fmt.Errorf("the last line of %s: %w", l.path, err)
		}
		l.at.advance(at, tail)
	}
	l.end = size
	return nil
}

// lastLine returns the last whole line of a file, without its newline, and
// how many bytes stand after it.
func lastLine(f io.ReaderAt, size int64) (line []byte, torn int64, err error) {
	n := min(size, 2*MaxLine) // a torn line and the one before it
	end := make([]byte, n)
	if _, err := f.ReadAt(end, size-n); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	last := bytes.LastIndexByte(end, '\n')
	torn = n - int64(last) - 1
	if torn >= MaxLine {
		return nil, 0, fmt.Errorf("a line of more than %d bytes", MaxLine-1)
	}
	if last < 0 {
		return nil, torn, nil
	}
	end = end[:last]
	start := bytes.LastIndexByte(end, '\n')
	if start < 0 && n < size {
		return nil, 0, fmt.Errorf("a line of more than %d bytes", MaxLine-1)
	}
	return end[start+1:], torn, nil
}

// reopen continues in the file that has the name now. From when there is one,
// nobody writes to the old one: what it ends with is what the new one continues.
func (l *Log[T]) reopen() error {
	file, err := openFile(l.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil || l.is(info) {
		return errors.Join(err, file.Close())
	}
	if err := l.locked(l.catchUp); err != nil {
		return errors.Join(err, file.Close())
	}
	old, end, at := l.file, l.end, l.at
	l.file, l.end = file, 0
	if err := l.locked(l.catchUp); err != nil {
		l.file, l.end, l.at = old, end, at
		return errors.Join(err, file.Close())
	}
	return old.Close()
}

// is reports whether the open file is that one.
func (l *Log[T]) is(info os.FileInfo) bool {
	open, err := l.file.Stat()
	return err == nil && os.SameFile(open, info)
}
