package backup

import (
	"context"
	"errors"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese"
)

// copyEndESE is copyEnd for ESE, whose logs do not say what the copy needs: the trailer
// that the backup put behind the database does. Where that cannot be read, the copy is
// taken to need all logs that came with it.
//
// Logs before the first that is needed are kept as far as they are there: certutil
// copies them, and what the trailer says has been seen on no authority's own backup.
func (z *materializer) copyEndESE(ctx context.Context, full backupset.Entry) (cadb.LogInfo, error) {
	var first, last uint32
	for g, cs := range z.logs {
		for _, c := range cs {
			if c.set != 0 {
				continue
			}
			if last = max(last, g); first == 0 || g < first {
				first = g
			}
		}
	}
	if last == 0 {
		return cadb.LogInfo{}, damage(cadb.CodeMissing, setLabel(full), "", "there is no log in the set, and the database cannot be recovered without")
	}
	low, high, err := z.requiredLogs(ctx)
	if err != nil {
		return cadb.LogInfo{}, err
	}
	if low != 0 && high >= low {
		last = high
		for first = low; z.whole(first - 1); {
			first--
		}
	}
	end, err := z.header(last)
	end.CopyFirst, end.EarliestTarget = first, last
	return end, err
}

// whole says that the full set has the log of a generation, with a good header.
func (z *materializer) whole(g uint32) bool {
	for _, c := range z.logs[g] {
		if c.set == 0 && c.err == nil {
			return true
		}
	}
	return false
}

// requiredLogs is what header and trailer of the database say; zeros if they say
// nothing, or cannot be read. What is wrong with them is said later, see check.
func (z *materializer) requiredLogs(ctx context.Context) (low, high uint32, err error) {
	dbs := z.m.sets[0].Manifest().ByRole(backupset.RoleDatabase)
	if len(dbs) != 1 {
		return 0, 0, nil
	}
	r, err := z.m.sets[0].Open(ctx, dbs[0])
	if err != nil {
		return 0, 0, ctx.Err()
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h, _, herr := ese.ReadHeader(r, r.Size())
	if herr != nil {
		return 0, 0, nil
	}
	var trailer *ese.Trailer
	if h.StreamingBackup() {
		t, terr := ese.ReadTrailer(r, r.Size(), h)
		if terr != nil || t.Match(h) != nil {
			return 0, 0, nil
		}
		trailer = &t
	}
	low, high, _ = h.RequiredLogs(trailer)
	return low, high, nil
}
