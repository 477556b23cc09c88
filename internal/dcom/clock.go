package dcom

import "time"

// Clock tells a server the time, and wakes it. Tests bring their own
// (dcomtest.Clock), so that objects expire without anybody waiting.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f, in any goroutine, once d has passed, unless stop is
	// called before.
	AfterFunc(d time.Duration, f func()) (stop func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}
