package certdll

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// What a library may say of a list.
func TestLists(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	good := units('D', '\\', '\\', 'S', 0, 0)
	for what, tt := range map[string]struct {
		raw  []byte
		size uint32
		null bool
		ok   bool
		n    int // entries
	}{
		"a good one":              {good, uint32(len(good)), false, true, 1},
		"nothing, at no address":  {nil, 0, true, true, 0},
		"nothing, at an address":  {nil, 0, false, true, 0},
		"a lone NUL":              {units(0), 2, false, true, 0},
		"bytes at no address":     {nil, 12, true, false, 0},
		"an odd size":             {good, uint32(len(good)) - 1, false, false, 0},
		"without its last NUL":    {good, uint32(len(good)) - 2, false, false, 0},
		"more than can be":        {good, certadm.MaxListBytes + 2, false, false, 0},
		"the largest size":        {good, math.MaxUint32, false, false, 0},
		"bytes after it":          {append(units('D', 'x', 0, 0), 1, 0), 10, false, false, 0},
		"a control character":     {units('D', 'x', 0x1b, 0, 0), 10, false, false, 0},
		"half a surrogate pair":   {units('D', 'x', 0xd800, 0, 0), 10, false, false, 0},
		"a tag without its names": {units('D', 0, 0), 6, false, false, 0},
	} {
		d.twist = func(string, []byte, uint32, bool) ([]byte, uint32, bool) { return tt.raw, tt.size, tt.null }
		for name, fn := range map[string]func() (int, error){
			"DatabaseLocations": func() (int, error) { l, err := b.DatabaseLocations(t.Context()); return len(l), err },
			"DatabaseNames":     func() (int, error) { l, err := b.DatabaseNames(t.Context()); return len(l), err },
			"Logs":              func() (int, error) { l, err := b.Logs(t.Context()); return len(l), err },
			"DynamicFiles":      func() (int, error) { l, err := b.DynamicFiles(t.Context()); return len(l), err },
		} {
			if name == "DynamicFiles" && what == "a tag without its names" {
				continue // it is a name
			}
			n, err := fn()
			if (err == nil) != tt.ok || n != tt.n {
				t.Errorf("%s of %s: %d entries, %v", name, what, n, err)
			}
			if !tt.ok {
				wantCode(t, err, certadm.ErrorInvalidData)
			}
		}
	}
	// The output of the control call is not a list, but memory all the same.
	d.twist = func(string, []byte, uint32, bool) ([]byte, uint32, bool) { return []byte{1, 2, 3}, 3, false }
	if out, err := c.ServerControl(t.Context(), certadm.ControlSuspend); err != nil || !bytes.Equal(out, []byte{1, 2, 3}) {
		t.Errorf("ServerControl = %v, %v", out, err)
	}
	d.twist = func(string, []byte, uint32, bool) ([]byte, uint32, bool) { return []byte{1}, math.MaxUint32, false }
	_, err := c.ServerControl(t.Context(), certadm.ControlSuspend)
	wantCode(t, err, certadm.ErrorInvalidData)
	d.twist = nil
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// What a library may say of a file's size and of a read.
func TestReads(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	for what, tt := range map[string]struct {
		size  func(int64) int64
		count func(uint32) uint32
		open  certadm.HRESULT // of OpenFile
		read  certadm.HRESULT
	}{
		"more than the buffer holds":  {count: func(uint32) uint32 { return certadm.DefaultReadBuffer + 1 }, read: certadm.ErrorInvalidData},
		"the largest number":          {count: func(uint32) uint32 { return math.MaxUint32 }, read: certadm.ErrorInvalidData},
		"more than was announced":     {size: func(n int64) int64 { return n - 1 }, read: certadm.HrReadVerifyFailure},
		"less than was announced":     {size: func(n int64) int64 { return n + 1 }, read: certadm.HrReadVerifyFailure},
		"an empty file that has some": {size: func(int64) int64 { return 0 }, read: certadm.HrReadVerifyFailure},
		"a file without end":          {size: func(int64) int64 { return math.MaxInt64 }, read: certadm.HrReadVerifyFailure},
		"nothing at all":              {count: func(uint32) uint32 { return 0 }, read: certadm.HrReadVerifyFailure},
		"a negative size":             {size: func(int64) int64 { return -1 }, open: certadm.ErrorInvalidData},
	} {
		t.Run(what, func(t *testing.T) {
			b := prepare(t, c)
			logs, err := b.Logs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			d.size, d.count = tt.size, tt.count
			for _, way := range []func(certadm.BackupFile) error{
				func(f certadm.BackupFile) error {
					n, err := io.Copy(io.Discard, f)
					if n > f.Size() {
						t.Errorf("%d bytes of %d", n, f.Size())
					}
					return err
				},
				func(f certadm.BackupFile) error {
					b, err := io.ReadAll(f)
					if int64(len(b)) > f.Size() {
						t.Errorf("%d bytes of %d", len(b), f.Size())
					}
					return err
				},
			} {
				f, err := b.OpenFile(t.Context(), logs[0].Path, 0)
				if tt.open != certadm.SOK {
					wantCode(t, err, tt.open)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				wantCode(t, way(f), tt.read)
				wantCode(t, way(f), tt.read) // for good
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			d.size, d.count = nil, nil
			wantCode(t, b.TruncateLogs(t.Context()), certadm.EUnexpected)
			if n := d.called(expTruncate); n != 0 {
				t.Errorf("TruncateLogs was called %d times", n)
			}
			if err := b.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A library may return less than was asked for before the end.
func TestShortReads(t *testing.T) {
	e, d := authority(t)
	if _, err := e.Issue(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	b := prepare(t, d.client(t))
	dbs, err := b.DatabaseNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := new(bytes.Buffer)
	f, err := b.OpenFile(t.Context(), dbs[0].Path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(want, f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := &shortReads{fakeDLL: d}
	b.c.procs = c
	if f, err = b.OpenFile(t.Context(), dbs[0].Path, 0); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, want.Len())
	}
	if c.reads < 3 {
		t.Errorf("%d reads", c.reads)
	}
	f.Close()
	b.End(t.Context())
}

type shortReads struct {
	*fakeDLL
	reads int
}

func (d *shortReads) read(h handle, p []byte) (uint32, certadm.HRESULT) {
	d.reads++
	return d.fakeDLL.read(h, p[:min(len(p), 5000)])
}

// A consumer that cannot write what came, or does not close the file, has no whole
// backup, although the server has sent all of it.
func TestUnfinishedFile(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, b certadm.Backup, name string) (endFails bool){
		"not written": func(t *testing.T, b certadm.Backup, name string) bool {
			f, err := b.OpenFile(t.Context(), name, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(fullDisk{}, f); !errors.Is(err, errFull) {
				t.Errorf("Copy: %v", err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			return false
		},
		"not closed": func(t *testing.T, b certadm.Backup, name string) bool {
			f, err := b.OpenFile(t.Context(), name, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, f); err != nil {
				t.Error(err)
			}
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			e, d := authority(t)
			b := prepare(t, d.client(t))
			readAll(t, b)
			logs, err := b.Logs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fails := spoil(t, b, logs[0].Path)
			wantCode(t, b.TruncateLogs(t.Context()), certadm.EUnexpected)
			if err := b.End(t.Context()); (err != nil) != fails {
				t.Errorf("End: %v", err)
			}
			if counts(t, e) {
				t.Error("it counts as a full backup")
			}
		})
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write(p []byte) (int, error) { return len(p) - 1, errFull }

func TestFileNames(t *testing.T) {
	_, d := authority(t)
	b := prepare(t, d.client(t))
	for _, name := range []string{"a\x00b", "\xff\xfe", string(make([]byte, 1<<20))} {
		_, err := b.OpenFile(t.Context(), name, 0)
		wantCode(t, err, certadm.EInvalidArg)
	}
	if n := d.called(expOpen); n != 0 {
		t.Errorf("the library saw %d of them", n)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whatever a library returns as a list, it is freed once, read within its size, and
// either decoded whole or refused.
func FuzzList(f *testing.F) {
	f.Add(units('D', '\\', '\\', 'S', 0, 0), uint32(12), false)
	f.Add([]byte{}, uint32(0), true)
	f.Add([]byte{}, uint32(7), true)
	f.Add(units(0), uint32(2), false)
	f.Add(units('D', 'x', 0), uint32(6), false)
	f.Fuzz(func(t *testing.T, raw []byte, size uint32, null bool) {
		if size <= certadm.MaxListBytes {
			size = min(size, uint32(len(raw))) // more would be a library that lies about its own memory
		}
		d := newFake(nil)
		c := newClient(d, "ca1", Options{NoPrivileges: true})
		d.released = true
		var b buffer
		if !null {
			b = d.alloc(raw)
		}
		d.released = false
		got, err := c.take(b, size)
		if err == nil && len(got) != int(size) {
			t.Errorf("%d bytes of %d", len(got), size)
		}
		d.released = true
		d.check(t)
	})
}
