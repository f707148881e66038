// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"sync"
	"time"
)

// watchdog ends an exchange in which nothing moves any more. A time limit for
// the whole would be wrong for every size but one.
type watchdog struct {
	stall  time.Duration
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, stall time.Duration) (*watchdog, context.Context) {
	w := &watchdog{stall: stall}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() { w.cancel(errStalled) })
	return w, w.ctx
}

func (w *watchdog) moved() { w.timer.Reset(w.stall) }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain returns errStalled if that is what err comes from. ctx is the
// caller's, whose end is not ours to explain.
func (w *watchdog) explain(ctx context.Context, err error) error {
	if ctx.Err() == nil && context.Cause(w.ctx) == errStalled {
		return errStalled
	}
	return err
}

// watchedBody is the body of an answer. Closing it ends the watch.
type watchedBody struct {
	io.ReadCloser
	ctx   context.Context
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.moved()
	}
	if err != nil && err != io.EOF {
		err = b.watch.explain(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.stop()
	return err
}

// sentBody is the body of a request. What fails in reading it is our own fault
// and must not be taken for the network's.
type sentBody struct {
	io.ReadCloser
	watch *watchdog
	once  sync.Once
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.moved()
	}
	if err != nil && err != io.EOF {
		err = local{err}
	}
	return n, err
}

func (b *sentBody) Close() (err error) {
	b.once.Do(func() { err = b.ReadCloser.Close() })
	return err
}
