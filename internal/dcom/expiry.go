package dcom

import (
	"math"
	"time"
)

// expires returns when an object in no ping set is freed, and why.
func (t *table) expires(o *object) (time.Time, Reason) {
	idle := o.lastUse.Add(t.limits.Unpinged)
	if len(o.conns) == 0 {
		if lost := later(o.lost, o.lastUse).Add(t.limits.Grace); lost.Before(idle) {
			return lost, ReasonDisconnected
		}
	}
	return idle, ReasonIdle
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// schedule sets the timer to the next time at which something may expire. It
// is called whenever that may have come nearer; a timer that is early does no
// harm. Objects with a call in progress are left to its end.
func (t *table) schedule() {
	for _, o := range t.objects {
		if o.sets == 0 && o.calls == 0 {
			at, _ := t.expires(o)
			t.arm(at)
		}
	}
	for _, s := range t.sets {
		t.arm(s.lastPing.Add(t.limits.setTimeout()))
	}
}

// arm has the timer be due at that time, or earlier.
func (t *table) arm(at time.Time) {
	if t.closed || !t.wake.IsZero() && !at.Before(t.wake) {
		return
	}
	if t.stop != nil {
		t.stop()
	}
	t.wake = at
	t.stop = t.clock.AfterFunc(max(0, at.Sub(t.clock.Now())), t.sweep)
}

// sweep frees what has expired.
func (t *table) sweep() {
	t.mu.Lock()
	t.wake, t.stop = time.Time{}, nil
	if t.closed {
		t.mu.Unlock()
		return
	}
	now := t.clock.Now()
	var dead []*object
	free := func(o *object, why Reason) {
		if o := t.kill(o, why); o != nil {
			dead = append(dead, o)
		}
	}
	for _, s := range t.sets {
		if now.Before(s.lastPing.Add(t.limits.setTimeout())) {
			continue
		}
		objects := s.objects
		t.dropSet(s)
		for _, o := range objects {
			// One that is called, though not pinged, goes on as one that
			// was never pinged.
			if o.sets == 0 && o.calls == 0 && !now.Before(o.lastUse.Add(t.limits.setTimeout())) {
				free(o, ReasonPingExpired)
			}
		}
	}
	for _, o := range t.objects {
		if at, why := t.expires(o); o.sets == 0 && o.calls == 0 && !now.Before(at) {
			free(o, why)
		}
	}
	t.schedule()
	t.expired.Add(1) // under the mutex, and not after close
	defer t.expired.Done()
	t.mu.Unlock()
	closeAll(dead)
}

// Limits bound what clients can make a server keep. Zero members mean their
// default.
type Limits struct {
	// Objects is how many objects there are at most, and ObjectsPerPrincipal
	// how many of one principal. Default 256 and 8.
	Objects, ObjectsPerPrincipal int

	// PingPeriod is the period at which clients ping, by agreement and not by
	// negotiation. A ping set expires after three. Default 120 s.
	PingPeriod time.Duration

	// Unpinged is how long an object lives that is neither called nor pinged.
	// Default 14 min.
	Unpinged time.Duration

	// Grace is how long an object that is not pinged outlives the last
	// connection that used it. Default 60 s.
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Objects, 256)
	def(&l.ObjectsPerPrincipal, 8)
	wait(&l.PingPeriod, 120*time.Second)
	wait(&l.Unpinged, 14*time.Minute)
	wait(&l.Grace, 60*time.Second)
	l.PingPeriod = min(l.PingPeriod, math.MaxInt64/3)
	return l
}

func (l Limits) setTimeout() time.Duration { return 3 * l.PingPeriod }
