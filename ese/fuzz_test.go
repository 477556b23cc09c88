package ese_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// readAll reads everything that can be read, and ignores every error: it may only
// neither panic, nor hang, nor need much memory.
func readAll(b []byte) {
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	db.OwnedPages()
	for _, t := range db.Tables() {
		for row, err := range t.Rows() {
			if err != nil {
				continue
			}
			row.Key()
			for c, values := range row.All() {
				for _, v := range values {
					v.Text()
					v.Int64()
					v.Uint64()
					v.Float64()
					v.GUID()
					v.FileTime()
					v.OLETime()
					if lv, err := v.LongValue(); err == nil && lv.Size() > 1<<16 {
						io.CopyN(io.Discard, lv.Reader(), 1<<20)
					}
				}
				row.ValueOf(c)
			}
		}
		for range db.CheckTree(t.Root(), t.ID(), true) {
		}
	}
	db.Notes()
}

// FuzzDatabase changes a database of a few pages, and seals the pages again so that
// what is behind the checksums is reached.
func FuzzDatabase(f *testing.F) {
	const size = 4096
	f.Add(seed.Sample(size, true).Bytes(), true)
	f.Add(seed.Sample(size, true).Bytes()[:9*size], true)
	f.Add(seed.Sample(size, true).Bytes(), false)
	d := seed.Sample(size, true)
	d.Header, d.Trailer = backup(size).Header, backup(size).Trailer
	f.Add(d.Bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if len(b) > 20*size {
			return
		}
		b = bytes.Clone(b)
		if seal && len(b) > 3*size {
			for at := range 2 {
				h := b[at*size : (at+1)*size]
				le.PutUint32(h[4:], 0x89abcdef)
				le.PutUint32(h[236:], size)
				le.PutUint32(h, seed.XOR(h))
			}
			for page := 1; (page+2)*size <= len(b); page++ {
				seed.Seal(b[(page+1)*size:][:size], uint32(page), false)
			}
		}
		readAll(b)
	})
}

// FuzzPage puts any page of any size at the place of the sample's first leaf, of its
// catalog, and of its long values.
func FuzzPage(f *testing.F) {
	for _, size := range pageSizes {
		d := seed.Sample(size, true)
		for _, n := range []uint32{4, 6, 10, 11} {
			f.Add(d.Pages[n].Bytes(size, n))
		}
	}
	samples := make(map[int][]byte)
	for _, size := range pageSizes {
		samples[size] = seed.Sample(size, true).Bytes()
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		ese.ParsePageHeader(page)
		ese.ParseTrailer(page)
		if c := ese.CheckPage(page, 10); c.Verdict == ese.PageCorrectable && ese.CheckPage(c.Correct(page), 10).Verdict != ese.PageGood {
			t.Error("corrected, and still not good")
		}
		file, ok := samples[len(page)]
		if !ok {
			return
		}
		for _, n := range []uint32{4, 5, 6, 10} {
			b := bytes.Clone(file)
			p := b[(int(n)+1)*len(page):][:len(page)]
			copy(p, page)
			le.PutUint32(p[24:], map[uint32]uint32{4: 2, 5: seed.RequestsObject, 6: seed.LongObject, 10: seed.RequestsObject}[n])
			seed.Seal(p, n, false)
			readAll(b)
		}
	})
}

// FuzzRecord puts any record into the sample, in both forms of tagged columns.
func FuzzRecord(f *testing.F) {
	for n := range 4 {
		for _, size := range []int{4096, 16384} {
			d := seed.Sample(size, true)
			f.Add(append(d.Pages[10].Nodes, d.Pages[11].Nodes...)[n].Data, byte(n))
		}
	}
	f.Fuzz(func(t *testing.T, record []byte, key byte) {
		if len(record) > 2000 {
			return
		}
		for _, size := range []int{4096, 16384} {
			d := seed.Sample(size, true)
			for n, object := range map[uint32]uint32{10: seed.RequestsObject, seed.DerivedRoot: seed.DerivedObject} {
				p := seed.Page{Object: object, Flags: seed.Leaf | seed.NewRecords, Nodes: []seed.Node{{Key: []byte{key}, Data: record}}}
				if n == seed.DerivedRoot {
					p.Flags |= seed.Root
				}
				d.Pages[n] = p
			}
			readAll(d.Bytes())
		}
	})
}

// FuzzHeader takes any beginning of a file for that of a database, a log, a
// checkpoint.
func FuzzHeader(f *testing.F) {
	f.Add(seed.Sample(4096, true).Bytes()[:8192])
	log, _ := plainLog.Bytes()
	f.Add(log[:8192])
	f.Add(seed.Checkpoint(3, "logs", "database"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			r, n := bytes.NewReader(b), int64(len(b))
			if h, _, err := ese.ReadHeader(r, n); err == nil {
				h.RequiredLogs(nil)
				ese.ReadTrailer(r, n, h)
			}
			ese.Identify(r, n)
			ese.ReadCheckpoint(r, n)
			if l, err := ese.OpenLog(r, n); err == nil {
				l.Scan(context.Background())
			}
			if len(b) < 4096 {
				return
			}
			b = bytes.Clone(b) // again, as if it were sealed
			le.PutUint32(b, seed.XOR(b[:4096]))
			if len(b) >= 8192 {
				le.PutUint32(b[4096:], seed.XOR(b[4096:8192]))
			}
		}
	})
}

// FuzzLogSegments changes the body of a log; unless seal is 0, that segment's
// checksum is made right.
func FuzzLogSegments(f *testing.F) {
	l := plainLog
	l.Sectors, l.Segments = 6, 2
	b, _ := l.Bytes()
	for i := range 4 {
		f.Add(b[4096:], byte(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, seal byte) {
		file := append(bytes.Clone(b[:4096]), body...)
		if at := int(seal) % 6; at > 0 && len(file) >= (at+1)*4096 {
			seed.Seal(file[at*4096:][:4096], uint32(at), false)
		}
		log, err := ese.OpenLog(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := log.Scan(context.Background())
		if err != nil || s.Segments > 5 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

func FuzzParseLogName(f *testing.F) {
	f.Add("edb00001.log")
	f.Add(`C:\x\edb00100000.log`)
	f.Fuzz(func(t *testing.T, name string) {
		if kind, _, n := ese.ParseLogName(name); (kind == ese.LogName) != (n != 0) {
			t.Errorf("%q: %v %d", name, kind, n)
		}
	})
}
