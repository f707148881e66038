// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"enarx.dev/enarx/drawbridge"
)

// check refuses names that would make another path of the URL: a Slug can be
// made without being parsed.
func check(s drawbridge.Slug, needs ...func(drawbridge.Slug) error) error {
	for _, need := range append(needs, needUser) {
		if err := need(s); err != nil {
			return local{err}
		}
	}
	return nil
}

func needUser(s drawbridge.Slug) error       { return drawbridge.CheckUser(s.User) }
func needRepository(s drawbridge.Slug) error { return drawbridge.CheckRepository(s.Repository) }
func needTag(s drawbridge.Slug) error        { return drawbridge.CheckTag(s.Tag) }

// needPackage requires a tag or a digest.
func needPackage(s drawbridge.Slug) error {
	if s.Tag == "" && s.Pinned {
		return nil
	}
	return needTag(s)
}

func userOf(s drawbridge.Slug) drawbridge.Slug { return drawbridge.Slug{User: s.User} }
func repositoryOf(s drawbridge.Slug) drawbridge.Slug {
	return drawbridge.Slug{User: s.User, Repository: s.Repository}
}

// User returns the record of a user, which only the user may read.
func (c *Client) User(ctx context.Context, s drawbridge.Slug) (drawbridge.User, error) {
	if err := check(s); err != nil {
		return drawbridge.User{}, err
	}
	body, _, err := c.get(ctx, userOf(s).URLPath(), drawbridge.MaxJSON)
	if err != nil {
		return drawbridge.User{}, err
	}
	return drawbridge.ParseUser(body)
}

// PutUser registers a user. It returns false if there is the same one already.
func (c *Client) PutUser(ctx context.Context, s drawbridge.Slug, u drawbridge.User) (created bool, err error) {
	if err := check(s); err != nil {
		return false, err
	}
	body := u.Canonical()
	return c.put(ctx, userOf(s).URLPath(), drawbridge.MetaOf(body, drawbridge.TypeJSON), body)
}

// Repository returns the configuration of a repository, which only its owner
// may read.
func (c *Client) Repository(ctx context.Context, s drawbridge.Slug) (drawbridge.Repository, error) {
	if err := check(s, needRepository); err != nil {
		return drawbridge.Repository{}, err
	}
	body, _, err := c.get(ctx, repositoryOf(s).URLPath(), drawbridge.MaxJSON)
	if err != nil {
		return drawbridge.Repository{}, err
	}
	return drawbridge.ParseRepository(body)
}

// PutRepository makes a repository. It returns false if there is the same one
// already.
func (c *Client) PutRepository(ctx context.Context, s drawbridge.Slug, r drawbridge.Repository) (created bool, err error) {
	if err := check(s, needRepository); err != nil {
		return false, err
	}
	body := r.Canonical()
	return c.put(ctx, repositoryOf(s).URLPath(), drawbridge.MetaOf(body, drawbridge.TypeJSON), body)
}

// Tags returns the tags of a repository in the order of CompareTags, without
// the yanked ones.
func (c *Client) Tags(ctx context.Context, s drawbridge.Slug) ([]string, error) {
	if err := check(s, needRepository); err != nil {
		return nil, err
	}
	var tags []string
	if err := c.document(ctx, repositoryOf(s).URLPath()+"/_tag", maxList, &tags); err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if err := drawbridge.CheckTag(tag); err != nil {
			return nil, fmt.Errorf("list of tags: %w", err)
		}
	}
	slices.SortFunc(tags, drawbridge.CompareTags)
	return tags, nil
}

// Tag returns what a tag says. Signatures are not verified.
func (c *Client) Tag(ctx context.Context, s drawbridge.Slug) (drawbridge.Tag, error) {
	if err := check(s, needRepository, needTag); err != nil {
		return drawbridge.Tag{}, err
	}
	body, m, err := c.get(ctx, s.URLPath(), drawbridge.MaxJSON)
	if err != nil {
		return drawbridge.Tag{}, err
	}
	return drawbridge.ParseTag(m.Type, body)
}

// ErrPin is returned if the root of a package is not the one that a slug names
// by its digest.
var ErrPin = errors.New("the package is not the one that the digest names")

// Resolve returns the Meta of the root of a package, and its tag if the slug
// names one. With signers, the tag must be signed by one of them; with a digest
// in the slug, the root must have it. Everything below the root can be
// verified against the Meta.
func (c *Client) Resolve(ctx context.Context, s drawbridge.Slug, signers drawbridge.Signers) (drawbridge.Meta, drawbridge.Tag, error) {
	if err := check(s, needRepository, needPackage); err != nil {
		return drawbridge.Meta{}, drawbridge.Tag{}, err
	}
	var tag drawbridge.Tag
	var root drawbridge.Meta
	var err error
	switch {
	case s.Tag != "":
		if tag, err = c.Tag(ctx, s); err == nil && signers != nil {
			_, err = signers.Verify(tag, s.Name())
		}
		root = tag.Entry.Meta
	case signers != nil:
		err = drawbridge.ErrUnsigned // a digest has no signature, only a tag has one
	default:
		root, err = c.head(ctx, s.NodePath(nil))
	}
	if err != nil {
		return drawbridge.Meta{}, drawbridge.Tag{}, err
	}
	if sum, ok := root.Digests.SHA256(); s.Pinned && (!ok || sum != s.Digest) {
		return drawbridge.Meta{}, drawbridge.Tag{}, fmt.Errorf("%w: it is %s", ErrPin, drawbridge.Pin(sum))
	}
	return root, tag, nil
}

func (c *Client) head(ctx context.Context, path string) (m drawbridge.Meta, err error) {
	err = c.do(ctx, request{method: http.MethodHead, path: path}, func(resp *http.Response) error {
		m, err = metaOf(resp)
		return err
	})
	return m, err
}

// ErrListing is returned for a node that is not what its directory or tag
// lists, though its own headers may be right.
var ErrListing = errors.New("the node is not what its directory or tag lists")

// Open returns a node of a package as it comes. Only io.EOF says that what was
// read is what the headers say. With want, the headers must say exactly that.
// The caller closes the reader.
func (c *Client) Open(ctx context.Context, s drawbridge.Slug, p drawbridge.Path, want *drawbridge.Meta) (io.ReadCloser, drawbridge.Meta, error) {
	if err := errors.Join(check(s, needRepository, needPackage), checkPath(p)); err != nil {
		return nil, drawbridge.Meta{}, err
	}
	for wait := (patience{c: c}); ; {
		resp, err := c.once(ctx, request{method: http.MethodGet, path: s.NodePath(p)})
		if err != nil {
			if err := wait.wait(ctx, err); err != nil {
				return nil, drawbridge.Meta{}, err
			}
			continue
		}
		m, err := metaOf(resp)
		if err == nil && want != nil && m != *want {
			err = fmt.Errorf("%q: %w", p, ErrListing)
		}
		if err != nil {
			resp.Body.Close()
			return nil, drawbridge.Meta{}, err
		}
		return struct {
			io.Reader
			io.Closer
		}{drawbridge.NewVerifier(resp.Body, m), resp.Body}, m, nil
	}
}

func checkPath(p drawbridge.Path) error {
	if again, err := drawbridge.ParsePath(p.String()); err != nil || !slices.Equal(again, p) {
		return local{fmt.Errorf("bad path %q", p.String())}
	}
	return nil
}

// Directory returns the listing of a directory, which must have this Meta.
func (c *Client) Directory(ctx context.Context, s drawbridge.Slug, p drawbridge.Path, want drawbridge.Meta) (drawbridge.Directory, error) {
	if err := errors.Join(check(s, needRepository, needPackage), checkPath(p)); err != nil {
		return nil, err
	}
	body, m, err := c.get(ctx, s.NodePath(p), drawbridge.MaxJSON)
	if err == nil && m != want {
		err = ErrListing
	}
	var d drawbridge.Directory
	if err == nil {
		d, err = drawbridge.ParseDirectory(body)
	}
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", p.String(), err)
	}
	return d, nil
}

// maxList caps lists and documents, which upstream does not.
const maxList = 16 << 20

// document reads a JSON document. Names it does not know are ignored, as a
// newer server may have more.
func (c *Client) document(ctx context.Context, path string, max int64, to any) error {
	body, _, err := c.get(ctx, path, max)
	if err != nil {
		return err
	}
	return decode(body, to)
}

func decode(body []byte, to any) error {
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("bad answer: %w", err)
	}
	return nil
}

// call sends a JSON document, or nothing for nil, and reads the answer's, if to
// is not nil. It is not repeated.
func (c *Client) call(ctx context.Context, method, path string, document, to any) error {
	r, err := jsonRequest(method, path, document)
	if err != nil {
		return err
	}
	resp, err := c.once(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readJSON(resp, to)
}

func jsonRequest(method, path string, document any) (request, error) {
	r := request{method: method, path: path, want: []int{http.StatusCreated}}
	if document == nil {
		return r, nil
	}
	body, err := json.Marshal(document)
	if err != nil {
		return r, local{err}
	}
	r.header = entityHeader(drawbridge.MetaOf(body, drawbridge.TypeJSON))
	r.body, r.length = bytesBody(body), int64(len(body))
	return r, nil
}

func readJSON(resp *http.Response, to any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, drawbridge.MaxJSON+1))
	switch {
	case err != nil:
		return err
	case len(body) > drawbridge.MaxJSON:
		return ErrTooLarge
	case to == nil:
		return nil
	}
	return decode(body, to)
}

// The verbs below are extensions: upstream's servers answer 404 to them.

// Config returns what the server says of itself.
func (c *Client) Config(ctx context.Context) (cfg drawbridge.Config, err error) {
	err = c.document(ctx, drawbridge.Prefix+"/_config", drawbridge.MaxJSON, &cfg)
	return cfg, err
}

// Extended reports whether the server has our extensions. Where a verb below
// gets 404, it tells what is missing from a server that does not know the verb.
func (c *Client) Extended(ctx context.Context) (bool, error) {
	_, err := c.Config(ctx)
	if is(err, http.StatusNotFound, http.StatusMethodNotAllowed) {
		return false, nil
	}
	return err == nil, err
}

// Whoami returns what the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (w drawbridge.Whoami, err error) {
	err = c.document(ctx, drawbridge.Prefix+"/_whoami", drawbridge.MaxJSON, &w)
	return w, err
}

// Search returns a page of the repositories that match, of those that the
// caller may read: at most limit, or as many as the server likes for 0, those
// after the Next of the page before.
func (c *Client) Search(ctx context.Context, query string, limit int, after string) (list drawbridge.RepositoryList, err error) {
	values := url.Values{"q": {query}}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	if after != "" {
		values.Set("after", after)
	}
	err = c.document(ctx, drawbridge.Prefix+"/_search?"+values.Encode(), maxList, &list)
	return list, err
}

// Repositories returns a page of a user's repositories that the caller may
// read, as Search does.
func (c *Client) Repositories(ctx context.Context, s drawbridge.Slug, after string) (list drawbridge.RepositoryList, err error) {
	if err := check(s); err != nil {
		return list, err
	}
	path := userOf(s).URLPath() + "/_repos"
	if after != "" {
		path += "?" + url.Values{"after": {after}}.Encode()
	}
	err = c.document(ctx, path, maxList, &list)
	return list, err
}

// Info returns a repository with its tags, the yanked ones too.
func (c *Client) Info(ctx context.Context, s drawbridge.Slug) (info drawbridge.RepositoryInfo, err error) {
	if err := check(s, needRepository); err != nil {
		return info, err
	}
	err = c.document(ctx, repositoryOf(s).URLPath()+"/_info", maxList, &info)
	return info, err
}

// Deployment returns what a host should know before it starts a package.
func (c *Client) Deployment(ctx context.Context, s drawbridge.Slug) (d drawbridge.Deployment, err error) {
	if err := check(s, needRepository, needTag); err != nil {
		return d, err
	}
	err = c.document(ctx, s.URLPath()+"/deployment", drawbridge.MaxJSON, &d)
	return d, err
}

// Yanked returns why and when a tag was yanked. One that was not is a
// *StatusError with 404.
func (c *Client) Yanked(ctx context.Context, s drawbridge.Slug) (y drawbridge.Yank, err error) {
	if err := check(s, needRepository, needTag); err != nil {
		return y, err
	}
	err = c.document(ctx, s.URLPath()+"/yank", drawbridge.MaxJSON, &y)
	return y, err
}

// Yank withdraws a tag, for a reason that is shown to everybody. Its name stays
// taken.
func (c *Client) Yank(ctx context.Context, s drawbridge.Slug, reason string) error {
	if err := check(s, needRepository, needTag); err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, s.URLPath()+"/yank", drawbridge.Yank{Reason: reason}, nil)
}

// Unyank takes a Yank back.
func (c *Client) Unyank(ctx context.Context, s drawbridge.Slug) error {
	if err := check(s, needRepository, needTag); err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, s.URLPath()+"/yank", nil, nil)
}

// Policy returns the policy of a repository.
func (c *Client) Policy(ctx context.Context, s drawbridge.Slug) (p drawbridge.Policy, err error) {
	if err := check(s, needRepository); err != nil {
		return p, err
	}
	err = c.document(ctx, repositoryOf(s).URLPath()+"/_policy", drawbridge.MaxJSON, &p)
	return p, err
}

// PutPolicy replaces the policy of a repository.
func (c *Client) PutPolicy(ctx context.Context, s drawbridge.Slug, p drawbridge.Policy) error {
	if err := check(s, needRepository); err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, repositoryOf(s).URLPath()+"/_policy", p, nil)
}

// tokens returns where the tokens of a repository are, or those of a user for
// all of the user's repositories.
func tokens(s drawbridge.Slug) (string, error) {
	if s.Repository == "" {
		return userOf(s).URLPath() + "/_token", check(s)
	}
	return repositoryOf(s).URLPath() + "/_token", check(s, needRepository)
}

// Tokens returns the tokens of a repository, or of a user, without secrets.
func (c *Client) Tokens(ctx context.Context, s drawbridge.Slug) (list []drawbridge.Token, err error) {
	path, err := tokens(s)
	if err != nil {
		return nil, err
	}
	err = c.document(ctx, path, maxList, &list)
	return list, err
}

// NewToken makes a token. The answer is the only place where its secret is.
func (c *Client) NewToken(ctx context.Context, s drawbridge.Slug, ask drawbridge.Token) (t drawbridge.Token, err error) {
	path, err := tokens(s)
	if err != nil {
		return t, err
	}
	err = c.call(ctx, http.MethodPost, path, ask, &t)
	return t, err
}

// RevokeToken ends a token for good.
func (c *Client) RevokeToken(ctx context.Context, s drawbridge.Slug, id string) error {
	path, err := tokens(s)
	if err == nil {
		err = checkID(id)
	}
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, path+"/"+id, nil, nil)
}

// checkID requires what can be a part of a URL as it is.
func checkID(id string) error {
	if len(id) > 128 || drawbridge.CheckName(id) != nil {
		return local{fmt.Errorf("bad ID %.80q", id)}
	}
	return nil
}
