// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	s := NewSender(&buf)
	long := bytes.Repeat([]byte("x"), MaxData+1)
	if err := s.Send(Start, 1, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Stream(Stdin, 2).Write(long); n != len(long) || err != nil {
		t.Fatal(n, err)
	}
	if err := s.Send(Stdin, 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(Stdin, 2, long); !errors.Is(err, ErrFrame) {
		t.Errorf("too much data: %v", err)
	}
	want := []Frame{{Start, 1, []byte("{}")}, {Stdin, 2, long[:MaxData]}, {Stdin, 2, long[MaxData:]}, {Stdin, 2, []byte{}}}
	for _, w := range want {
		f, err := Read(&buf)
		if diff := cmp.Diff(w, f); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	}
	if _, err := Read(&buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{byte(Stdout), 1, 0, 0, 0, 2, 0, 0, 0, 'a', 'b'})
	f.Add([]byte{byte(Stdout), 1, 0, 0, 0, 255, 255, 255, 255})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := NewSender(&buf).Send(frame.Kind, frame.ID, frame.Data); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, buf.Bytes()) {
			t.Errorf("%x is read as what is sent as %x", data, buf.Bytes())
		}
	})
}
