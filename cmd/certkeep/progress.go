package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// meter shows how far a job is: a bar per step on a terminal, a line every ten
// seconds elsewhere, nothing with --quiet. It is safe for several goroutines,
// and a nil meter does nothing.
type meter struct {
	c *console

	mu      sync.Mutex
	step    string
	done    int64
	total   int64 // 0 or less: unknown
	began   time.Time
	bars    *mpb.Progress
	bar     *mpb.Bar
	stop    chan struct{}
	stopped chan struct{}
}

// progress starts a meter; Close must follow.
func (c *console) progress() *meter {
	if c.quiet {
		return nil
	}
	m := &meter{c: c}
	if c.terminal {
		m.bars = mpb.New(mpb.WithOutput(c.stderr.w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(120*time.Millisecond))
		c.stderr.redirect(m.bars)
		return m
	}
	m.stop, m.stopped = make(chan struct{}), make(chan struct{})
	go m.lines(m.stop)
	return m
}

// Set says that done of total bytes of the step are done. Another step's name
// ends the one before.
func (m *meter) Set(step string, done, total int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if step != m.step {
		m.finishBar(true)
		m.step, m.began, m.total = step, time.Now(), 0
	}
	m.done = done
	if m.bars == nil {
		m.total = total
		return
	}
	if m.bar == nil {
		m.bar = m.newBar(step, total)
		m.total = total
	} else if total != m.total && total > 0 {
		m.bar.SetTotal(total, false)
		m.total = total
	}
	m.bar.SetCurrent(done)
}

func (m *meter) newBar(step string, total int64) *mpb.Bar {
	left := []decor.Decorator{
		decor.Name(oneLine(step), decor.WC{W: 24, C: decor.DindentRight | decor.DextraSpace}),
		decor.NewPercentage("%d", decor.WCSyncSpace),
	}
	right := []decor.Decorator{
		decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace),
		decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace), "done"),
	}
	// One that begins with a total ends when it is reached, and the total cannot change; this one ends with its step.
	bar := m.bars.AddBar(0, mpb.PrependDecorators(left...), mpb.AppendDecorators(right...), mpb.BarRemoveOnComplete())
	if total > 0 {
		bar.SetTotal(total, false)
	}
	return bar
}

// finishBar ends the step's bar: complete, or taken away.
func (m *meter) finishBar(complete bool) {
	if m.bar == nil {
		return
	}
	if complete {
		m.bar.SetTotal(-1, true)
	}
	m.bar.Abort(true) // does nothing to a completed bar
	m.bar = nil
}

// Close ends the drawing. It may be called twice.
func (m *meter) Close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.finishBar(false)
	bars, stop := m.bars, m.stop
	m.bars, m.stop = nil, nil
	m.mu.Unlock()
	if bars != nil {
		m.c.stderr.redirect(nil)
		bars.Wait()
	}
	if stop != nil {
		close(stop)
		<-m.stopped
	}
}

// lines prints where the job is at every tick.
func (m *meter) lines(stop <-chan struct{}) {
	defer close(m.stopped)
	tick := time.NewTicker(m.c.every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if s := m.line(time.Now()); s != "" {
				fmt.Fprintln(m.c.stderr, s)
			}
		}
	}
}

// line is the progress line: percentage, rate and time left.
func (m *meter) line(now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.step == "" {
		return ""
	}
	elapsed := now.Sub(m.began)
	rate := 0.0
	if elapsed > 0 {
		rate = float64(m.done) / elapsed.Seconds()
	}
	s := oneLine(m.step) + ": "
	if m.total > 0 {
		s += fmt.Sprintf("%d %%, %s of %s", m.done*100/m.total, size(m.done), size(m.total))
	} else {
		s += size(m.done)
	}
	s += fmt.Sprintf(", %s/s", size(int64(rate)))
	if m.total > m.done && rate > 0 {
		left := time.Duration(float64(m.total-m.done) / rate * float64(time.Second))
		s += ", " + took(left) + " left"
	}
	return s
}
