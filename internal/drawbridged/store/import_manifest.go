// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"enarx.dev/enarx/drawbridge"
)

// ErrExport is returned for a manifest that is not one, or not whole.
var ErrExport = errors.New("not a sound export")

// A manifest is what an export says, in its order.
type manifest struct {
	users []*manifestUser
	order [][32]byte              // contents, in the order in which they come
	needs map[[32]byte][]nodeNeed // who wants a content
}

type manifestUser struct {
	exportRecord
	repos []*manifestRepo
}

type manifestRepo struct {
	exportRecord
	nodes   map[drawbridge.Meta][32]byte // blobs
	tags    []*manifestTag
	missing int  // contents still to come
	refused bool // the destination did not take the repository
}

type manifestTag struct {
	exportRecord
	orphans []exportRecord
}

type nodeNeed struct {
	repo *manifestRepo
	meta drawbridge.Meta
}

// parseManifest reads a manifest to its end. The error is ErrExport or r's.
func parseManifest(r io.Reader) (*manifest, error) {
	p := &manifestParser{m: &manifest{needs: map[[32]byte][]nodeNeed{}}}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxExportLine)
	sum := sha256.New()
	for in.Scan() {
		p.line++
		record, err := parseExportLine(in.Bytes())
		if err == nil && p.ended {
			err = errors.New("there is more behind the end")
		}
		if err == nil && record.Kind == exportEnd {
			p.ended = true
			if record.Lines != p.line-1 || record.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
				err = errors.New("the lines before are not those that were written")
			}
		} else if err == nil {
			err = p.add(record)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrExport, p.line, err)
		}
		sum.Write(in.Bytes())
		sum.Write([]byte{'\n'})
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%w: after line %d: %w", ErrExport, p.line, err)
	}
	if !p.ended {
		return nil, fmt.Errorf("%w: it ends after line %d: it was cut off", ErrExport, p.line)
	}
	return p.m, nil
}

// parseExportLine decodes one line. What may be in a record of its kind is
// checked by who uses it.
func parseExportLine(line []byte) (exportRecord, error) {
	var r exportRecord
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if _, err := d.Token(); err != io.EOF {
		return r, errors.New("there is more behind the record")
	}
	return r, nil
}

type manifestParser struct {
	m     *manifest
	line  int64
	ended bool
	tag   *manifestTag
}

func (p *manifestParser) user() *manifestUser {
	if len(p.m.users) == 0 {
		return &manifestUser{}
	}
	return p.m.users[len(p.m.users)-1]
}

func (p *manifestParser) repo() *manifestRepo {
	if u := p.user(); len(u.repos) > 0 {
		return u.repos[len(u.repos)-1]
	}
	return &manifestRepo{}
}

// add takes one record into the manifest. Every record must follow the one
// that it belongs to.
func (p *manifestParser) add(r exportRecord) error {
	if (p.line == 1) != (r.Kind == exportStore) {
		return errors.New("an export starts with one store record")
	}
	switch r.Kind {
	case exportStore:
		if r.Version != exportFormat {
			return fmt.Errorf("it is of version %d, known is %d", r.Version, exportFormat)
		}
		return nil
	case exportUser:
		if r.Meta == nil {
			return errors.New("a user without meta")
		}
		p.m.users = append(p.m.users, &manifestUser{exportRecord: r})
		return drawbridge.CheckUser(r.User)
	case exportRepo:
		if u := p.user(); r.Meta == nil || r.User != u.User || u.Kind == "" {
			return errors.New("a repository without meta or not behind its user")
		}
		u := p.user()
		u.repos = append(u.repos, &manifestRepo{exportRecord: r, nodes: map[drawbridge.Meta][32]byte{}})
		return drawbridge.CheckRepository(r.Repo)
	}
	if repo := p.repo(); repo.Kind == "" || r.User != repo.User || r.Repo != repo.Repo || r.Meta == nil {
		return fmt.Errorf("%.40q without meta or not behind its repository", r.Kind)
	}
	return p.addBelowRepo(r, p.repo())
}

func (p *manifestParser) addBelowRepo(r exportRecord, repo *manifestRepo) error {
	switch r.Kind {
	case exportNode:
		blob, ok := parseSum(r.Blob)
		if sum, has := r.Meta.Digests.SHA256(); !ok || has && sum != blob {
			return errors.New("a node of another content")
		}
		if _, twice := repo.nodes[*r.Meta]; twice {
			return errors.New("a node is there twice")
		}
		repo.nodes[*r.Meta] = blob
		if p.m.needs[blob] == nil {
			p.m.order = append(p.m.order, blob)
		}
		p.m.needs[blob] = append(p.m.needs[blob], nodeNeed{repo, *r.Meta})
		repo.missing++
		return nil
	case exportTag:
		p.tag = &manifestTag{exportRecord: r}
		repo.tags = append(repo.tags, p.tag)
		return drawbridge.CheckTag(r.Tag)
	case exportOrphan:
		if p.tag == nil || p.tag.Tag != r.Tag || p.tag.Repo != r.Repo || p.tag.User != r.User {
			return errors.New("an orphan that is not behind its tag")
		}
		p.tag.orphans = append(p.tag.orphans, r)
		_, err := drawbridge.ParsePath(r.Path)
		return err
	}
	return fmt.Errorf("unknown kind %.40q", r.Kind)
}
