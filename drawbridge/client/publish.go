// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
)

const (
	maxParallel = 8
	chunkSize   = 16 << 20 // of what goes in pieces
	maxAsk      = 1 << 20  // bytes of one question for missing nodes
	maxRounds   = 3        // of sending what is missing
)

// PublishOptions says how to publish.
type PublishOptions struct {
	Signers   []crypto.Signer // keys that sign the tag; none: it is unsigned
	Tag       *drawbridge.Tag // the tag, signed elsewhere by SignTag, in place of Signers
	Progress  func(Event)     // may be nil
	Parallel  int             // files at a time; default 4, at most 8
	ChunkSize int64           // bytes from which a file is sent in pieces, of which each has so many; default 16 MiB
	StateDir  string          // where uploads that were broken off are remembered; "": nowhere
}

// Published is what became of a package.
type Published struct {
	Created bool           // false: it was there already, the same
	Tag     drawbridge.Tag // as the server has it
	Root    drawbridge.Meta
	Sent    int64 // bytes of content that were sent
	Skipped int64 // bytes of content that the server had
}

// Errors of Publish.
var (
	// ErrTaken is returned if the tag is another package already. A tag never
	// changes, so the package needs another version.
	ErrTaken = errors.New("the tag exists and is another package")
	// ErrNotCommitted is returned if the server has everything and yet does not
	// show the tag.
	ErrNotCommitted = errors.New("the server took the tag but does not show it yet")
	// ErrBroken is returned for a node that a server of upstream's keeps wrong,
	// after an upload that broke off. Nothing can repair it there.
	ErrBroken = errors.New("the server keeps wrong bytes under this tag, for ever: another version is needed")
)

// Publish makes a tag of a tree. It can be repeated until it succeeds: what the
// server has is not sent again, and a tag that is the same package already
// is a success. The tag is sent last and is seen by nobody before all of it
// is there. On a server of upstream's, which has no extensions, the tag comes
// first, as with upstream's own clients, and only files are not sent again.
func (c *Client) Publish(ctx context.Context, s drawbridge.Slug, t *Tree, o PublishOptions) (Published, error) {
	if err := check(s, needRepository, needTag); err != nil {
		return Published{}, err
	}
	tag, err := o.tag(s, t)
	if err != nil {
		return Published{}, err
	}
	p := &publication{
		c: c, slug: s, tree: t, options: o, tag: tag, meter: newMeter(o.Progress, Sending),
		result: Published{Tag: tag, Root: t.Root()},
	}
	p.options.Parallel = min(cmp.Or(max(o.Parallel, 0), 4), maxParallel)
	p.options.ChunkSize = cmp.Or(max(o.ChunkSize, 0), chunkSize)
	err = p.run(ctx)
	p.result.Sent, p.result.Skipped = p.meter.last().Done, p.meter.last().Skipped
	if err != nil {
		return Published{}, err
	}
	return p.result, nil
}

// ErrOtherTree is returned for a tag that was made of other files than those
// that are to be published.
var ErrOtherTree = errors.New("the tag is for other files")

func (o *PublishOptions) tag(s drawbridge.Slug, t *Tree) (drawbridge.Tag, error) {
	entry := drawbridge.Entry{Meta: t.Root()}
	switch {
	case o.Tag != nil && o.Tag.Entry.Meta != entry.Meta:
		return drawbridge.Tag{}, ErrOtherTree
	case o.Tag != nil:
		// Better to learn here that nobody will take the signature.
		tag, err := drawbridge.ParseTag(o.Tag.Type, o.Tag.Raw)
		for _, key := range tag.SelfSigned() {
			if _, otherErr := drawbridge.NewSigners(key).Verify(tag, s.Name()); err == nil {
				err = otherErr
			}
		}
		return tag, err
	case len(o.Signers) > 0:
		return drawbridge.SignTag(entry, s.Name(), o.Signers...)
	}
	return drawbridge.NewTag(entry), nil
}

type publication struct {
	c       *Client
	slug    drawbridge.Slug
	tree    *Tree
	options PublishOptions
	tag     drawbridge.Tag
	meter   *meter
	result  Published
}

func (p *publication) run(ctx context.Context) error {
	if done, err := p.published(ctx); done || err != nil {
		return err
	}
	for round := range maxRounds {
		missing, err := p.missing(ctx, round == 0)
		if round == 0 && is(err, http.StatusNotFound, http.StatusMethodNotAllowed) {
			if extended, configErr := p.c.Extended(ctx); configErr == nil && !extended {
				return p.runPlain(ctx)
			}
		}
		if err == nil {
			err = p.sendAll(ctx, missing)
		}
		if err != nil {
			return err
		}
		committed, err := p.putTag(ctx)
		if committed || err != nil {
			return err
		}
		// A node went between the answer and the tag, as a garbage collector
		// may do with what nothing refers to yet: the next round sends it.
	}
	return ErrNotCommitted
}

// published reports whether the tag is there and is this package. Who may not
// read learns it when the tag is sent.
func (p *publication) published(ctx context.Context) (bool, error) {
	there, err := p.c.Tag(ctx, p.slug)
	switch {
	case is(err, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := p.same(there); err != nil {
		return false, err
	}
	if !p.c.complete(ctx, p.slug, there) {
		return false, nil
	}
	// A store that was damaged and repaired wants some of it again. Who may not
	// write cannot help.
	if lost, err := p.lacking(ctx); err == nil && len(lost) > 0 {
		return false, nil
	}
	p.result.Tag = there
	p.meter.expect(p.tree.Size())
	p.meter.skip(nil, p.tree.Size())
	return true, nil
}

// complete reports whether the server shows the root too. Upstream's servers
// show a tag before they have anything else, and then all must be looked at.
func (c *Client) complete(ctx context.Context, s drawbridge.Slug, tag drawbridge.Tag) bool {
	root, err := c.head(ctx, s.NodePath(nil))
	if err != nil || root != tag.Entry.Meta {
		return false
	}
	extended, err := c.Extended(ctx)
	return err == nil && extended
}

// same returns ErrTaken unless the tag that is there says what ours says. A
// signature may be random, so its bytes may differ; it must be by the same keys.
func (p *publication) same(there drawbridge.Tag) error {
	if there.Entry.Meta != p.tag.Entry.Meta || len(there.Entry.Extra) > 0 && string(there.Raw) != string(p.tag.Raw) {
		return fmt.Errorf("%s: %w", p.slug.Name(), ErrTaken)
	}
	for _, key := range p.tag.SelfSigned() {
		if _, err := drawbridge.NewSigners(key).Verify(there, p.slug.Name()); err != nil {
			return fmt.Errorf("%s: %w, if only by its signature: %w", p.slug.Name(), ErrTaken, err)
		}
	}
	return nil // signed where nobody asked for it is fine
}

// missing returns the nodes that the repository lacks, and has them expected.
func (p *publication) missing(ctx context.Context, first bool) ([]*Node, error) {
	missing, err := p.lacking(ctx)
	if err != nil {
		return nil, err
	}
	if first {
		p.meter.expect(p.tree.Size())
		skipped := p.tree.Size()
		for _, n := range missing {
			skipped -= n.Meta.Length
		}
		p.meter.skip(nil, skipped)
		return missing, nil
	}
	for _, n := range missing {
		p.meter.expect(n.Meta.Length)
	}
	return missing, nil
}

// lacking returns the nodes that the repository lacks, each content once.
func (p *publication) lacking(ctx context.Context) ([]*Node, error) {
	var unique []*Node
	seen := map[drawbridge.Meta]bool{}
	for _, n := range p.tree.Nodes {
		if !seen[n.Meta] {
			seen[n.Meta] = true
			unique = append(unique, n)
		}
	}
	var missing []*Node
	for rest := unique; len(rest) > 0; {
		question, n := ask(rest)
		indexes, err := p.c.ask(ctx, p.slug, question)
		if err != nil {
			return nil, err
		}
		for _, i := range indexes {
			if i < 0 || i >= n {
				return nil, fmt.Errorf("bad answer: node %d of %d is missing", i, n)
			}
			missing = append(missing, rest[i])
		}
		rest = rest[n:]
	}
	return missing, nil
}

// ask returns the body of a question about the first n nodes.
func ask(nodes []*Node) (body []byte, n int) {
	for _, node := range nodes {
		if n == drawbridge.MaxMetas || len(body) > maxAsk {
			break
		}
		body = append(append(body, ','), node.Meta.Canonical()...)
		n++
	}
	body[0] = '['
	return append(body, ']'), n
}

func (c *Client) ask(ctx context.Context, s drawbridge.Slug, question []byte) ([]int, error) {
	var answer drawbridge.Missing
	r := request{
		method: http.MethodPost, path: repositoryOf(s).URLPath() + "/_nodes", body: bytesBody(question), length: int64(len(question)),
		header: entityHeader(drawbridge.MetaOf(question, drawbridge.TypeJSON)),
	}
	err := c.do(ctx, r, func(resp *http.Response) error { return readJSON(resp, &answer) })
	return answer.Missing, err
}

// sendAll sends nodes, several at a time. The first failure ends all of it.
func (p *publication) sendAll(ctx context.Context, nodes []*Node) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.options.Parallel)
	uploads := &uploads{dir: p.options.StateDir}
	for _, n := range nodes {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if n.Meta.Length < p.options.ChunkSize {
				_, err = p.putNode(ctx, n, repositoryOf(p.slug).URLPath()+"/_node")
			} else {
				err = p.upload(ctx, n, uploads)
			}
			if err != nil {
				return fmt.Errorf("sending %q: %w", n.Path.String(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// putNode sends one node with one request.
func (p *publication) putNode(ctx context.Context, n *Node, path string) (created bool, err error) {
	wait := patience{c: p.c}
	for {
		created, err = p.putOnce(ctx, n, path)
		if err == nil {
			return created, nil
		}
		if err := wait.wait(ctx, err); err != nil {
			return false, err
		}
	}
}

func (p *publication) putOnce(ctx context.Context, n *Node, path string) (created bool, err error) {
	var bodies bodies
	resp, err := p.c.once(ctx, request{
		method: http.MethodPut, path: path, header: entityHeader(n.Meta), want: []int{http.StatusCreated},
		length: n.Meta.Length, body: bodies.open(p, n, 0, n.Meta.Length),
	})
	if err != nil {
		bodies.settle(0)
		return false, err
	}
	bodies.settle(n.Meta.Length)
	return resp.StatusCode == http.StatusCreated, resp.Body.Close()
}

// bodies remembers the body of a request, to take back what was counted.
type bodies struct {
	mu   sync.Mutex
	last *counted
}

// open returns the body from offset on.
func (b *bodies) open(p *publication, n *Node, offset, length int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := p.tree.open(n, offset)
		if err != nil {
			return nil, err
		}
		body := &counted{meter: p.meter, path: n.Path, ReadCloser: struct {
			io.Reader
			io.Closer
		}{io.LimitReader(f, length), f}}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.last = body
		return body, nil
	}
}

func (b *bodies) settle(arrived int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil {
		b.last.settle(arrived)
	}
}

// putTag sends the tag and reports whether everybody sees it now.
func (p *publication) putTag(ctx context.Context) (committed bool, err error) {
	m := p.tag.Meta()
	r := request{
		method: http.MethodPut, path: p.slug.URLPath(), header: entityHeader(m), want: []int{http.StatusCreated},
		body: bytesBody(p.tag.Raw), length: m.Length, slow: true,
	}
	err = p.c.do(ctx, r, func(resp *http.Response) error {
		p.result.Created = p.result.Created || resp.StatusCode == http.StatusCreated
		committed = resp.Header.Get("Drawbridge-Tag") == "committed"
		return nil
	})
	if is(err, http.StatusConflict) {
		there, tagErr := p.c.Tag(ctx, p.slug)
		if tagErr != nil {
			return false, err
		}
		p.result.Tag = there
		return true, p.same(there)
	}
	return committed, err
}
