// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"io"
	"net/http"
	"slices"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// mainWasm is what released Keeps ask for below a package that is a bare
// module, where its root is the file: spec/drawbridge.md 7.1.
var mainWasm = drawbridge.Path{"main.wasm"}

// getTree is GET and HEAD of a node of a tag's tree.
func (x *exchange) getTree() error {
	about, tag, err := x.tagged()
	if err != nil {
		return err
	}
	var node store.NodeInfo
	missing := tag == nil
	if !missing {
		node, err = x.aliased(func(path drawbridge.Path) (store.NodeInfo, error) {
			return x.s.store.Node(x.ctx, about.User, about.Repo, about.Tag, path)
		})
		missing = errors.Is(err, store.ErrNotFound)
		if err != nil && !missing {
			return stored(err)
		}
	}
	about.Orphan = node.Orphan
	if err := x.decide(auth.ReadTree, about); err != nil {
		return err
	}
	if missing {
		return errNotFound
	}
	x.release(about, drawbridge.Pin(node.Blob))
	return x.node(node)
}

// aliased looks a node up, where main.wasm may also be the root.
func (x *exchange) aliased(get func(drawbridge.Path) (store.NodeInfo, error)) (store.NodeInfo, error) {
	node, err := get(x.route.path)
	if !errors.Is(err, store.ErrNotFound) || x.s.cfg.NoAlias || !slices.Equal(x.route.path, mainWasm) {
		return node, err
	}
	root, err := get(nil)
	if err == nil && root.Meta.Type != drawbridge.TypeWasm {
		err = store.ErrNotFound
	}
	return root, err
}

// node answers with a node's content. Browsers are told to save it, not to
// show it: this is not the publisher's site.
func (x *exchange) node(node store.NodeInfo) error {
	return x.content(node.Meta, func(at span) (io.ReadCloser, error) {
		x.w.Header().Set("Content-Disposition", "attachment")
		in, err := x.s.store.Open(x.ctx, node.Blob, at.offset, at.length)
		if errors.Is(err, store.ErrNotFound) {
			return nil, errors.Join(errors.New("a node without its content"), err)
		}
		return in, err
	})
}

// getDigest is GET and HEAD of a node below a root that is named by its
// SHA-256, if a tag of the repository has that root.
func (x *exchange) getDigest() error {
	about, err := x.owned(false)
	if err != nil {
		return err
	}
	var node store.NodeInfo
	missing := !about.Exists
	if !missing {
		if err := x.withPolicy(&about); err != nil {
			return err
		}
		var tag store.TagInfo
		node, err = x.aliased(func(path drawbridge.Path) (n store.NodeInfo, err error) {
			n, tag, err = x.s.store.NodeByDigest(x.ctx, about.User, about.Repo, x.route.digest, path)
			return n, err
		})
		missing = errors.Is(err, store.ErrNotFound)
		if err != nil && !missing {
			return stored(err)
		}
		if tag.Name != "" {
			about.Root, about.Orphan = x.route.digest, node.Orphan
			if tag.Yank != nil {
				about.Yanked, about.Reason = true, tag.Yank.Reason
			}
		}
	}
	if err := x.decide(auth.ReadDigest, about); err != nil {
		return err
	}
	if missing {
		return errNotFound
	}
	x.release(about, drawbridge.Pin(node.Blob))
	return x.node(node)
}

// receiveNode is PUT of a node: at its place below a tag, or without one for a
// tag that comes later.
func (x *exchange) receiveNode() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	m, err := x.declared(true)
	if err != nil {
		return err
	}
	if err := x.mayWrite(auth.Publish); err != nil {
		return err
	}
	leave, err := x.upload(m)
	if err != nil {
		return err
	}
	defer leave()
	rt := x.route
	result, err := x.s.store.PutNode(x.ctx, rt.user, rt.repo, rt.tag, rt.path, m, x.body)
	if err != nil {
		return x.storedNode(err)
	}
	created, committed := x.progress(true, result)
	// Of the nodes of a package the one that completes it is what matters to
	// whoever reads the audit log.
	x.event.change = committed
	return x.put(created)
}

// upload counts a body in that goes to the store as it comes.
func (x *exchange) upload(m drawbridge.Meta) (leave func(), err error) {
	limits := &x.s.cfg.Limits
	if m.Length > limits.Body {
		return nil, refuse(http.StatusRequestEntityTooLarge, "size", "A node has at most %d bytes", limits.Body)
	}
	leave, ok := x.s.uploads.enter(x.caller.Seen().ID(), limits.Uploads)
	if !ok {
		return nil, tooMany("Too many uploads at once")
	}
	if m.Type != drawbridge.TypeDirectory {
		return leave, nil
	}
	// A listing is parsed, for which the store has all of it in memory.
	err = refuse(http.StatusRequestEntityTooLarge, "size", "A directory has at most %d bytes", maxJSON)
	if m.Length <= maxJSON {
		err = x.hold(m.Length)
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// storedNode is stored for a node: what its owner lacks is space, not rights.
func (x *exchange) storedNode(err error) error {
	if x.body.err != nil {
		return x.body.err
	}
	if errors.Is(err, store.ErrQuota) {
		return refuse(http.StatusInsufficientStorage, "quota", "%s", sentence(err))
	}
	if errors.Is(err, store.ErrNotFound) {
		return errNoRepository
	}
	return stored(err)
}
