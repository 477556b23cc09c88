package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// adcs is a Service with the files of AD CS: names as AD CS has them, logs of one
// segment, and a database whose tables are not those of an authority, so that it can be
// checked and not read. files has others by name.
type adcs struct {
	certadm.Service // nil: nothing else may be called
	signature       byte
	first, last     uint32 // generations of logs that are there
	change          func(name string, b []byte)
	files           map[string][]byte
	calls           []string
}

const certLog = `\\CA01\c$\Windows\system32\CertLog\`

func (a *adcs) note(call string) { a.calls = append(a.calls, call) }

func (a *adcs) IsServerOnline(context.Context) (bool, error) { return true, nil }
func (a *adcs) Close() error                                 { return nil }

func (a *adcs) Identity(context.Context) (certadm.Identity, error) {
	return certadm.Identity{Name: "Corp CA", SanitizedName: "Corp CA", Host: "ca01", Engine: "ese"}, nil
}

func (a *adcs) BackupPrepare(_ context.Context, t certadm.BackupType) (certadm.Backup, error) {
	a.note(fmt.Sprint("prepare ", t))
	return &adcsBackup{a, t}, nil
}

type adcsBackup struct {
	*adcs
	kind certadm.BackupType
}

func (b *adcsBackup) DatabaseLocations(context.Context) (certadm.FileList, error) {
	return certadm.FileList{{Type: certadm.FileDatabase, Path: certLog + "Corp CA.edb"}, {Type: certadm.FileLogDir, Path: certLog}, {Type: certadm.FileCheckpointDir, Path: certLog}}, nil
}

func (b *adcsBackup) DatabaseNames(context.Context) (certadm.FileList, error) {
	if b.kind != certadm.BackupFull {
		return nil, certadm.HrInvalidBackupSequence
	}
	return certadm.FileList{{Type: certadm.FileDatabase, Path: certLog + "Corp CA.edb"}}, nil
}

func (b *adcsBackup) Logs(context.Context) (l certadm.FileList, err error) {
	for g := b.first; g <= b.last; g++ {
		l = append(l, certadm.FileEntry{Type: certadm.FileLog, Path: certLog + esetest.LogName(g)})
	}
	return l, nil
}

func (b *adcsBackup) DynamicFiles(context.Context) ([]string, error) {
	return []string{`\\CA01\c$\Windows\system32\CertSrv\CertEnroll\Corp CA.crl`}, nil
}

func (b *adcsBackup) TruncateLogs(context.Context) error {
	b.note("truncate")
	b.first = b.last + 1
	return nil
}

func (b *adcsBackup) End(context.Context) error { b.note("end"); return nil }

func (b *adcsBackup) OpenFile(_ context.Context, name string, _ int) (certadm.BackupFile, error) {
	data := b.files[certadm.BaseName(name)]
	if data == nil {
		data = make([]byte, 8192)
		if g, ok := certadm.ParseLogGeneration(name); ok {
			b.log(data, g)
		} else if data = b.database(); data == nil {
			return nil, errors.New("the database could not be written")
		}
	}
	data = bytes.Clone(data)
	if b.change != nil {
		b.change(certadm.BaseName(name), data)
	}
	return memoryFile{bytes.NewReader(data)}, nil
}

// stream is that of the logs, of one header and one unused segment each.
func (b *adcsBackup) stream() *esetest.LogStream {
	s := esetest.NewLogStream(esetest.Options{}, `C:\Windows\system32\CertLog\Corp CA.edb`)
	s.Signature, s.Sectors = ese.Signature{b.signature}, 2
	return s
}

// log writes a log as AD CS's current engine does.
func (b *adcsBackup) log(d []byte, g uint32) { copy(d, b.stream().Log(g)) }

// database is a copy that was made while logs from first to last were written.
func (b *adcsBackup) database() []byte {
	out := new(esetest.Memory)
	w, err := esetest.Create(out, esetest.Options{Logs: b.stream(), Backup: &esetest.Backup{Low: b.first, High: b.last}, RequiredLow: b.first, RequiredHigh: b.last, Committed: b.last})
	if err != nil {
		return nil
	}
	if _, err := w.Close(); err != nil {
		return nil
	}
	return out.Bytes()
}

// seal makes a header's checksum right.
func seal(d []byte) {
	sum := uint32(0x89abcdef)
	for i := 4; i < ese.LogHeaderSize; i += 4 {
		sum ^= binary.LittleEndian.Uint32(d[i:])
	}
	binary.LittleEndian.PutUint32(d, sum)
}

type memoryFile struct{ *bytes.Reader }

func (f memoryFile) Close() error { return nil }
func (f memoryFile) Size() int64  { return f.Reader.Size() }

// overTheWire publishes a Service, and returns a client of it.
func overTheWire(t *testing.T, svc certadm.Service) certadm.Service {
	t.Helper()
	hash := ntlm.NTHash("secret")
	s, err := csra.NewServer(csra.ServerOptions{
		Name: "Corp CA", Open: func(context.Context, csra.Caller) (certadm.Service, error) { return svc, nil },
		NTLM: &csra.NTLMServer{Computer: "CA01", Lookup: func(string, string) ([16]byte, bool) { return hash, true }},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, nil) }()
	c, err := csra.Dial(t.Context(), csra.Options{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Authority: "Corp CA", Credentials: csra.NTLM("backup", "", []byte("secret"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// AD CS's sets are taken, chained by what its logs say of each other, and verified
// as far as their database need not be understood.
func TestTakeFromADCS(t *testing.T) {
	for _, wire := range []bool{false, true} {
		t.Run(map[bool]string{false: "direct", true: "wire"}[wire], func(t *testing.T) {
			a := &adcs{signature: 1, first: 7, last: 9}
			svc := certadm.Service(a)
			if wire {
				svc = overTheWire(t, a)
			}
			dir := t.TempDir()
			store := folder.Root(dir, folder.Options{})
			take := func(name string, kind backup.TakeType) (*backup.TakeResult, error) {
				return backup.Take(t.Context(), backup.TakeOptions{Service: svc, Store: store, Name: name, Type: kind, CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted})
			}
			res, err := take("mon", backup.Auto)
			if err != nil {
				t.Fatal(err)
			}
			m := res.Manifest
			if m.Type != backupset.Full || m.Engine != "ese" || m.FirstGeneration != 7 || m.LastGeneration != 9 || len(m.Signature) != 56 || !res.Receipt.Confirmed || len(res.Unchecked) > 0 {
				t.Errorf("%+v", res)
			}
			if !slices.Equal(res.Receipt.Truncation.Removed, []uint32{7, 8, 9}) {
				t.Errorf("truncated %v", res.Receipt.Truncation)
			}
			for _, name := range []string{"Corp CA.edb", "edb00007.log", "edb00009.log", "certbkxp.dat"} {
				if _, err := os.Stat(filepath.Join(dir, "mon", "DataBase", name)); err != nil {
					t.Error(err)
				}
			}

			// The next one continues it.
			a.last = 11
			if res, err = take("tue", backup.Incremental); err != nil {
				t.Fatal(err)
			}
			if res.Manifest.Parent != m.ID || res.Manifest.FirstGeneration != 10 || res.Manifest.LastGeneration != 11 {
				t.Errorf("%+v", res.Manifest)
			}

			// After a restore there is another stream of logs: full, and why.
			a.signature, a.last = 2, 12
			if _, err := take("wed", backup.Incremental); !errors.Is(err, backup.ErrUnusableParent) {
				t.Errorf("%v", err)
			}
			if res, err = take("wed", backup.Auto); err != nil || res.Manifest.Type != backupset.Full || !strings.Contains(res.Reason, "restored or replaced") {
				t.Errorf("%+v, %v", res, err)
			}

			source := backup.Source{Store: store}
			rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source, Level: backup.LevelSealed})
			if err != nil || !rep.OK {
				t.Errorf("sealed: %+v, %v", rep, err)
			}
			// Pages and logs are sound; what is in it is not known.
			rep, err = backup.Verify(t.Context(), backup.VerifyOptions{Source: source, Scratch: t.TempDir()})
			if err != nil || !rep.OK || rep.Database != nil || !strings.Contains(rep.Verdict, "not replayed") || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool {
				return f.Severity == cadb.Warning && strings.Contains(f.Message, "cannot be read")
			}) {
				t.Errorf("database: %+v, %v", rep, err)
			}
		})
	}
}

// A log that is damaged as the server sends it fails the backup; one of a version
// that is not known is kept, and said so.
func TestTakeADCSLogs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(name string, b []byte)
		want   string // of the error; "" keeps the set
	}{
		{"flipped bit", func(name string, b []byte) {
			if name == "edb00008.log" {
				b[100] ^= 1
			}
		}, "wrong checksum"},
		{"gap", func(name string, b []byte) {
			if name == "edb00008.log" {
				b[24]++
				seal(b)
			}
		}, "does not follow"},
		{"a later version", func(name string, b []byte) {
			if name == "edb00008.log" {
				b[32] = 9
				seal(b)
			}
		}, ""},
	} {
		a := &adcs{signature: 1, first: 7, last: 9, change: tt.change}
		res, err := backup.Take(t.Context(), backup.TakeOptions{Service: a, Store: folder.Root(t.TempDir(), folder.Options{}), Name: "mon"})
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || slices.Contains(a.calls, "truncate") || !slices.Contains(a.calls, "end") {
				t.Errorf("%s: %v; calls %q", tt.name, err, a.calls)
			}
			continue
		}
		if err != nil || res.Manifest.Signature != "" || len(res.Unchecked) != 2 || res.Manifest.FirstGeneration != 7 || res.Manifest.LastGeneration != 9 {
			t.Errorf("%s: %+v, %v", tt.name, res, err)
		}
	}
}
