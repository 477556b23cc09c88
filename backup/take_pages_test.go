package backup

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

func eseDatabase(tb testing.TB) []byte {
	tb.Helper()
	out := new(esetest.Memory)
	s := esetest.NewLogStream(esetest.Options{}, `C:\CA.edb`)
	ca, err := esetest.CreateCA(out, esetest.Options{Logs: s, Backup: &esetest.Backup{Low: 3, High: 5}, RequiredLow: 3, RequiredHigh: 5, Committed: 5})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := ca.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// What passes is what came, however it is cut; what is wrong with it is told once it
// has passed.
func TestWatchPages(t *testing.T) {
	const page = 4096
	whole := eseDatabase(t)
	flip := func(bits ...int64) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, bit := range bits {
				esetest.FlipBit(b, bit)
			}
			return b
		}
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		says   string // "" for no error
		page   uint32
		noted  int
		is     error
	}{
		{"sound", flip(), "", 0, 0, nil},
		{"page", flip(8*5*page+8000, 8*5*page+8001), "page 4", 4, 0, ese.ErrChecksum},
		{"one bit", flip(8*5*page + 8000), "", 0, 1, nil},
		{"header and shadow", flip(8*300, 8*(page+300)), "", 0, 0, ese.ErrChecksum},
		{"trailer", flip(int64(len(whole)-page+50) * 8), "", 0, 0, ese.ErrTrailer},
		{"cut short", func(b []byte) []byte { return b[:len(b)-page] }, "", 0, 0, ese.ErrTrailer},
		{"no database", func(b []byte) []byte { return make([]byte, len(b)) }, "", 0, 0, ese.ErrNotDatabase},
	} {
		for _, policy := range []PagePolicy{FailOnBadPages, MarkBadPages} {
			t.Run(tt.name+" "+string(policy), func(t *testing.T) {
				b := tt.change(bytes.Clone(whole))
				tk := &taker{m: backupset.Manifest{Engine: "ese"}}
				src := io.Reader(iotest.HalfReader(bytes.NewReader(b)))
				in, w := tk.watchPages(backupset.RoleDatabase, `\\CA\C$\CertLog\CA.edb`, int64(len(whole)), src, policy)
				var out bytes.Buffer
				_, err := io.Copy(&out, in)
				if err != nil {
					if policy == MarkBadPages || tt.page == 0 {
						t.Fatal(err)
					}
					_ = w.finish(false)
				} else {
					if !bytes.Equal(out.Bytes(), b) {
						t.Error("something else passed")
					}
					err = tk.pagesChecked(w)
				}
				if len(tk.unchecked) < tt.noted {
					t.Errorf("noted %q", tk.unchecked)
				}
				if policy == MarkBadPages {
					marked := len(tk.o.Companions) == 1 && tk.o.Companions[0].Name == BadPagesName && tk.o.KeepLog
					if err != nil || marked != (tt.is != nil) {
						t.Errorf("%v, marked %v", err, marked)
					}
					if tt.page != 0 && !strings.Contains(string(tk.o.Companions[0].Data), tt.says) {
						t.Errorf("%s", tk.o.Companions[0].Data)
					}
					return
				}
				var pe *PagesError
				switch {
				case tt.is == nil:
					if err != nil {
						t.Error(err)
					}
				case !errors.As(err, &pe) || !errors.Is(err, tt.is) || !strings.Contains(err.Error(), "CA.edb: as the server sent it") || !strings.Contains(err.Error(), tt.says):
					t.Errorf("%v, want %v", err, tt.is)
				case tt.page != 0 && (len(pe.Pages) != 1 || pe.Pages[0].Page != tt.page || pe.Pages[0].Offset != int64(tt.page+1)*page):
					t.Errorf("%+v", pe)
				case pe.Hint() == "" || tk.o.KeepLog:
					t.Errorf("hint %q, keep log %v", pe.Hint(), tk.o.KeepLog)
				}
			})
		}
	}
	// Files of other kinds are not looked at.
	tk := &taker{m: backupset.Manifest{Engine: "sqlite"}}
	for role, name := range map[backupset.Role]string{backupset.RoleDatabase: "CA.db", backupset.RoleLog: "edb00001.log"} {
		if _, w := tk.watchPages(role, name, 5, strings.NewReader("hello"), FailOnBadPages); w != nil {
			t.Errorf("%s is watched", name)
		}
	}
	for s, want := range map[string]PagePolicy{"": FailOnBadPages, "FAIL": FailOnBadPages, "mark": MarkBadPages} {
		if p, err := ParsePagePolicy(s); err != nil || p != want {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
	if _, err := ParsePagePolicy("ignore"); err == nil {
		t.Error("a policy that is none was taken")
	}
}

// endless is a file that never ends.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	clear(p)
	return len(p), nil
}

// A page that ends the backup ends it while the rest has not been read.
func TestWatchPagesStops(t *testing.T) {
	b := eseDatabase(t)
	esetest.FlipBit(b, 8*5*4096+8000)
	esetest.FlipBit(b, 8*5*4096+8001)
	const size = 1 << 40
	rest := new(endless)
	w := newPageWatch("CA.edb", size, io.MultiReader(bytes.NewReader(b), rest), FailOnBadPages)
	var pe *PagesError
	if _, err := io.Copy(io.Discard, w); !errors.As(err, &pe) || len(pe.Pages) != 1 || rest.n > 64<<20 {
		t.Errorf("%v, after %d bytes", err, rest.n)
	}
	_ = w.finish(false)
}

// BenchmarkWatchPages is the copying of a database with and without the check.
func BenchmarkWatchPages(b *testing.B) {
	whole := eseDatabase(b)
	if len(whole) < 1<<20 {
		b.Logf("%d bytes", len(whole))
	}
	big := bytes.Clone(whole[:len(whole)-4096])
	for len(big) < 64<<20 { // pages that were never used
		page := make([]byte, 4096)
		copy(page, whole[5*4096:6*4096])
		big = append(big, page...)
		esetest.SealPage(big[len(big)-4096:], uint32(len(big)/4096-2), false)
	}
	big = append(big, whole[len(whole)-4096:]...)
	for name, watched := range map[string]bool{"checked": true, "plain": false} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(big)))
			for b.Loop() {
				tk := &taker{m: backupset.Manifest{Engine: "ese"}}
				in, w := io.Reader(bytes.NewReader(big)), (*pageWatch)(nil)
				if watched {
					in, w = tk.watchPages(backupset.RoleDatabase, "CA.edb", int64(len(big)), in, FailOnBadPages)
				}
				if _, _, err := backupset.Copy(b.Context(), io.Discard, in); err != nil {
					b.Fatal(err)
				}
				if w != nil {
					if err := tk.pagesChecked(w); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
