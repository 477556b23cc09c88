package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

// DiffSide is one of the two states that [Diff] compares: a chain of sets, or a
// database file.
type DiffSide struct {
	Source
	Until    Until
	MoreLogs []string // see MaterializeOptions
	OpenLog  string

	// Database is the path of a database; the rest is then not used. One of AD CS is
	// read as it stands, one of the embedded authority must be recovered.
	Database string
}

// DiffOptions are the options of [Diff].
type DiffOptions struct {
	Old, New DiffSide

	// Limit is how many changes of each kind are listed; 0 means 10,000. All are
	// counted.
	Limit int

	Scratch  string // see RecoverOptions
	Progress func(Progress)
}

// DiffReport is what lies between two states of an authority.
type DiffReport struct {
	Schema int       `json:"schema"` // 1
	Old    DiffState `json:"old"`
	New    DiffState `json:"new"`

	// Issued are certificates that the old state does not have, those revoked since
	// included. Revoked and Released are certificates whose state changed. Pending
	// are requests that wait in the new state and not in the old one, Resolved those
	// that waited in the old one. Gone are requests that the new state lacks, and Other
	// what changed otherwise.
	Issued   DiffList `json:"issued"`
	Revoked  DiffList `json:"revoked"`
	Released DiffList `json:"released"`
	Pending  DiffList `json:"pending"`
	Resolved DiffList `json:"resolved"`
	Gone     DiffList `json:"gone"`
	Other    DiffList `json:"other"`

	// CRLs are those that the new state has and the old one lacks; CRLsGone the
	// reverse.
	CRLs     []DiffCRL `json:"crls"`
	CRLsGone []DiffCRL `json:"crls_gone,omitempty"`

	// Damaged says that something of a state could not be read, and that what differs may
	// differ for that. Notes say which.
	Damaged bool `json:"damaged,omitempty"`

	// Notes say what the comparison is worth less for.
	Notes []string `json:"notes"`

	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_nanoseconds"`
}

// Same reports whether nothing differs.
func (r *DiffReport) Same() bool {
	n := 0
	for _, l := range []DiffList{r.Issued, r.Revoked, r.Released, r.Pending, r.Resolved, r.Gone, r.Other} {
		n += l.Count
	}
	return n+len(r.CRLs)+len(r.CRLsGone) == 0
}

// DiffState names a state.
type DiffState struct {
	Name         string                     `json:"name"`
	Engine       string                     `json:"engine"`
	Generation   uint32                     `json:"generation,omitempty"`
	Closed       *time.Time                 `json:"closed,omitempty"`
	Unreplayed   bool                       `json:"unreplayed,omitempty"` // see DatabaseReport
	Requests     int                        `json:"requests"`
	Dispositions map[schema.Disposition]int `json:"dispositions"`
	NewestCRL    int64                      `json:"newest_crl,omitempty"`
}

// DiffList is the changes of one kind: all are counted, the first are listed.
type DiffList struct {
	Count int          `json:"count"`
	List  []DiffChange `json:"list"`
}

// DiffChange is a request that changed.
type DiffChange struct {
	RequestID   int64              `json:"request_id"`
	Serial      string             `json:"serial,omitempty"`
	CommonName  string             `json:"common_name,omitempty"`
	Requester   string             `json:"requester_name,omitempty"`
	Was         schema.Disposition `json:"was,omitempty"` // 0: there was no such request
	Is          schema.Disposition `json:"is,omitempty"`  // 0: there is none any more
	RevokedWhen *time.Time         `json:"revoked_when,omitempty"`
	Reason      *schema.Reason     `json:"reason,omitempty"`
	NotAfter    *time.Time         `json:"not_after,omitempty"`
	What        string             `json:"what,omitempty"` // of Other: what is different
}

// DiffCRL is a CRL that only one state has.
type DiffCRL struct {
	Number     int64      `json:"number"`
	MinBase    int64      `json:"min_base,omitempty"`
	NameID     uint32     `json:"name_id,omitempty"`
	Entries    int64      `json:"entries"`
	ThisUpdate *time.Time `json:"this_update,omitempty"`
	NextUpdate *time.Time `json:"next_update,omitempty"`
}

// Diff compares two states of one authority, each read from a recovered copy in a
// temporary directory, or, where only the service can recover it, as it was copied.
// Requests are compared by their number, side by side, with little memory. Damage that
// keeps a state from being read is an error.
func Diff(ctx context.Context, o DiffOptions) (rep *DiffReport, err error) {
	if o.Limit == 0 {
		o.Limit = 10000
	}
	started := time.Now()
	rep = &DiffReport{Schema: 1, CRLs: []DiffCRL{}, Notes: []string{}, Started: started.UTC()}
	for _, l := range []*DiffList{&rep.Issued, &rep.Revoked, &rep.Released, &rep.Pending, &rep.Resolved, &rep.Gone, &rep.Other} {
		l.List = []DiffChange{}
	}
	defer func() { rep.Duration = time.Since(started) }()
	d := differ{o: o, rep: rep}
	from, done, err := d.open(ctx, states[0], o.Old, &rep.Old)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, done()) }()
	to, done2, err := d.open(ctx, states[1], o.New, &rep.New)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, done2()) }()
	if err := d.sameAuthority(ctx, from, to); err != nil {
		return rep, err
	}
	if err := d.requests(ctx, from, to); err != nil {
		return rep, err
	}
	return rep, d.crls(ctx, from, to)
}

type differ struct {
	o   DiffOptions
	rep *DiffReport
}

// open makes a state readable.
func (d *differ) open(ctx context.Context, which string, side DiffSide, s *DiffState) (db *cadb.DB, done func() error, err error) {
	if side.Database != "" {
		if db, err = cadb.Open(ctx, side.Database); err != nil {
			return nil, nil, err
		}
		s.Name, done = side.Database, db.Close
	} else {
		r, err := Recover(ctx, RecoverOptions{Source: side.Source, Until: side.Until, MoreLogs: side.MoreLogs, OpenLog: side.OpenLog, Scratch: d.o.Scratch, Progress: d.o.Progress, quick: true})
		if err != nil {
			return nil, nil, err
		}
		if r.DB == nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", setLabel(r.Chain.Tip()), r.Unreadable), r.Close())
		}
		db, done = r.DB, r.Close
		s.Name, s.Generation = setLabel(r.Chain.Tip()), r.Target.Generation
		if t := r.Target.Closed; !t.IsZero() {
			s.Closed = &t
		}
	}
	info := db.Info()
	s.Engine, s.Unreplayed, s.Dispositions = info.Engine, info.Unrecovered, make(map[schema.Disposition]int)
	if info.Unrecovered {
		d.rep.Notes = append(d.rep.Notes, fmt.Sprintf("the %s state was read as it was copied, without its logs: what happened while it was copied, and since, can be missing in it", which))
	}
	return db, done, nil
}

// sameAuthority notes that two databases have no certificate of a CA in common.
func (d *differ) sameAuthority(ctx context.Context, from, to *cadb.DB) error {
	var of [2][][]byte
	for i, db := range []*cadb.DB{from, to} {
		for r, err := range db.Requests(ctx, cadb.Filter{NoRequest: true, Dispositions: caDispositions}) {
			if err != nil {
				if err := d.incomplete(states[i], err); err != nil {
					return err
				}
				continue
			}
			of[i] = append(of[i], r.RawCertificate)
		}
	}
	for _, a := range of[0] {
		for _, b := range of[1] {
			if bytes.Equal(a, b) {
				return nil
			}
		}
	}
	if len(of[0]) > 0 && len(of[1]) > 0 {
		d.rep.Notes = append(d.rep.Notes, "they have no CA certificate in common: are they of the same authority?")
	}
	return nil
}

// states is what messages call the two.
var states = [2]string{"old", "new"}

// incomplete turns damage in a state into a note.
func (d *differ) incomplete(which string, err error) error {
	var e *cadb.IncompleteError
	if !errors.As(err, &e) {
		return err
	}
	d.rep.Damaged = true
	note := fmt.Sprintf("the %s state is damaged, and what is listed may be for that alone: %v", which, e)
	if !slices.Contains(d.rep.Notes, note) {
		d.rep.Notes = append(d.rep.Notes, note)
	}
	return nil
}

// crlKey tells CRLs apart: base and delta CRLs of a key share their numbers.
type crlKey struct {
	number, minBase int64
	name            uint32
}

func (d *differ) crls(ctx context.Context, from, to *cadb.DB) error {
	var lists [2][]DiffCRL
	have := [2]map[crlKey]bool{{}, {}}
	for i, db := range []*cadb.DB{from, to} {
		s := []*DiffState{&d.rep.Old, &d.rep.New}[i]
		for c, err := range db.CRLs(ctx) {
			if err != nil {
				if err := d.incomplete(states[i], err); err != nil {
					return err
				}
				continue
			}
			s.NewestCRL = max(s.NewestCRL, c.Number)
			have[i][crlKey{c.Number, c.MinBase, c.NameID}] = true
			x := DiffCRL{Number: c.Number, MinBase: c.MinBase, NameID: c.NameID, Entries: c.Count}
			if !c.ThisUpdate.IsZero() {
				x.ThisUpdate = &c.ThisUpdate
			}
			if !c.NextUpdate.IsZero() {
				x.NextUpdate = &c.NextUpdate
			}
			lists[i] = append(lists[i], x)
		}
	}
	only := func(list []DiffCRL, other map[crlKey]bool) (out []DiffCRL) {
		for _, c := range list {
			if !other[crlKey{c.Number, c.MinBase, c.NameID}] {
				out = append(out, c)
			}
		}
		return out
	}
	d.rep.CRLs = append(d.rep.CRLs, only(lists[1], have[0])...)
	d.rep.CRLsGone = only(lists[0], have[1])
	return nil
}
