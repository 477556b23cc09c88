package repo

import (
	"context"
	"slices"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// watched is the repository for VerifyOptions.Files: the verifier hears of what is read.
type watched struct {
	*Repository
	v *verifier
}

// Open implements backupset.Store.
func (w watched) Open(ctx context.Context, id string) (backupset.Set, error) {
	ss, err := w.openSet(ctx, id)
	if err != nil {
		return nil, err
	}
	ss.held = w.v.held
	return ss, nil
}

// held takes chunks that were read, and are what their ids say, out of what is to be read yet. That the segment has its
// hash was looked at when it was opened. in is the pack that it was read in: it may lie in another as well.
func (v *verifier) held(ca string, segment, in pack.ID, chunks []chunklist.Chunk) {
	v.mu.Lock()
	defer v.mu.Unlock()
	sn := v.segments[segment]
	if sn == nil || sn.in != in || !slices.Contains(sn.cas, ca) {
		return
	}
	before := len(sn.chunks)
	for _, c := range chunks {
		if i, ok := slices.BinarySearchFunc(sn.chunks, sn.need(ca, c), chunkNeed.compare); ok {
			sn.chunks = slices.Delete(sn.chunks, i, i+1)
		}
	}
	now := before - len(sn.chunks)
	sn.read += now
	v.res.Chunks += int64(now)
	if now > 0 && sn.done() {
		v.res.Segments++
	}
}
