// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"enarx.dev/enarx/drawbridge"
)

// errSignedPlain: serialising a signed tag ends upstream's whole server in an
// endless recursion (spec/drawbridge.md section 2.4), so we do not send it one.
var errSignedPlain = errors.New("the server is of a kind that cannot store signed tags")

// runPlain publishes to a server without our extensions, in the order of
// upstream's clients: the tag, then each node, parents first. Such a server
// answers 409 for whatever exists, and what exists may be the rest of an upload
// that broke off, so it is read back and compared.
func (p *publication) runPlain(ctx context.Context) error {
	if p.tag.Signed() {
		return errSignedPlain
	}
	p.meter.expect(p.tree.Size())
	m := p.tag.Meta()
	created, err := p.c.put(ctx, p.slug.URLPath(), m, p.tag.Raw)
	if is(err, http.StatusConflict) {
		var there drawbridge.Tag
		if there, err = p.c.Tag(ctx, p.slug); err == nil {
			err = p.same(there)
		}
	}
	if err != nil {
		return err
	}
	for _, n := range p.tree.Nodes {
		made, err := p.putNode(ctx, n, p.slug.NodePath(n.Path))
		if is(err, http.StatusConflict) {
			err = p.compare(ctx, n)
		}
		if err != nil {
			return fmt.Errorf("sending %q: %w", n.Path.String(), err)
		}
		created = created || made
	}
	p.result.Created = created
	return nil
}

// compare reads a node back. One that is short on every reading is as wrong as
// one that is different.
func (p *publication) compare(ctx context.Context, n *Node) error {
	wait := patience{c: p.c}
	for {
		body, _, err := p.c.Open(ctx, p.slug, n.Path, &n.Meta)
		if err == nil {
			_, err = io.Copy(io.Discard, body)
			body.Close()
		}
		if err == nil {
			p.meter.skip(n.Path, n.Meta.Length)
			return nil
		}
		_, refused := errors.AsType[*StatusError](err)
		wrong := !passing(ctx, err) && !refused || is(err, http.StatusNotFound) || errors.Is(err, io.ErrUnexpectedEOF)
		if err := wait.wait(ctx, err); err == nil {
			continue
		}
		if wrong && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		return err
	}
}
