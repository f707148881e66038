// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// uploads remembers the IDs of unfinished uploads, each in a file, so that
// several processes may share the folder. Whatever fails here costs sending
// again and nothing else, so it is no error.
type uploads struct{ dir string }

const maxAge = 7 * 24 * time.Hour // after which every server has forgotten an upload

func (u *uploads) file(host string, s drawbridge.Slug, m drawbridge.Meta) string {
	sum := sha256.Sum256([]byte(host + "/" + repositoryOf(s).Name() + "\n" + string(m.Canonical())))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:]))
}

func (u *uploads) get(file string) string {
	if u.dir == "" {
		return ""
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() > 256 || time.Since(info.ModTime()) > maxAge {
		return ""
	}
	id, err := os.ReadFile(file)
	if err != nil || checkID(string(id)) != nil {
		return ""
	}
	return string(id)
}

func (u *uploads) put(file, id string) {
	if u.dir == "" || os.MkdirAll(u.dir, 0o700) != nil {
		return
	}
	_ = os.WriteFile(file+".new", []byte(id), 0o600)
	_ = os.Rename(file+".new", file)
}

func (u *uploads) drop(file string) {
	if u.dir != "" {
		_ = os.Remove(file)
	}
}

// upload sends a large node in pieces. What the server has got of it, in this
// run or an earlier one, is not sent again.
func (p *publication) upload(ctx context.Context, n *Node, u *uploads) error {
	file := u.file(p.c.cfg.Host, p.slug, n.Meta)
	s := &session{p: p, node: n, id: u.get(file)}
	for restarts := 0; ; restarts++ {
		err := s.begin(ctx)
		if err == nil {
			u.put(file, s.id)
			err = s.run(ctx)
		}
		// The server forgot the upload, or has got bytes that are not the
		// file's. Either may happen to one that an earlier run began.
		if is(err, http.StatusNotFound, http.StatusBadRequest) && restarts < 2 && s.id != "" {
			u.drop(file)
			if done, err := s.forget(ctx, err); done || err != nil {
				return err
			}
			continue
		}
		if err == nil || is(err, http.StatusBadRequest) {
			u.drop(file)
		}
		return err
	}
}

// session is an upload that the server knows by an ID.
type session struct {
	p      *publication
	node   *Node
	id     string
	offset int64 // up to which the server has the node
	known  int64 // up to which the meter has it
}

func (s *session) path() string {
	path := repositoryOf(s.p.slug).URLPath() + "/_upload"
	if s.id != "" {
		path += "/" + s.id
	}
	return path
}

func (s *session) header() http.Header {
	h := entityHeader(s.node.Meta)
	h.Set("Upload-Length", strconv.FormatInt(s.node.Meta.Length, 10))
	return h
}

// begin asks how far the upload is, or makes a new one.
func (s *session) begin(ctx context.Context) error {
	if s.id != "" {
		return s.ask(ctx, false)
	}
	r := request{method: http.MethodPost, path: s.path(), header: s.header(), want: []int{http.StatusCreated}}
	return s.p.c.do(ctx, r, func(resp *http.Response) error {
		var answer drawbridge.Upload
		if err := readJSON(resp, &answer); err != nil {
			return err
		}
		if err := checkID(answer.ID); err != nil {
			return fmt.Errorf("bad answer: %w", err)
		}
		s.id = answer.ID
		return s.at(answer.Offset, false)
	})
}

// ask asks how far the upload is. sent says that what is new came from us, in
// this run.
func (s *session) ask(ctx context.Context, sent bool) error {
	return s.p.c.do(ctx, request{method: http.MethodGet, path: s.path()}, func(resp *http.Response) error {
		return s.answer(resp, sent)
	})
}

func (s *session) answer(resp *http.Response, sent bool) error {
	var answer drawbridge.Upload
	if err := readJSON(resp, &answer); err != nil {
		return err
	}
	return s.at(answer.Offset, sent)
}

// at takes the server's word for how far it is. If that is wrong, the digest
// will not match, and the upload begins anew.
func (s *session) at(offset int64, sent bool) error {
	if offset < 0 || offset > s.node.Meta.Length {
		return &StatusError{Method: http.MethodGet, Status: http.StatusBadRequest, Text: "the upload is longer than the file"}
	}
	s.offset = offset
	switch {
	case offset < s.known || sent && offset > s.known:
		s.p.meter.add(s.node.Path, offset-s.known)
	case offset > s.known:
		s.p.meter.skip(s.node.Path, offset-s.known)
	}
	s.known = offset
	return nil
}

func (s *session) run(ctx context.Context) error {
	wait := patience{c: s.p.c}
	for s.offset < s.node.Meta.Length {
		before := s.offset
		err := s.send(ctx)
		if err == nil && s.offset > before {
			wait.progress()
			continue
		}
		if err == nil {
			err = fmt.Errorf("bad answer: the upload is still at %d bytes", s.offset)
		}
		if err := wait.wait(ctx, err); err != nil {
			return err
		}
		if err := s.ask(ctx, true); err != nil {
			return err
		}
		if s.offset > before {
			wait.progress()
		}
	}
	r := request{method: http.MethodPut, path: s.path(), header: s.header(), want: []int{http.StatusCreated}, slow: true}
	return s.p.c.do(ctx, r, func(*http.Response) error { return nil })
}

// send sends one piece.
func (s *session) send(ctx context.Context) error {
	length := min(s.p.options.ChunkSize, s.node.Meta.Length-s.offset)
	var bodies bodies
	resp, err := s.p.c.once(ctx, request{
		method: http.MethodPatch, path: s.path(), length: length, body: bodies.open(s.p, s.node, s.offset, length),
		header: http.Header{"Upload-Offset": {strconv.FormatInt(s.offset, 10)}, "Content-Type": {drawbridge.TypeBinary}},
	})
	if err != nil {
		// What arrived of it is asked for afterwards, and not sent again.
		bodies.settle(0)
		return err
	}
	defer resp.Body.Close()
	bodies.settle(length)
	s.known += length
	return s.answer(resp, true)
}

// forget gives the upload up, for the reason err. It may be gone because it is
// done: by another process, or by us without our having got the answer.
func (s *session) forget(ctx context.Context, err error) (done bool, _ error) {
	if is(err, http.StatusNotFound) {
		question, _ := ask([]*Node{s.node})
		missing, err := s.p.c.ask(ctx, s.p.slug, question)
		if err != nil {
			return false, err
		}
		if len(missing) == 0 {
			return true, s.at(s.node.Meta.Length, false)
		}
	} else {
		_ = s.p.c.call(ctx, http.MethodDelete, s.path(), nil, nil) // else it expires
	}
	s.id = ""
	return false, s.at(0, true)
}
