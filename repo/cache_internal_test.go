package repo

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

// Whoever got a segment has it until it says otherwise, though its memory is used again then.
func TestSegmentCacheMemory(t *testing.T) {
	const segments, size = 12, 64
	c := newSegmentCache(3 * size)
	ids := make([]pack.ID, segments)
	for n := range ids {
		ids[n] = pack.Sum([]byte{byte(n)})
	}
	fill := func(n int, memory []byte) []byte {
		b := memory[:0]
		for len(b) < size {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		return b
	}
	broken := errors.New("broken")
	reused := make(chan bool, 1)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			type held struct {
				n     int
				plain []byte
				done  func()
			}
			var have []held
			for range 3000 {
				n := r.IntN(segments)
				seg, done, err := c.get(t.Context(), ids[n], func(memory []byte) ([]byte, pack.ID, error) {
					if cap(memory) > 0 {
						select {
						case reused <- true:
						default:
						}
					}
					switch r.IntN(20) {
					case 0:
						return nil, pack.ID{}, broken
					case 1:
						return nil, pack.ID{}, context.Canceled // somebody else's
					}
					return fill(n, memory), pack.ID{}, nil
				})
				switch {
				case errors.Is(err, broken), errors.Is(err, context.Canceled):
				case err != nil:
					t.Error(err)
					return
				default:
					have = append(have, held{n, seg.plain, done})
				}
				for len(have) > r.IntN(6) {
					for _, h := range have {
						for at := 0; at < size; at += 8 {
							if got := binary.BigEndian.Uint64(h.plain[at:]); got != uint64(h.n) {
								t.Errorf("segment %d has become segment %d", h.n, got)
								return
							}
						}
					}
					have[0].done()
					have = have[1:]
				}
			}
			for _, h := range have {
				h.done()
			}
		})
	}
	wg.Wait()
	select {
	case <-reused:
	default:
		t.Error("no memory was used again")
	}
	if c.size > c.limit || len(c.free) > maxFree {
		t.Errorf("%d bytes, %d free", c.size, len(c.free))
	}
}

// A segment that takes long to load keeps none of the others in the cache, and it is itself not the reason that the
// limit is passed when it arrives.
func TestSegmentCacheLimitBesideASlowLoad(t *testing.T) {
	const size = 64
	c := newSegmentCache(3 * size)
	get := func(n int, wait <-chan struct{}) {
		_, done, err := c.get(t.Context(), pack.Sum([]byte{byte(n)}), func([]byte) ([]byte, pack.ID, error) {
			<-wait
			return make([]byte, size), pack.ID{}, nil
		})
		if err != nil {
			t.Error(err)
			return
		}
		done()
	}
	atOnce := make(chan struct{})
	close(atOnce)

	slow, arrived := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(arrived)
		get(0, slow)
	}()
	for c.entries() == 0 { // until it is the oldest
		runtime.Gosched()
	}
	for n := 1; n <= 6; n++ {
		get(n, atOnce)
		if c.size > c.limit {
			t.Errorf("%d bytes are kept of at most %d after %d segments", c.size, c.limit, n)
		}
	}
	close(slow)
	<-arrived
	if c.size > c.limit {
		t.Errorf("%d bytes are kept of at most %d after the slow one", c.size, c.limit)
	}
}

func (c *segmentCache) entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}
