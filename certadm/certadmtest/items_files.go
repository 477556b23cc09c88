package certadmtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/certkeep/certkeep/certadm"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// fileItems are items 34 to 40: opening, reading and closing.
func fileItems() []item {
	return []item{
		{34, []part{
			{"one file at a time", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				db, log := p.databases(b)[0].Path, p.logs(b)[0].Path
				f, err := b.OpenFile(p.ctx, db, 0)
				p.must(err, "OpenFile")
				for _, name := range []string{db, log} {
					again, err := b.OpenFile(p.ctx, name, 0)
					p.sequence(err, "OpenFile with a file open")
					p.noFile(again)
				}
				if n := p.drain(f); n != f.Size() { // the first one is as it was
					p.Errorf("read %d of %d bytes", n, f.Size())
				}
				p.ok(f.Close(), "Close")
				p.ok(b.End(p.ctx), "End")
			}},
			{"read and close without a file", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				db := p.databases(b)[0].Path
				f, err := b.OpenFile(p.ctx, db, 0)
				p.must(err, "OpenFile")
				p.must(f.Close(), "Close")
				n, err := f.Read(make([]byte, 16))
				p.sequence(err, "Read of a closed file")
				if n != 0 {
					p.Errorf("Read of a closed file returned %d bytes", n)
				}
				p.sequence(f.Close(), "Close of a closed file")
				// Nor does the closed file get at the next one.
				next, err := b.OpenFile(p.ctx, db, 0)
				p.must(err, "OpenFile")
				_, err = f.Read(make([]byte, 16))
				p.sequence(err, "Read of a closed file while another one is open")
				p.sequence(f.Close(), "Close of a closed file while another one is open")
				if n := p.drain(next); n != next.Size() {
					p.Errorf("read %d of %d bytes", n, next.Size())
				}
				p.ok(next.Close(), "Close")
			}},
		}},
		{35, []part{{"more than 4 GiB", func(p *probe) {
			const limit = 1 << 32
			name, size, tail, err := ability[BigFiler](p).GrowFile(p.ctx, limit+1<<20)
			p.must(err, "growing a file")
			if size <= limit || int64(len(tail)) > size-limit || len(tail) == 0 {
				p.Fatalf("the Env grew a file to %d bytes, with %d known ones at its end", size, len(tail))
			}
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			all := slices.Concat(p.databases(b), p.logs(b))
			if !slices.ContainsFunc(all, func(e certadm.FileEntry) bool { return e.Path == name }) {
				p.Fatalf("%s is not in the lists: %v", name, all)
			}
			f, err := b.OpenFile(p.ctx, name, certadm.MaxReadBuffer)
			p.must(err, "OpenFile")
			if f.Size() != size {
				p.Errorf("Size = %d, want %d", f.Size(), size)
			}
			end := &tailWriter{keep: len(tail)}
			n, err := io.CopyBuffer(struct{ io.Writer }{end}, struct{ io.Reader }{f}, make([]byte, 4<<20))
			if n != size || err != nil {
				p.Errorf("read %d bytes of %d, %v", n, size, err)
			}
			if !bytes.Equal(end.last, tail) {
				p.Errorf("the file ends with %x, want %x", end.last, tail)
			}
			p.ok(f.Close(), "Close")
		}}}},
		{36, []part{
			{"rounding", func(p *probe) {
				for hint, want := range map[int]int{0: certadm.DefaultReadBuffer, 1: 64 << 10, 100_000: 128 << 10, 1 << 20: 1 << 20, 16 << 20: 4 << 20} {
					if got := certadm.ReadBufferSize(hint); got != want {
						p.Errorf("ReadBufferSize(%d) = %d, want %d", hint, got, want)
					}
				}
			}},
			{"any hint", func(p *probe) {
				p.issue(3)
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				log := p.logs(b)[0].Path
				want := p.read(b, log)
				p.must(b.End(p.ctx), "End")
				for _, hint := range []int{-1, 1, 100_000, 16 << 20, 1<<31 - 1} {
					b := p.prepare(p.connect(operator), certadm.BackupFull)
					p.logs(b)
					for range 2 { // the hint of a later open does not count, but is taken
						f, err := b.OpenFile(p.ctx, log, hint)
						p.must(err, "OpenFile")
						if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
							p.Errorf("with hint %d: %d bytes, %v, want the same %d bytes as without", hint, len(got), err, len(want))
						}
						p.ok(f.Close(), "Close")
						hint = 1
					}
					p.ok(b.End(p.ctx), "End")
				}
			}},
			{"sizes of the wire's reads", func(p *probe) {
				w := ability[Wire](p)
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				for _, e := range p.databases(b) {
					for _, hint := range []int{100_000, 4 << 20} {
						before := len(p.calls(w, 0))
						f, err := b.OpenFile(p.ctx, e.Path, hint)
						p.must(err, "OpenFile")
						p.drain(f)
						p.must(f.Close(), "Close")
						for _, c := range p.calls(w, before) {
							if c.Method == "BackupReadFile" && c.Size != 128<<10 {
								p.Errorf("a read of %d bytes, want %d: the first hint was 100,000", c.Size, 128<<10)
							}
						}
					}
				}
			}},
		}},
		{37, []part{{"reads fill the buffer", func(p *probe) {
			p.issue(3)
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			for _, e := range slices.Concat(p.databases(b), p.logs(b)) {
				f, err := b.OpenFile(p.ctx, e.Path, 0)
				p.must(err, "OpenFile")
				p.fills(f, f.Size()/3+1)
				p.ok(f.Close(), "Close")
			}
		}}}},
		{38, []part{
			{"buffers of any size", func(p *probe) {
				p.issue(3)
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				log := p.logs(b)[0].Path
				want := p.read(b, log)
				for _, size := range []int{1, 3, 511, 4097, 65_537, 1 << 20} {
					f, err := b.OpenFile(p.ctx, log, 0)
					p.must(err, "OpenFile")
					var got bytes.Buffer
					if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{f}, make([]byte, size)); err != nil || !bytes.Equal(got.Bytes(), want) {
						p.Errorf("in pieces of %d: %d bytes, %v, want the same %d bytes as in one piece", size, got.Len(), err, len(want))
					}
					if n, err := f.Read(nil); n != 0 || err != nil && !isEOF(err) {
						p.Errorf("Read into no buffer = %d, %v", n, err)
					}
					p.ok(f.Close(), "Close")
				}
			}},
			{"the wire's reads", func(p *probe) { p.wireReads(ability[Wire](p)) }},
		}},
		{39, []part{
			{"as many bytes as the size", func(p *probe) {
				p.issue(5)
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				for _, e := range slices.Concat(p.databases(b), p.logs(b)) {
					if len(p.read(b, e.Path)) == 0 { // read compares with the size
						p.Errorf("%s is empty", e.Path)
					}
				}
			}},
			{"the bytes of the file", func(p *probe) {
				ability[Locator](p)
				p.issue(5)
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				for _, f := range p.readList(b, p.logs(b)) { // a log that is listed does not change any more
					want, err := os.ReadFile(p.local(f.unc))
					p.must(err, "reading "+f.unc)
					if !bytes.Equal(f.data, want) {
						p.Errorf("%s: what was read differs from the file (%d and %d bytes)", f.unc, len(f.data), len(want))
					}
				}
			}},
		}},
		{40, []part{{"any order, and again", func(p *probe) {
			p.severalLogs(3)
			b := p.prepare(p.connect(operator), certadm.BackupFull)
			dbs, logs := p.databases(b), p.logs(b)
			first := p.readList(b, logs)
			slices.Reverse(logs)
			for i, f := range p.readList(b, logs) {
				if !bytes.Equal(f.data, first[len(first)-1-i].data) {
					p.Errorf("%s differs when it is read again", f.unc)
				}
			}
			p.readList(b, dbs)
			p.readList(b, dbs)
			p.ok(b.End(p.ctx), "End")
		}}}},
	}
}

// severalLogs sees to it that a full backup has at least n logs: each backup
// closes the open one, and nothing is truncated.
func (p *probe) severalLogs(n int) (serials []string) {
	for range n {
		serials = append(serials, p.issue(2)...)
		p.take(certadm.BackupFull, false)
	}
	return serials
}

// fills reads a file in pieces, each of which has to be whole but the last.
func (p *probe) fills(f certadm.BackupFile, piece int64) {
	buf := make([]byte, piece)
	for left := f.Size(); left > 0; {
		n, err := f.Read(buf)
		if int64(n) != min(piece, left) || err != nil && (!isEOF(err) || int64(n) != left) {
			p.Errorf("Read of %d with %d bytes left = %d, %v", piece, left, n, err)
			return
		}
		left -= int64(n)
	}
	for range 2 {
		if n, err := f.Read(buf); n != 0 || !isEOF(err) {
			p.Errorf("Read at the end = %d, %v, want 0 and EOF", n, err)
		}
	}
}

// wireReads looks at both sides of BackupReadFile.
func (p *probe) wireReads(w Wire) {
	p.take(certadm.BackupFull, false)
	for _, c := range p.calls(w, 0) {
		if c.Method == "BackupReadFile" && (c.Size <= 0 || c.Size%4096 != 0) {
			p.Errorf("the client reads %d bytes, which is no multiple of a page", c.Size)
		}
	}
	client := p.dial(w)
	p.must(client.BackupPrepare(p.ctx, w.Authority(), 0, 1, 0), "BackupPrepare")
	units, err := client.BackupGetBackupLogs(p.ctx)
	p.must(err, "BackupGetBackupLogs")
	logs, err := certadm.DecodeListUnits(units)
	if err != nil || len(logs) == 0 {
		p.Fatalf("logs %v, %v", logs, err)
	}
	size, err := client.BackupOpenFile(p.ctx, logs[0].Path)
	p.must(err, "BackupOpenFile")
	for _, cb := range []int32{0, -1, -1 << 31, 1<<31 - 1, 64 << 20} {
		if _, n, err := client.BackupReadFile(p.ctx, cb); certadm.CodeOf(err) != certadm.EInvalidArg || n != 0 {
			p.Errorf("BackupReadFile(%d) = %d, %v, want %v", cb, n, err, certadm.EInvalidArg)
		}
	}
	for left := size; ; {
		const odd = 1234 // a server serves any size
		buf, n, err := client.BackupReadFile(p.ctx, odd)
		if err != nil || len(buf) != odd || int64(n) != min(odd, left) {
			p.Fatalf("BackupReadFile(%d) with %d bytes left = %d bytes, %d, %v", odd, left, len(buf), n, err)
		}
		if n == 0 {
			break
		}
		left -= int64(n)
	}
	p.ok(client.BackupCloseFile(p.ctx), "BackupCloseFile")
	p.ok(client.BackupEnd(p.ctx), "BackupEnd")
}

// tailWriter keeps the last bytes written to it.
type tailWriter struct {
	keep int
	last []byte
}

func (w *tailWriter) Write(b []byte) (int, error) {
	n := len(b)
	if n >= w.keep {
		w.last = append(w.last[:0], b[n-w.keep:]...)
		return n, nil
	}
	w.last = append(w.last, b...)
	w.last = w.last[max(0, len(w.last)-w.keep):]
	return n, nil
}
