package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/journal"
)

// A lease says that a run is on its way, so that nobody deletes what the run is about to
// refer to. It is an object leases/HOST/RUN-N, signed much like an entry of a journal; each
// renewal is the next N, and the last one says that the run is over. When it was written
// is told by the store, and it is good for leaseTime from then on.
const (
	leaseDir  = "leases/"
	leaseTime = 30 * time.Minute
	renewal   = leaseTime / 6

	leaseDomain = "certkeep lease 1\n" // what is signed begins so
)

type leaseRecord struct {
	Schema     int    `json:"schema"`
	Repository string `json:"repository"`
	Author     string `json:"author"`
	Run        string `json:"run"`
	N          int    `json:"n"`
	Over       bool   `json:"over,omitempty"`
}

func leaseKey(author, run string, n int) string {
	return fmt.Sprintf("%s%s/%s-%06d", leaseDir, author, run, n)
}

// lease is one run's.
type lease struct {
	r   *Repository
	run string

	mu      sync.Mutex
	n       int
	began   time.Time // the store's clock
	written time.Time // the store's clock, of the newest
	err     error
	stop    context.CancelFunc
	done    chan struct{}
}

// begin publishes a lease, and renews it until end is called.
func (r *Repository) begin(ctx context.Context) (*lease, error) {
	l := &lease{r: r, run: newID(), done: make(chan struct{})}
	if err := l.write(ctx, false); err != nil {
		return nil, err
	}
	l.began = l.written
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() {
		defer close(l.done)
		t := time.NewTicker(renewal)
		defer t.Stop()
		for {
			select {
			case <-rctx.Done():
				return
			case <-t.C:
				_ = l.renew(rctx) // good reports it if it matters
			}
		}
	}()
	return l, nil
}

func (l *lease) write(ctx context.Context, over bool) error {
	author, key, err := l.r.author()
	if err != nil {
		return err
	}
	l.n++
	line, err := json.Marshal(leaseRecord{schema, l.r.id, author, l.run, l.n, over})
	if err != nil {
		return err
	}
	info, err := l.r.blob.Put(ctx, leaseKey(author, l.run, l.n), journal.SignAs(leaseDomain, line, key), blob.PutOptions{Untimed: over})
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if over {
		return nil
	}
	// A lease that has lapsed stays so: somebody may have gone by that already.
	if !l.written.IsZero() && info.Time.Sub(l.written) >= leaseTime {
		l.err = ErrLease
	}
	l.written = info.Time
	return l.err
}

// at is when the newest object of the lease was written, by the store's clock.
func (l *lease) at() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(ctx, false)
}

// good renews the lease, and fails if there was a time when it did not hold.
func (l *lease) good(ctx context.Context) error { return l.renew(ctx) }

// during does something small under a lease: what it stores is kept until its entry refers to it. do
// must call good before it writes that.
func (r *Repository) during(ctx context.Context, do func(*lease) error) (err error) {
	l, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		lctx, done := lingering(ctx)
		defer done()
		err = errors.Join(err, l.end(lctx))
	}()
	return do(l)
}

// end says that the run is over.
func (l *lease) end(ctx context.Context) error {
	l.stop()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(ctx, true)
}

// activeLease is a run that may be on its way.
type activeLease struct {
	Author string
	Run    string
	Began  time.Time // its first object, by the store's clock
	Last   time.Time // its newest
}

// leases reads who is on the way at a time of the store's. Leases of hosts that are not in
// good standing, or that nobody signed, hold nothing up. stale are objects of leases that
// are over.
func (r *Repository) leases(ctx context.Context, now time.Time) (active []activeLease, stale []string, err error) {
	type run struct {
		activeLease
		keys []string
		over bool
	}
	runs := map[string]*run{}
	s := r.now()
	var found []blob.Info
	for info, err := range r.blob.List(ctx, leaseDir) {
		if err != nil {
			return nil, nil, err
		}
		found = append(found, info)
	}
	for o := range inOrder(ctx, found, smallAtOnce, func(ctx context.Context, info blob.Info) (*leaseRecord, error) { return r.readLease(ctx, s, info) }) {
		if o.err != nil {
			return nil, nil, o.err
		}
		info, rec := o.item, o.got
		author, name, ok := strings.Cut(strings.TrimPrefix(info.Key, leaseDir), "/")
		id, _, ok2 := strings.Cut(name, "-")
		if !ok || !ok2 {
			continue
		}
		x := runs[author+"/"+id]
		if x == nil {
			x = &run{activeLease: activeLease{Author: author, Run: id, Began: info.Time}}
			runs[author+"/"+id] = x
		}
		x.keys = append(x.keys, info.Key)
		if rec == nil || rec.Author != author || rec.Run != id {
			continue
		}
		if info.Time.Before(x.Began) {
			x.Began = info.Time
		}
		if info.Time.After(x.Last) {
			x.Last = info.Time
		}
		x.over = x.over || rec.Over
	}
	for _, x := range runs {
		if x.over || now.Sub(x.Last) >= leaseTime {
			stale = append(stale, x.keys...)
		} else {
			active = append(active, x.activeLease)
		}
	}
	return active, stale, nil
}

// readLease reads an object of a lease; nil if it is not one that counts.
func (r *Repository) readLease(ctx context.Context, s *state, info blob.Info) (*leaseRecord, error) {
	if info.Size > 4096 {
		return nil, nil
	}
	b, err := r.blob.Get(ctx, info.Key, 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec leaseRecord
	line, err := journal.VerifyAs(leaseDomain, b, nil)
	if err != nil || json.Unmarshal(line, &rec) != nil || rec.Repository != r.id {
		return nil, nil
	}
	key := r.root
	if rec.Author != journal.Root {
		h := s.hosts[rec.Author]
		if h == nil || h.gone != nil {
			return nil, nil
		}
		if key, err = publicKey(h.Key); err != nil {
			return nil, nil
		}
	}
	if _, err := journal.VerifyAs(leaseDomain, b, key); err != nil {
		return nil, nil
	}
	return &rec, nil
}
