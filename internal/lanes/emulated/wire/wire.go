// SPDX-License-Identifier: Apache-2.0

// Package wire is what the two ends of an emulated machine's channel say to each
// other: frames that each belong to one command. Neither end trusts a length that
// it reads; otherwise both are ours.
package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

// A Kind says what a frame carries.
type Kind uint8

// The kinds. Start, Kill and Stdin go to the machine, the others come from it.
const (
	Ready  Kind = iota + 1 // the machine serves; data: its kernel's release
	Start                  // JSON of Command
	Stdin                  // bytes; none: end of file
	Kill                   // the command and all that it started must end
	Stdout                 // bytes
	Stderr                 // bytes
	Ended                  // JSON of Result
)

// MaxData is how many bytes one frame may carry.
const MaxData = 1 << 20

const headerSize = 9

// ErrFrame is a frame that no sender of ours makes.
var ErrFrame = errors.New("wire: not a frame")

// Command is what is to be run.
type Command struct {
	Argv []string // empty: unpack the tar stream on standard input
	Env  []string
	Dir  string
	Put  []string // to emurun's server only: host paths that the machine must have
	Wait time.Duration
}

// Result is how it ended.
type Result struct {
	Code int    // exit code, or 128 and the number of the signal
	Err  string // why it did not start
}

// Frame is one message.
type Frame struct {
	Kind Kind
	ID   uint32 // of the command
	Data []byte
}

// Read returns the next frame.
func Read(r io.Reader) (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(header[0]), ID: binary.LittleEndian.Uint32(header[1:])}
	size := binary.LittleEndian.Uint32(header[5:])
	if f.Kind < Ready || f.Kind > Ended || size > MaxData {
		return Frame{}, ErrFrame
	}
	f.Data = make([]byte, size)
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// Sender writes frames; any goroutine may use it.
type Sender struct {
	mu sync.Mutex
	w  io.Writer
}

// NewSender returns a Sender on w.
func NewSender(w io.Writer) *Sender { return &Sender{w: w} }

// Send writes one frame, in one piece because a virtio port wakes its other end
// for each write.
func (s *Sender) Send(kind Kind, id uint32, data []byte) error {
	if len(data) > MaxData {
		return ErrFrame
	}
	buf := make([]byte, headerSize+len(data))
	buf[0] = byte(kind)
	binary.LittleEndian.PutUint32(buf[1:], id)
	binary.LittleEndian.PutUint32(buf[5:], uint32(len(data)))
	copy(buf[headerSize:], data)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(buf)
	return err
}

// Stream returns a writer whose bytes become frames of one kind and command.
func (s *Sender) Stream(kind Kind, id uint32) io.Writer { return stream{s, kind, id} }

type stream struct {
	s    *Sender
	kind Kind
	id   uint32
}

func (w stream) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, MaxData)
		if err := w.s.Send(w.kind, w.id, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
