// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"net/http"
	"strconv"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// chunkSize is what a client should send with one PATCH of an upload.
const chunkSize = 16 << 20

// postNodes answers which of many contents the repository lacks, so that a
// client need not send the others.
func (x *exchange) postNodes() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.Publish); err != nil {
		return err
	}
	x.event.change = false // a question
	raw, err := x.sentJSON()
	if err != nil {
		return err
	}
	metas, err := drawbridge.ParseMetas(raw)
	if err != nil {
		return unprocessable(err)
	}
	lacks, err := x.s.store.Missing(x.ctx, x.route.user, x.route.repo, metas)
	if err != nil {
		return stored(err)
	}
	answer := drawbridge.Missing{Missing: []int{}}
	for i, lack := range lacks {
		if lack {
			answer.Missing = append(answer.Missing, i)
		}
	}
	return x.json(http.StatusOK, answer)
}

// postUpload begins an upload that may come in pieces.
func (x *exchange) postUpload() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.Publish); err != nil {
		return err
	}
	x.event.change = false
	id, err := x.s.store.NewUpload(x.ctx, x.route.user, x.route.repo)
	if err != nil {
		return x.storedNode(err)
	}
	return x.json(http.StatusCreated, drawbridge.Upload{ID: id})
}

// mayUpload is the gate to an upload that has begun.
func (x *exchange) mayUpload() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.Publish); err != nil {
		return err
	}
	x.event.change = false
	return nil
}

// getUpload is GET of where the upload continues.
func (x *exchange) getUpload() error {
	if err := x.mayUpload(); err != nil {
		return err
	}
	offset, err := x.s.store.Upload(x.ctx, x.route.user, x.route.repo, x.route.id)
	if err != nil {
		return storedUpload(err)
	}
	return x.json(http.StatusOK, drawbridge.Upload{ID: x.route.id, Offset: offset})
}

// patchUpload receives the next piece. What comes before the connection breaks
// is kept, in whole parts.
func (x *exchange) patchUpload() error {
	if err := x.mayUpload(); err != nil {
		return err
	}
	length, err := x.contentLength()
	if err != nil {
		return err
	}
	offset, err := x.number("Upload-Offset")
	if err != nil {
		return err
	}
	leave, err := x.upload(drawbridge.Meta{Length: max(length, offset, offset+length)})
	if err != nil {
		return err
	}
	defer leave()
	rt := x.route
	next, err := x.s.store.Append(x.ctx, rt.user, rt.repo, rt.id, offset, x.body)
	if errors.Is(err, store.ErrOffset) {
		if next, err := x.s.store.Upload(x.ctx, rt.user, rt.repo, rt.id); err == nil {
			x.w.Header().Set("Upload-Offset", strconv.FormatInt(next, 10))
		}
		return refuse(http.StatusConflict, "offset", "The upload continues at another offset")
	}
	if x.body.err != nil {
		return x.body.err
	}
	if err != nil {
		return storedUpload(err)
	}
	return x.json(http.StatusOK, drawbridge.Upload{ID: rt.id, Offset: next})
}

// number reads a header that is a number of bytes.
func (x *exchange) number(name string) (int64, error) {
	n, ok := position(x.r.Header.Get(name))
	if !ok {
		return 0, badRequest("number-header", "%s header missing or not a number", name)
	}
	return n, nil
}

// finishUpload makes the upload a node of the repository, if it is what the
// headers say.
func (x *exchange) finishUpload() error {
	if err := x.mayUpload(); err != nil {
		return err
	}
	m, err := x.declared(true)
	if err != nil {
		return err
	}
	if m.Length != 0 {
		return badRequest("length-header", "The request that finishes an upload has no body")
	}
	if m.Length, err = x.number("Upload-Length"); err != nil {
		return err
	}
	leave, err := x.upload(m)
	if err != nil {
		return err
	}
	defer leave()
	result, err := x.s.store.Finish(x.ctx, x.route.user, x.route.repo, x.route.id, m)
	if errors.Is(err, store.ErrQuota) {
		return x.storedNode(err)
	}
	if err != nil {
		return storedUpload(err)
	}
	return x.put(result.Created)
}

// deleteUpload gives an upload up.
func (x *exchange) deleteUpload() error {
	if err := x.mayUpload(); err != nil {
		return err
	}
	if err := x.s.store.Abort(x.ctx, x.route.user, x.route.repo, x.route.id); err != nil {
		return storedUpload(err)
	}
	return x.empty(http.StatusOK)
}

// storedUpload is stored where what is missing is the upload.
func storedUpload(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return refuse(http.StatusNotFound, "missing", "No such upload, or it has expired")
	}
	if errors.Is(err, store.ErrQuota) {
		return refuse(http.StatusInsufficientStorage, "quota", "%s", sentence(err))
	}
	return stored(err)
}
