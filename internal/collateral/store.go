// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"enarx.dev/enarx/internal/collateral/cachefile"
)

// The cache on disk is one file per document, named after its address. It is
// trusted no more than the network: what comes out is parsed and verified as
// if it had just been fetched.
const (
	entryMagic = "enarx collateral 1\n"
	entrySlack = 64 << 10 // of the head
	maxEntries = 4096     // files kept; a stranger's evidence may name any chip
	entryExt   = ".collateral"
)

// entry is one file of the cache.
type entry struct {
	URL     string    `json:"url"`
	Fetched time.Time `json:"fetched"`
	Chain   string    `json:"chain,omitempty"` // the issuer chain header as it came
	SHA256  string    `json:"sha256"`          // of the body: a torn file is no entry
	body    []byte
}

// encode gives the magic line, one line of JSON, then the body.
func (e *entry) encode() ([]byte, error) {
	sum := sha256.Sum256(e.body)
	e.SHA256 = hex.EncodeToString(sum[:])
	head, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(entryMagic), head, []byte("\n"), e.body), nil
}

var errNoEntry = errors.New("not an entry of the cache")

func decodeEntry(data []byte) (*entry, error) {
	data, ok := bytes.CutPrefix(data, []byte(entryMagic))
	if !ok {
		return nil, errNoEntry
	}
	head, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok || len(head) > entrySlack {
		return nil, errNoEntry
	}
	e := &entry{}
	if err := json.Unmarshal(head, e); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEntry, err)
	}
	if sum := sha256.Sum256(body); e.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%w: the body is not what was written", errNoEntry)
	}
	e.body = body
	return e, nil
}

// store is the folder of the cache. A nil store keeps nothing.
type store struct {
	dir string

	mu    sync.Mutex
	count int // entries, about: other processes write too
}

func openStore(dir string) (*store, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{dir: dir}
	names, err := s.names()
	s.count = len(names)
	return s, err
}

// names returns the files of the cache.
func (s *store) names() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), entryExt) {
			names = append(names, filepath.Join(s.dir, f.Name()))
		}
	}
	return names, err
}

func (s *store) path(address string) string {
	sum := sha256.Sum256([]byte(address))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:20])+entryExt)
}

// read returns the entry for the address; errors.Is(err, fs.ErrNotExist) if
// there is none.
func (s *store) read(address string, limit int64) (*entry, error) {
	if s == nil {
		return nil, fs.ErrNotExist
	}
	f, err := os.Open(s.path(address))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+entrySlack+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit+entrySlack {
		return nil, fmt.Errorf("%s: %w", f.Name(), errTooBig)
	}
	e, err := decodeEntry(data)
	if err == nil && e.URL != address {
		err = errNoEntry
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return e, nil
}

func (s *store) write(e *entry) error {
	if s == nil {
		return nil
	}
	data, err := e.encode()
	if err != nil {
		return err
	}
	if err := cachefile.WriteFile(s.path(e.URL), data); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count++; s.count > maxEntries {
		return s.prune()
	}
	return nil
}

// prune removes the oldest quarter. What is removed can be fetched again.
func (s *store) prune() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	s.count = len(names)
	if s.count <= maxEntries {
		return nil
	}
	age := map[string]time.Time{}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			age[name] = info.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return age[a].Compare(age[b]) })
	for _, name := range names[:len(names)/4] {
		if err = os.Remove(name); err == nil {
			s.count--
		}
	}
	return err
}
