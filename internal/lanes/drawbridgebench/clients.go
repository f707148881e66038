// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	"enarx.dev/enarx/drawbridge"
)

// discard reads a body to its end.
func discard(body io.ReadCloser, want int) error {
	defer body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 256<<10))
	if err == nil && n != int64(want) {
		err = fmt.Errorf("%d bytes, not %d", n, want)
	}
	return err
}

// drawbridgeServer speaks our protocol, without a client that hashes.
type drawbridgeServer struct {
	client *http.Client
	base   string // …/user/repo
	token  string
}

func (s drawbridgeServer) put(ctx context.Context, path string, meta drawbridge.Meta, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Digest", meta.Digests.Header())
	req.Header.Set("Content-Type", meta.Type)
	resp, err := do(s.client, req, http.StatusCreated, http.StatusOK)
	if err != nil {
		return err
	}
	return discard(resp.Body, 0)
}

func (s drawbridgeServer) register(ctx context.Context) error {
	user := s
	user.base = s.base[:len(s.base)-len("/bench")]
	record := func(text string) (drawbridge.Meta, []byte) {
		return drawbridge.MetaOf([]byte(text), "application/json"), []byte(text)
	}
	meta, data := record(`{"subject":"test|subject"}`)
	if err := user.put(ctx, "", meta, data); err != nil {
		return err
	}
	meta, data = record(`{"public":true}`)
	return s.put(ctx, "", meta, data)
}

// upload stores a file that no tag names yet.
func (s drawbridgeServer) upload(ctx context.Context, meta drawbridge.Meta, data []byte) error {
	return s.put(ctx, "/_node", meta, data)
}

// publish makes data the root of a tag.
func (s drawbridgeServer) publish(ctx context.Context, tag string, meta drawbridge.Meta, data []byte) error {
	if err := s.upload(ctx, meta, data); err != nil {
		return err
	}
	entry := meta.Canonical()
	return s.put(ctx, "/_tag/"+tag, drawbridge.MetaOf(entry, drawbridge.TypeEntry), entry)
}

func (s drawbridgeServer) download(ctx context.Context, tag string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/_tag/"+tag+"/tree", nil)
	if err != nil {
		return err
	}
	resp, err := do(s.client, req, http.StatusOK)
	if err != nil {
		return err
	}
	return discard(resp.Body, want)
}

// registryServer speaks the OCI distribution protocol.
type registryServer struct {
	client *http.Client
	base   string
}

func digestOf(meta drawbridge.Meta) string {
	sum, _ := meta.Digests.SHA256()
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s registryServer) upload(ctx context.Context, meta drawbridge.Meta, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/v2/bench/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	resp, err := do(s.client, req, http.StatusAccepted)
	if err != nil {
		return err
	}
	if err := discard(resp.Body, 0); err != nil {
		return err
	}
	to, err := resp.Location()
	if err != nil {
		return err
	}
	query := to.Query()
	query.Set("digest", digestOf(meta))
	to.RawQuery = query.Encode()
	if req, err = http.NewRequestWithContext(ctx, http.MethodPut, to.String(), bytes.NewReader(data)); err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if resp, err = do(s.client, req, http.StatusCreated); err != nil {
		return err
	}
	return discard(resp.Body, 0)
}

func (s registryServer) download(ctx context.Context, meta drawbridge.Meta) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v2/bench/blobs/"+digestOf(meta), nil)
	if err != nil {
		return err
	}
	resp, err := do(s.client, req, http.StatusOK)
	if err != nil {
		return err
	}
	return discard(resp.Body, int(meta.Length))
}
