// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A clock is the real one, moved on by what a test wants.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// The names of the scenario.
const (
	theUser = "Alice"
	theRepo = "r-1"
)

// The lives of the scenario. Nothing waits for them: the clock is moved.
const (
	testLife = 24 * time.Hour
	testWait = time.Hour
)

func testOptions(c *clock) Options {
	return Options{StagingLife: testLife, GCWait: testWait, Now: c.now}
}

// The contents of the scenario. upstreamTree is uploaded in the order and with
// the defect of upstream's clients, ownTree in ours, junk is collected.
var (
	upstreamTree = tree{"Enarx.toml": "a = 1\n", "dir/x": "x", "dir/y": "yy", "main.wasm": "\x00asm one", "tail": "orphan"}.nodes(true)
	ownTree      = tree{"Enarx.toml": "a = 1\n", "main.wasm": "\x00asm two", "assets/big.bin": strings.Repeat("0123456789abcdef", 20<<10)}.nodes(false)
	otherTree    = tree{"Enarx.toml": "b = 2\n", "main.wasm": "\x00asm three"}.nodes(false)
	junkTree     = tree{"Enarx.toml": "junk", "junk.bin": "only junk has this", "main.wasm": "\x00asm one"}.nodes(false)
)

func entryOf(nodes map[string]sent) Object {
	return NewObject(drawbridge.Entry{Meta: nodes[""].meta}.Canonical(), drawbridge.TypeEntry)
}

// inOrder returns the paths in the order of upstream's uploads.
func inOrder(nodes map[string]sent) []string {
	return slices.SortedFunc(maps.Keys(nodes), func(a, b string) int {
		return slices.Compare(splitPath(a), splitPath(b))
	})
}

func splitPath(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// An actor runs a scenario against a store.
type actor struct {
	*Store
	clock  *clock
	upload string // id of the session
}

// A step of a scenario is one request that a server acknowledges, or not.
type step struct {
	name string
	do   func(ctx context.Context, a *actor) error
}

// scenario is everything that changes a store, from an empty one on.
func scenario() []step {
	steps := []step{
		{"user", func(ctx context.Context, a *actor) error {
			_, err := a.PutUser(ctx, theUser, NewObject(drawbridge.User{Subject: "s"}.Canonical(), drawbridge.TypeJSON))
			return err
		}},
		{"repo", func(ctx context.Context, a *actor) error {
			_, err := a.PutRepo(ctx, theUser, theRepo, NewObject(drawbridge.Repository{Public: true}.Canonical(), drawbridge.TypeJSON))
			return err
		}},
		{"policy 1", func(ctx context.Context, a *actor) error { return a.PutPolicy(ctx, theUser, theRepo, []byte("1")) }},
		{"token", func(ctx context.Context, a *actor) error { return a.PutToken(ctx, theUser, "token1", []byte("secret")) }},
	}
	steps = append(steps, upstreamSteps("1.0.0", upstreamTree)...)
	steps = append(steps, ownSteps("2.0.0", ownTree)...)
	steps = append(steps, []step{
		{"yank 1.0.0", yankStep("1.0.0")},
		{"use", func(ctx context.Context, a *actor) error {
			token, err := a.TokenRecord(ctx, "token1") // as whoever checks one does
			if err == nil && token == nil {
				err = ErrNotFound
			}
			if err == nil {
				_, err = a.ClaimTokenUse(ctx, "token1", 0, []byte("use"))
			}
			return err
		}},
		{"policy 2", func(ctx context.Context, a *actor) error { return a.PutPolicy(ctx, theUser, theRepo, []byte("2")) }},
		{"yank 2.0.0", yankStep("2.0.0")},
		{"unyank 1.0.0", func(ctx context.Context, a *actor) error { return a.Unyank(ctx, theUser, theRepo, "1.0.0") }},
	}...)
	// What is left behind: nodes, a pending tag, half an upload.
	steps = append(steps, nodeSteps("junk", junkTree)...)
	steps = append(steps, upstreamSteps("3.0.0", otherTree)[:2]...)
	steps = append(steps, []step{
		{"junk upload", func(ctx context.Context, a *actor) error {
			id, err := a.NewUpload(ctx, theUser, theRepo)
			if err == nil {
				_, err = a.Append(ctx, theUser, theRepo, id, 0, strings.NewReader("half of something"))
			}
			return err
		}},
		{"delete token", func(ctx context.Context, a *actor) error { return a.DeleteToken(ctx, theUser, "token1") }},
	}...)
	steps = append(steps, gcSteps("gc a")...)
	// What was collected is published after all, and in the middle of a round.
	steps = append(steps, ownSteps("4.0.0", junkTree)...)
	return append(steps, gcSteps("gc b")...)
}

func yankStep(tag string) func(ctx context.Context, a *actor) error {
	return func(ctx context.Context, a *actor) error {
		return a.Yank(ctx, theUser, theRepo, tag, drawbridge.Yank{Reason: "of " + tag})
	}
}

// upstreamSteps publish as upstream's clients do: the tag first, then its
// nodes from the root down.
func upstreamSteps(tag string, nodes map[string]sent) []step {
	steps := []step{{"tag " + tag, func(ctx context.Context, a *actor) error {
		_, err := a.PutTag(ctx, theUser, theRepo, tag, entryOf(nodes))
		return err
	}}}
	for _, path := range inOrder(nodes) {
		steps = append(steps, step{"node " + tag + " /" + path, func(ctx context.Context, a *actor) error {
			n := nodes[path]
			_, err := a.PutNode(ctx, theUser, theRepo, tag, splitPath(path), n.meta, bytes.NewReader(n.content))
			return err
		}})
	}
	return append(steps, step{"published " + tag, func(ctx context.Context, a *actor) error {
		return published(ctx, a.Store, theUser, theRepo, tag, nodes)
	}})
}

func nodeSteps(what string, nodes map[string]sent) []step {
	var steps []step
	for _, path := range slices.Sorted(maps.Keys(nodes)) {
		steps = append(steps, step{"node " + what + " /" + path, func(ctx context.Context, a *actor) error {
			n := nodes[path]
			return a.patiently(ctx, func() error {
				_, err := a.PutNode(ctx, theUser, theRepo, "", nil, n.meta, bytes.NewReader(n.content))
				return err
			})
		}})
	}
	return steps
}

// ownSteps publish as our client does: the nodes first, large ones by an
// upload session, then the tag.
func ownSteps(tag string, nodes map[string]sent) []step {
	var steps []step
	small := maps.Clone(nodes)
	for path, n := range nodes {
		if len(n.content) < 100<<10 {
			continue
		}
		delete(small, path)
		steps = append(steps, uploadSteps(tag, n)...)
	}
	steps = append(steps, nodeSteps(tag, small)...)
	return append(steps, step{"tag " + tag, func(ctx context.Context, a *actor) error {
		return a.patiently(ctx, func() error {
			result, err := a.PutTag(ctx, theUser, theRepo, tag, entryOf(nodes))
			if err == nil && !result.Committed {
				err = errors.New("the tag waits for nodes")
			}
			return err
		})
	}}, step{"published " + tag, func(ctx context.Context, a *actor) error {
		return published(ctx, a.Store, theUser, theRepo, tag, nodes)
	}})
}

func uploadSteps(tag string, n sent) []step {
	half := int64(len(n.content) / 2)
	return []step{
		{"upload " + tag, func(ctx context.Context, a *actor) (err error) {
			a.upload, err = a.NewUpload(ctx, theUser, theRepo)
			return err
		}},
		{"append 1 " + tag, func(ctx context.Context, a *actor) error {
			_, err := a.Append(ctx, theUser, theRepo, a.upload, 0, bytes.NewReader(n.content[:half]))
			return err
		}},
		{"append 2 " + tag, func(ctx context.Context, a *actor) error {
			at, err := a.Upload(ctx, theUser, theRepo, a.upload)
			if err == nil {
				_, err = a.Append(ctx, theUser, theRepo, a.upload, at, bytes.NewReader(n.content[at:]))
			}
			return err
		}},
		{"finish " + tag, func(ctx context.Context, a *actor) error {
			_, err := a.Finish(ctx, theUser, theRepo, a.upload, n.meta)
			return err
		}},
	}
}

// patiently repeats what the store is too busy for, as a client does that is
// told to come again later.
func (a *actor) patiently(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if !errors.Is(err, ErrBusy) || try == 20 {
			return err
		}
		a.clock.advance(testWait / 4)
		if _, err := a.GC(ctx); err != nil {
			return err
		}
	}
}

// gcSteps let everything expire that may, and collect it.
func gcSteps(name string) []step {
	steps := []step{{name + " waits", func(ctx context.Context, a *actor) error {
		a.clock.advance(testLife + 2*testWait)
		return nil
	}}}
	for i := range 12 {
		steps = append(steps, step{fmt.Sprintf("%s %d", name, i), func(ctx context.Context, a *actor) error {
			_, err := a.GC(ctx)
			a.clock.advance(testWait * 2 / 5)
			return err
		}})
	}
	return steps
}

// published returns nil if a tag is there with all its nodes, each of the bytes
// that were uploaded.
func published(ctx context.Context, s *Store, user, repo, tag string, nodes map[string]sent) error {
	info, err := s.GetTag(ctx, user, repo, tag)
	if err != nil {
		return err
	}
	if want := entryOf(nodes); !info.same(want) {
		return fmt.Errorf("tag %s has other content", tag)
	}
	for path, n := range nodes {
		if err := readable(ctx, s, user, repo, tag, path, n); err != nil {
			return fmt.Errorf("%s/%s:%s/%s: %w", user, repo, tag, path, err)
		}
	}
	return nil
}

func readable(ctx context.Context, s *Store, user, repo, tag, path string, n sent) error {
	info, err := s.Node(ctx, user, repo, tag, splitPath(path))
	if err != nil {
		return err
	}
	if info.Meta != n.meta {
		return fmt.Errorf("it is declared as %s", info.Meta.Canonical())
	}
	r, err := s.Open(ctx, info.Blob, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, n.content) {
		err = fmt.Errorf("%d bytes that were never sent", len(got))
	}
	return err
}

// An outcome is what is known of a step.
type outcome int

const (
	notTried outcome = iota
	failed           // or cut off: it may have had an effect
	acked
)

// outcomes are those of a scenario, by the steps' names.
type outcomes map[string]outcome

// run does the steps of a scenario. told is called after each, and done
// before; a step that fails is not repeated.
func (a *actor) run(ctx context.Context, steps []step, begin func(step), told func(step, error)) {
	for _, st := range steps {
		begin(st)
		told(st, st.do(ctx, a))
	}
}
