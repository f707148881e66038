// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"enarx.dev/enarx/drawbridge"
)

// maxJSON is upstream's limit for what is parsed.
const maxJSON = drawbridge.MaxJSON

// declared is what the headers of a request say about its body, checked in
// upstream's order: digest, length, type.
func (x *exchange) declared(needDigest bool) (drawbridge.Meta, error) {
	var m drawbridge.Meta
	var err error
	if lines := x.r.Header.Values("Content-Digest"); len(lines) > 0 {
		if m.Digests, err = drawbridge.ParseDigestHeader(lines...); err != nil {
			return m, badRequest("digest-header", "Invalid Content-Digest header: %v", err)
		}
	} else if needDigest {
		return m, badRequest("digest-header", "At least one content digest value must be specified")
	}
	if m.Length, err = x.contentLength(); err != nil {
		return m, err
	}
	types := x.r.Header.Values("Content-Type")
	if len(types) != 1 {
		return m, badRequest("type-header", "Exactly one Content-Type header is needed")
	}
	if m.Type, err = drawbridge.ParseType(types[0]); err != nil {
		return m, badRequest("type-header", "Invalid Content-Type header: %v", err)
	}
	return m, nil
}

// contentLength is what the header says, which is not the same as the length
// that net/http knows: it takes none for 0.
func (x *exchange) contentLength() (int64, error) {
	if len(x.r.Header.Values("Content-Length")) == 0 || len(x.r.TransferEncoding) > 0 {
		return 0, badRequest("length-header", "Content-Length header missing")
	}
	if x.r.ContentLength < 0 {
		return 0, badRequest("length-header", "Invalid Content-Length header")
	}
	return x.r.ContentLength, nil
}

// isJSON reports whether a media type is application/json or application/*+json.
func isJSON(mediaType string) bool {
	essence, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (essence == "application/json" || strings.HasPrefix(essence, "application/") && strings.HasSuffix(essence, "+json"))
}

// jsonBody receives a body that is to be JSON, and has been declared so.
func (x *exchange) jsonBody(m drawbridge.Meta) ([]byte, error) {
	if !isJSON(m.Type) {
		return nil, refuse(http.StatusUnsupportedMediaType, "type", "Expected request with `Content-Type: application/json`")
	}
	raw, err := x.receive(m.Length)
	if err != nil {
		return nil, err
	}
	if !json.Valid(raw) {
		return nil, badRequest("json", "Failed to parse the request body as JSON")
	}
	return raw, nil
}

// document receives a JSON document of ours. Names that it does not have are
// refused: a client that misspells one should not believe it was heard.
func document[T any](x *exchange) (v T, err error) {
	raw, err := x.sentJSON()
	if err != nil {
		return v, err
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(&v); err != nil {
		return v, unprocessable(err)
	}
	return v, nil
}

// sentJSON receives a body that is JSON, with or without a digest.
func (x *exchange) sentJSON() ([]byte, error) {
	m, err := x.declared(false)
	if err != nil {
		return nil, err
	}
	raw, err := x.jsonBody(m)
	if err == nil && m.Digests.Len() > 0 && m.Verify(raw) != nil {
		err = badRequest("mismatch", "Content digest mismatch")
	}
	return raw, err
}

func unprocessable(err error) *failure {
	return refuse(http.StatusUnprocessableEntity, "json-shape", "Failed to deserialize the JSON body into the target type: %v", err)
}

// smallJSON is the size up to which bodies are not counted as uploads: as many
// as there may be requests do not take all the memory. Larger ones, sent
// slowly, would keep everybody else's out.
const smallJSON = 16 << 10

// receive reads a body into memory, of which all requests together get so much.
func (x *exchange) receive(length int64) ([]byte, error) {
	if length > maxJSON {
		return nil, refuse(http.StatusRequestEntityTooLarge, "size", "The body has more than %d bytes", maxJSON)
	}
	if length > smallJSON {
		leave, ok := x.s.uploads.enter(x.caller.Seen().ID(), x.s.cfg.Limits.Uploads)
		if !ok {
			return nil, tooMany("Too many uploads at once")
		}
		defer leave()
	}
	if err := x.hold(length); err != nil {
		return nil, err
	}
	var buf bytes.Buffer // grows with what comes, not with what was announced
	if _, err := io.Copy(&buf, io.LimitReader(x.body, length)); err != nil {
		return nil, err
	}
	if int64(buf.Len()) != length {
		return nil, errGone
	}
	return buf.Bytes(), nil
}

// hold takes memory until the request is over.
func (x *exchange) hold(n int64) error {
	if !x.s.memory.TryAcquire(n) {
		return busy("Too many large requests at once")
	}
	x.leave = append(x.leave, func() { x.s.memory.Release(n) })
	return nil
}

// head sets the three headers that clients need of every content.
func (x *exchange) head(m drawbridge.Meta) {
	header := x.w.Header()
	header.Set("Content-Digest", m.Digests.Header())
	header.Set("Content-Length", strconv.FormatInt(m.Length, 10))
	header.Set("Content-Type", m.Type)
}

// bytes answers with a stored content that is in memory.
func (x *exchange) bytes(m drawbridge.Meta, raw []byte) error { return x.whole(http.StatusOK, m, raw) }

func (x *exchange) whole(status int, m drawbridge.Meta, raw []byte) error {
	if no := x.record(status); no != nil {
		return no
	}
	x.settle()
	x.head(m)
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(raw) // the connection may be gone, and nobody is left to tell
	}
	return nil
}

// json answers with a document of our own, described as the stored ones are.
func (x *exchange) json(status int, document any) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("bug: encoding an answer: %w", err)
	}
	return x.whole(status, drawbridge.MetaOf(raw, drawbridge.TypeJSON), raw)
}

// content answers with a stored content, or with as much of it as was asked
// for. Upstream's clients ask for all and get none of the further headers.
func (x *exchange) content(m drawbridge.Meta, open func(span) (io.ReadCloser, error)) error {
	header := x.w.Header()
	if asked := x.r.Header.Values("If-None-Match"); len(asked) > 0 {
		header.Set("ETag", etag(m))
		if etagged(asked, etag(m)) {
			return x.unchanged()
		}
	}
	status, part := http.StatusOK, span{0, m.Length}
	if asked := x.r.Header.Get("Range"); asked != "" && x.r.Method == http.MethodGet && x.sameAsBefore(m) {
		at, kind := parseRange(asked, m.Length)
		switch kind {
		case rangeOutside:
			header.Set("Content-Range", fmt.Sprintf("bytes */%d", m.Length))
			return refuse(http.StatusRequestedRangeNotSatisfiable, "range", "The content has %d bytes", m.Length)
		case rangePart:
			status, part = http.StatusPartialContent, at
		}
	}
	if no := x.record(status); no != nil {
		return no
	}
	if x.r.Method == http.MethodHead {
		x.settle()
		x.head(m)
		x.w.WriteHeader(status)
		return nil
	}
	in, err := open(part)
	if err != nil {
		return err
	}
	defer in.Close()
	x.settle()
	x.head(m)
	if status == http.StatusPartialContent {
		// Content-Digest would be that of the part, RFC 9530 section 2.
		header.Del("Content-Digest")
		header.Set("Repr-Digest", m.Digests.Header())
		header.Set("Content-Length", strconv.FormatInt(part.length, 10))
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.offset, part.offset+part.length-1, m.Length))
		header.Set("ETag", etag(m))
	}
	x.w.WriteHeader(status)
	return x.stream(in, part.length)
}

func (x *exchange) unchanged() error {
	if no := x.record(http.StatusNotModified); no != nil {
		return no
	}
	x.settle()
	x.w.WriteHeader(http.StatusNotModified)
	return nil
}

// sameAsBefore reports whether a range is still wanted, by If-Range.
func (x *exchange) sameAsBefore(m drawbridge.Meta) bool {
	condition := x.r.Header.Get("If-Range")
	return condition == "" || condition == etag(m)
}

// etag is the entity tag: it names the content, its type and what was declared.
func etag(m drawbridge.Meta) string {
	key := m.Key()
	return `"` + hex.EncodeToString(key[:]) + `"`
}

// stream sends a body whose header is out. When that fails the connection is
// closed before its announced end, which is all that can be said then.
func (x *exchange) stream(in io.Reader, length int64) error {
	limits := &x.s.cfg.Limits
	out := &sink{out: x.w, rc: x.body.rc, ctx: x.ctx, pace: pace{grace: limits.Grace, stall: limits.Stall, rate: limits.MinRate}}
	size := int64(piece)
	defer x.s.large.Add(-1)
	if x.s.large.Add(1) <= maxLarge && length > piece {
		const records = large >> 14 // of TLS, with some 22 bytes beside the content of each
		size, out.gather = large, make([]byte, 0, large+32*(records+1))
	}
	n, err := io.CopyBuffer(out, struct{ io.Reader }{io.LimitReader(in, length)}, make([]byte, min(length, size)+1))
	switch {
	case n == length:
		return nil
	case err == nil:
		return fmt.Errorf("a content ended after %d of %d bytes", n, length)
	case errors.Is(err, errSlow), errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusOK, kind: "slow-reader", text: "The answer was read too slowly"}
	case x.ctx.Err() != nil:
		return &failure{status: http.StatusOK, kind: "gone", text: "The client left"}
	}
	return err
}

type nopCloser struct{ io.Reader }

func (nopCloser) Close() error { return nil }
