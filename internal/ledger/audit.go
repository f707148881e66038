// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Summary is what Audit saw in a sound log.
type Summary struct {
	Lines       int
	First, Last time.Time
	Start       uint64 // the first line's number; above 1 the log continues another
	StartAfter  Hash   // what the first line says stands before it
	Next        uint64 // the number that the next line gets
	Head        Hash   // of the last line
	Found       bool   // a line has the hash that was asked for
}

// A BadLine is the first line that does not continue the log.
type BadLine struct {
	Line int // counted from 1
	Err  error
}

func (b *BadLine) Error() string { return fmt.Sprintf("line %d: %v", b.Line, b.Err) }

func (b *BadLine) Unwrap() error { return b.Err }

var errTorn = errors.New("it does not end: the last write was cut short")

// Audit reads a whole log and checks its chain. When want is not nil it also
// looks for a line with that hash; when each is not nil it is called with every
// record. The error is a *BadLine or one of r.
func Audit[T Record](r io.Reader, want *Hash, each func(T)) (*Summary, error) {
	s := &Summary{Next: 1}
	var at position
	in := bufio.NewReaderSize(r, MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			s.Head, s.Next = at.hash, at.sequence+1
			return s, nil
		case err == io.EOF:
			err = &BadLine{s.Lines + 1, errTorn}
		case errors.Is(err, bufio.ErrBufferFull):
			err = &BadLine{s.Lines + 1, fmt.Errorf("it has more than %d bytes", MaxLine)}
		case err == nil:
			err = add(s, &at, bytes.TrimSuffix(line, []byte("\n")), each)
		}
		if err != nil {
			return s, err
		}
		s.Found = s.Found || want != nil && at.hash == *want
	}
}

// add checks that line continues the log at, and counts it.
func add[T Record](s *Summary, at *position, line []byte, each func(T)) error {
	s.Lines++
	e, record, err := parse[T](line)
	switch {
	case err != nil:
	case s.Lines == 1:
		s.Start, s.StartAfter, s.First = e.Sequence, e.Previous, record.When()
		if e.Sequence == 1 && e.Previous != (Hash{}) {
			err = errors.New("the first entry names one before it")
		}
	case e.Sequence != at.sequence+1:
		err = fmt.Errorf("it is number %d after number %d", e.Sequence, at.sequence)
	case e.Previous != at.hash:
		err = errors.New("the line before it is not the one that it was written after")
	}
	if err != nil {
		return &BadLine{s.Lines, err}
	}
	at.advance(e, line)
	s.Last = record.When()
	if each != nil {
		each(record)
	}
	return nil
}
