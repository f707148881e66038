// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// An aftermath is what is left of a scenario that was cut off or had faults.
type aftermath struct {
	out    outcomes
	ahead  time.Duration // how far its clock was
	upload string        // id of its session
	odd    bool          // which of two continuations is tried
	again  bool          // a life before did the same, as far as it came
}

// An inquest collects what is wrong.
type inquest struct {
	aftermath
	s        *Store
	clock    *clock
	contents map[string]map[string]sent // of the tags, as published in the end
	problems []string
}

func (q *inquest) wrong(format string, args ...any) {
	q.problems = append(q.problems, fmt.Sprintf(format, args...))
}

// examine checks a store that was opened anew: that it is sound, that nothing
// is readable that was not verified, that nothing acknowledged is lost, that
// no name is burnt, and that what is left over goes.
func (a aftermath) examine(ctx context.Context, s *Store, c *clock) []string {
	q := &inquest{aftermath: a, s: s, clock: c, contents: map[string]map[string]sent{}}
	q.fsck(ctx, "afterwards")
	q.entities(ctx)
	q.nodes(ctx)
	q.tags(ctx)
	q.session(ctx)
	q.republish(ctx)
	q.fsck(ctx, "after publishing again")
	q.collect(ctx)
	return q.problems
}

func (q *inquest) fsck(ctx context.Context, when string) FsckReport {
	report, err := q.s.Fsck(ctx, FsckOptions{})
	if err != nil || !report.Clean() {
		q.wrong("fsck %s: %v\n%v", when, err, report)
	}
	return report
}

// entities checks what is not content.
func (q *inquest) entities(ctx context.Context) {
	if _, err := q.s.GetUser(ctx, theUser); err != nil && (q.out["user"] == acked || !errors.Is(err, ErrNotFound)) {
		q.wrong("user: %v", err)
	}
	if _, err := q.s.GetRepo(ctx, theUser, theRepo); err != nil && (q.out["repo"] == acked || !errors.Is(err, ErrNotFound)) {
		q.wrong("repo: %v", err)
	}
	policy, err := q.s.Policy(ctx, theUser, theRepo)
	if err != nil && !errors.Is(err, ErrNotFound) {
		q.wrong("policy: %v", err)
	}
	q.oneOf("policy", string(policy), "", "policy 1", "1", "policy 2", "2")
	token, err := q.s.TokenRecord(ctx, "token1")
	if err != nil {
		q.wrong("token: %v", err)
	}
	q.oneOf("token", string(token), "", "token", "secret", "delete token", "")
	use, err := q.s.TokenUse(ctx, "token1", 0)
	if err != nil {
		q.wrong("use: %v", err)
	}
	q.oneOf("use", string(use), "", "use", "use", "delete token", "")
}

// oneOf checks a value that steps change one after the other: it is that of
// the last that was acknowledged, or of one behind it that may have had an
// effect. The first value is that of before.
func (q *inquest) oneOf(what, got, before string, stepsAndValues ...string) {
	allowed := map[string]bool{before: true}
	for i := 1; i < len(stepsAndValues) && q.again; i += 2 {
		allowed[stepsAndValues[i]] = true
	}
	for i := 0; i < len(stepsAndValues); i += 2 {
		switch q.out[stepsAndValues[i]] {
		case acked:
			allowed = map[string]bool{stepsAndValues[i+1]: true}
		case failed:
			allowed[stepsAndValues[i+1]] = true
		}
	}
	if !allowed[got] {
		q.wrong("%s is %q, allowed are %v", what, got, allowed)
	}
}

// nodes checks that what was acknowledged is there, until it may expire.
func (q *inquest) nodes(ctx context.Context) {
	if q.out["repo"] != acked {
		return
	}
	for what, nodes := range map[string]map[string]sent{"1.0.0": upstreamTree, "2.0.0": ownTree, "junk": junkTree, "3.0.0": otherTree, "4.0.0": junkTree} {
		end := "gc a waits"
		if what == "4.0.0" {
			end = "gc b waits"
		}
		if q.out[end] != notTried {
			continue
		}
		for path, n := range nodes {
			if q.out["node "+what+" /"+path] != acked {
				continue
			}
			if missing, err := q.s.Missing(ctx, theUser, theRepo, []drawbridge.Meta{n.meta}); err != nil || missing[0] {
				q.wrong("node %s /%s is missing: %v", what, path, err)
			}
		}
	}
}

var contents = map[string]map[string]sent{"1.0.0": upstreamTree, "2.0.0": ownTree, "4.0.0": junkTree}

// tags checks that the tags that were seen are there, and that all that are
// there are whole.
func (q *inquest) tags(ctx context.Context) {
	for tag, nodes := range contents {
		err := q.visible(ctx, tag, nodes)
		switch {
		case err == nil:
		case !errors.Is(err, ErrNotFound):
			q.wrong("tag %s: %v", tag, err)
		case q.out["published "+tag] == acked:
			q.wrong("tag %s was seen and is gone", tag)
		case tag != "1.0.0" && q.out["tag "+tag] == acked:
			q.wrong("tag %s was acknowledged and is gone", tag)
		}
	}
	names, err := q.s.TagNames(ctx, theUser, theRepo)
	if err != nil && (!errors.Is(err, ErrNotFound) || q.out["repo"] == acked) {
		q.wrong("tags: %v", err)
	}
	for _, name := range names {
		if contents[name.Name] == nil {
			q.wrong("tag %s is there", name.Name)
		}
		switch name.Name {
		case "1.0.0":
			q.oneOf("yank 1.0.0", fmt.Sprint(name.Yanked), "false", "yank 1.0.0", "true", "unyank 1.0.0", "false")
		case "2.0.0":
			q.oneOf("yank 2.0.0", fmt.Sprint(name.Yanked), "false", "yank 2.0.0", "true")
		}
	}
}

// visible returns nil if a tag is there with all that belongs to it. Orphans
// may come after the tag.
func (q *inquest) visible(ctx context.Context, tag string, nodes map[string]sent) error {
	if _, err := q.s.GetTag(ctx, theUser, theRepo, tag); err != nil {
		return err
	}
	if tag == "1.0.0" {
		nodes = maps.Clone(nodes)
		for _, orphan := range []string{"main.wasm", "tail"} {
			if q.out["node 1.0.0 /"+orphan] != acked {
				delete(nodes, orphan)
			}
		}
	}
	err := published(ctx, q.s, theUser, theRepo, tag, nodes)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("it is visible and not whole: %v", err) // another error than that it is not there
	}
	return err
}

// session continues an upload that was cut off.
func (q *inquest) session(ctx context.Context) {
	if q.out["upload 2.0.0"] != acked || q.out["gc a waits"] != notTried || q.out["published 2.0.0"] != notTried {
		return
	}
	n := ownTree["assets/big.bin"]
	if q.out["finish 2.0.0"] == notTried {
		at, err := q.s.Upload(ctx, theUser, theRepo, q.upload)
		if err != nil {
			q.wrong("the upload is gone: %v", err)
			return
		}
		half, whole := fmt.Sprint(len(n.content)/2), fmt.Sprint(len(n.content))
		if q.out["append 2 2.0.0"] != failed && q.out["append 1 2.0.0"] != failed { // a part of a part may have been kept
			q.oneOf("the upload", fmt.Sprint(at), "0", "append 1 2.0.0", half, "append 2 2.0.0", whole)
		}
		if _, err := q.s.Append(ctx, theUser, theRepo, q.upload, at, bytes.NewReader(n.content[at:])); err != nil {
			q.wrong("the upload cannot be continued: %v", err)
		}
	}
	if q.out["append 2 2.0.0"] == acked || q.out["finish 2.0.0"] == notTried {
		if _, err := q.s.Finish(ctx, theUser, theRepo, q.upload, n.meta); err != nil {
			q.wrong("the upload cannot be finished: %v", err)
		}
	}
}

// republish publishes once more under every name: the same, or if the name was
// not acknowledged, something else.
func (q *inquest) republish(ctx context.Context) {
	a := &actor{Store: q.s, clock: q.clock}
	for _, st := range scenario()[:2] {
		if err := st.do(ctx, a); err != nil {
			q.wrong("again %s: %v", st.name, err)
		}
	}
	for tag, nodes := range contents {
		_, err := q.s.GetTag(ctx, theUser, theRepo, tag)
		there := err == nil
		if !there && q.odd {
			nodes = otherTree
		}
		q.contents[tag] = nodes
		steps := upstreamSteps(tag, nodes)
		if resumes := tag == "1.0.0" && !there && !q.odd && q.out["tag 1.0.0"] == acked && q.out["gc a waits"] == notTried; resumes {
			steps = q.rest(steps)
		}
		for _, st := range steps {
			if err := a.patiently(ctx, func() error { return st.do(ctx, a) }); err != nil {
				q.wrong("again (there: %v, odd: %v) %s: %v", there, q.odd, st.name, err)
			}
		}
		if _, err := q.s.PutTag(ctx, theUser, theRepo, tag, entryOf(emptyTree)); !errors.Is(err, ErrConflict) {
			q.wrong("another content for %s: %v", tag, err)
		}
	}
}

var emptyTree = tree{}.nodes(false)

// rest leaves the steps that were not acknowledged.
func (q *inquest) rest(steps []step) []step {
	var rest []step
	for _, st := range steps {
		if q.out[st.name] != acked {
			rest = append(rest, st)
		}
	}
	return rest
}

// collect lets everything expire: only what is referred to stays.
func (q *inquest) collect(ctx context.Context) {
	a := &actor{Store: q.s, clock: q.clock}
	for _, st := range gcSteps("the end") {
		if err := st.do(ctx, a); err != nil {
			q.wrong("%s: %v", st.name, err)
		}
	}
	report := q.fsck(ctx, "after collecting")
	if report.Unreferenced+report.Uploads+report.Pending+report.Count(Leftover) > 0 {
		q.wrong("not collected:\n%v", report)
	}
	for tag, nodes := range q.contents {
		if err := published(ctx, q.s, theUser, theRepo, tag, nodes); err != nil {
			q.wrong("after collecting: %v", err)
		}
	}
}
