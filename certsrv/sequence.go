package certsrv

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"sync/atomic"
)

// After a restore, request ids and CRL numbers go on this far ahead of the
// database: what was given between the backup and the loss is unknown, and no
// number may come back.
const (
	requestJump = 1_000_000
	crlJump     = 1_000
)

// maxLong is the end of AD CS's Long columns as signed numbers.
const maxLong = math.MaxInt32

// sequence gives ascending numbers.
type sequence struct{ next atomic.Int64 }

// take gives n numbers and returns the first.
func (s *sequence) take(n int64) (int64, error) {
	last := s.next.Add(n)
	if last-1 > maxLong {
		return 0, fmt.Errorf("no number is left: %d is above %d", last-1, maxLong)
	}
	return last - n, nil
}

// raise makes every later number at least floor.
func (s *sequence) raise(floor int64) {
	for {
		now := s.next.Load()
		if now >= floor || s.next.CompareAndSwap(now, floor) {
			return
		}
	}
}

// highest reads the highest request id and CRL number that a database holds, 0
// if none.
func highest(ctx context.Context, db *sql.DB) (request, crl int64, err error) {
	row := db.QueryRowContext(ctx, `SELECT coalesce((SELECT max(RequestID) FROM Requests), 0), coalesce((SELECT max(Number) FROM CRLs), 0)`)
	if err := row.Scan(&request, &crl); err != nil {
		return 0, 0, fmt.Errorf("read the highest numbers: %w", err)
	}
	return request, crl, nil
}

// jump is the floor after a restore. Near the end of the range, where a whole
// jump would leave nothing, it takes half of what is left.
func jump(highest, by int64) int64 {
	return highest + 1 + min(by, max(0, maxLong-highest)/2)
}
