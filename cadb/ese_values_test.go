package cadb_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
)

// The engine's numbers of 32 bits have a sign: from 2^31 on, requests come before all
// others in their table.
func TestESEHighRequestIDs(t *testing.T) {
	c := newADCS(t)
	for _, n := range []uint32{2, 0x7fffffff, 0x80000000, 0xfffffffe} {
		c.issue(n, nil)
	}
	slices.SortFunc(c.requests, func(a, b esetest.Request) int { return int(int32(a.ID)>>1) - int(int32(b.ID)>>1) })
	db := c.open(false)
	var ids []int64
	for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
		if err != nil || r.RawCertificate == nil {
			t.Errorf("request %d: %v, has a row of Certificates: %v", r.ID, err, r.HasCertificateRow)
		}
		ids = append(ids, r.ID)
	}
	if want := []int64{1, 2, 0x7fffffff, 0x80000000, 0xfffffffe}; !slices.Equal(ids, want) {
		t.Errorf("%x", ids)
	}
	for r, err := range db.Requests(t.Context(), cadb.Filter{FromID: 2, ToID: 0x7fffffff}) {
		if err != nil || r.ID != 2 && r.ID != 0x7fffffff {
			t.Error(r.ID, err)
		}
	}
	n := 0
	for x, err := range db.Extensions(t.Context(), 0x80000000) {
		if n++; err != nil || x.RequestID != 0x80000000 {
			t.Error(x, err)
		}
	}
	if n == 0 {
		t.Error("no extension")
	}
	if rep, err := cadb.Check(t.Context(), db, c.cert); err != nil || len(serious(rep)) > 0 || rep.HighestID != 0xfffffffe {
		t.Errorf("%v, %q, %d", err, serious(rep), rep.HighestID)
	}
}

// A date that no calendar has does not end the printing of all others.
func TestESEDateTooLate(t *testing.T) {
	c := newADCS(t)
	r := revoke(c.issue(2, nil), c.now)
	r.Revoked = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	c.publish(5, 0, c.now, nil)
	c.crls[0].NextUpdate = r.Revoked
	db := c.open(false)
	var out bytes.Buffer
	if n, err := cadb.WriteJSON(&out, db.Requests(t.Context(), cadb.Filter{}), false); err != nil || n != 2 {
		t.Errorf("%d lines, %v", n, err)
	}
	rep, err := cadb.Check(t.Context(), db, c.cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
}

func TestESEDisposition(t *testing.T) {
	c := newADCS(t)
	c.add(esetest.Request{ID: 2, Disposition: schema.Disposition(77)})
	rep, err := cadb.Check(t.Context(), c.open(true), c.cert)
	if err != nil || !rep.Damaged() {
		t.Errorf("%v, %q", err, serious(rep))
	}
}
