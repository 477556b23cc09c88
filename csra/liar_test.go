package csra

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	taking "github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// lie is what a server answers to one method, instead of the truth.
type lie struct {
	op     uint16
	answer func(in *ndr.Decoder, out *ndr.Encoder)
}

// abet answers for files that are not there: any name can be opened and read.
func abet(op uint16, in *ndr.Decoder, out *ndr.Encoder) bool {
	switch op {
	case opBackupOpenFile:
		out.U64(5)
	case opBackupReadFile:
		b := encodeReadBuffer(out, in.I32())
		copy(b, "hello")
		out.Align(4)
		out.I32(5)
	case opBackupCloseFile, opBackupTruncateLogs:
	default:
		return false
	}
	out.U32(0)
	return true
}

// units answers with a list as it is given, and the count that belongs to it.
func units(u []uint16) func(*ndr.Decoder, *ndr.Encoder) {
	return func(_ *ndr.Decoder, out *ndr.Encoder) { encodeList(out, u); out.U32(0) }
}

// names answers with entries of a type; the names are not checked.
func names(typ uint16, names ...string) func(*ndr.Decoder, *ndr.Encoder) {
	var u []uint16
	for _, n := range names {
		u = append(u, typ)
		for _, r := range n {
			u = append(u, uint16(r))
		}
		u = append(u, 0)
	}
	return units(append(u, 0))
}

func size(v uint64) func(*ndr.Decoder, *ndr.Encoder) {
	return func(_ *ndr.Decoder, out *ndr.Encoder) { out.U64(v); out.U32(0) }
}

// read answers a BackupReadFile of cb bytes with an array of another size, and
// says that so many of its bytes count.
func read(array func(cb int32) int32, counts func(cb int32) int32) func(*ndr.Decoder, *ndr.Encoder) {
	return func(in *ndr.Decoder, out *ndr.Encoder) {
		cb := in.I32()
		for i, b := 0, encodeReadBuffer(out, array(cb)); i < len(b); i++ {
			b[i] = 'x'
		}
		out.Align(4)
		out.I32(counts(cb))
		out.U32(0)
	}
}

func same(cb int32) int32 { return cb }

// A server that lies gets no backup out of a client: whatever it answers, Take
// fails with an error, does not panic, takes no memory that was not sent, and
// leaves no set; and nothing outside the sets' directory is touched.
func TestLyingServer(t *testing.T) {
	many := make([]string, 50_000)
	for i := range many {
		many[i] = `\\CA1\x\` + strings.Repeat("y", 20)
	}
	const share = `\\CA1\CA$\`
	lies := map[string]lie{
		"databases: no list":     {opBackupGetAttachments, func(_ *ndr.Decoder, out *ndr.Encoder) {}},
		"databases: without end": {opBackupGetAttachments, units([]uint16{'D', '\\', '\\', 'a', '\\', 'b'})},
		"databases: count is wrong": {opBackupGetAttachments, func(_ *ndr.Decoder, out *ndr.Encoder) {
			out.Raw(words(0x20000, 4, 'D'|'x'<<16, 0, 9, 0))
		}},
		"databases: count is -1":        {opBackupGetAttachments, func(_ *ndr.Decoder, out *ndr.Encoder) { out.Raw(words(0x20000, 1, 0x44, math.MaxUint32, 0)) }},
		"databases: a gigabyte":         {opBackupGetAttachments, func(_ *ndr.Decoder, out *ndr.Encoder) { out.Raw(words(0x20000, 1<<29, 0, 1<<29, 0)) }},
		"databases: name with a NUL":    {opBackupGetAttachments, units([]uint16{'D', '\\', '\\', 'a', '\\', 'b', 0, 'x', 0, 0})},
		"databases: upwards":            {opBackupGetAttachments, names('D', `\\CA1\CA$\..\..\..\evil.db`)},
		"databases: ends upwards":       {opBackupGetAttachments, names('D', `\\CA1\CA$\..`)},
		"databases: local":              {opBackupGetAttachments, names('D', `C:\CertLog\CA.db`)},
		"databases: a Unix path":        {opBackupGetAttachments, names('D', `/etc/passwd`)},
		"databases: slashes":            {opBackupGetAttachments, names('D', `\\CA1\CA$\../../evil.db`)},
		"databases: no file name":       {opBackupGetAttachments, names('D', share)},
		"databases: empty name":         {opBackupGetAttachments, names('D', ``)},
		"databases: reserved name":      {opBackupGetAttachments, names('D', share+`certbkxp.dat`)},
		"databases: of other types":     {opBackupGetAttachments, names('?', share+`x.db`)},
		"databases: one that is not":    {opBackupGetAttachments, names('D', share+`other.db`)},
		"databases: a very long name":   {opBackupGetAttachments, names('D', share+strings.Repeat("x", 40_000))},
		"databases: a long base name":   {opBackupGetAttachments, names('D', share+strings.Repeat("x", 300))},
		"databases: very many":          {opBackupGetAttachments, names('D', many...)},
		"databases: control characters": {opBackupGetAttachments, names('D', share+"x\x1b[2J\n.db")},
		"databases: half a character":   {opBackupGetAttachments, units([]uint16{'D', '\\', '\\', 'a', '\\', 0xD800, 0, 0})},
		"logs: upwards":                 {opBackupGetLogs, names('!', share+`..\..\evil.log`)},
		"logs: very many":               {opBackupGetLogs, names('!', many...)},
		"logs: one that is not":         {opBackupGetLogs, names('!', share+`log99999.log`)},
		"logs: a database":              {opBackupGetLogs, names('D', share+`x.db`)},
		"logs: nonsense":                {opBackupGetLogs, func(_ *ndr.Decoder, out *ndr.Encoder) { out.U64(math.MaxUint64) }},
		"size: negative":                {opBackupOpenFile, size(1 << 63)},
		"size: -1":                      {opBackupOpenFile, size(math.MaxUint64)},
		"size: exabytes":                {opBackupOpenFile, size(math.MaxInt64)},
		"size: none":                    {opBackupOpenFile, size(0)},
		"size: too small":               {opBackupOpenFile, size(4096)},
		"size: cut off":                 {opBackupOpenFile, func(_ *ndr.Decoder, out *ndr.Encoder) { out.U32(7) }},
		"read: more than was asked for": {opBackupReadFile, read(same, func(cb int32) int32 { return cb + 1 })},
		"read: -1 bytes":                {opBackupReadFile, read(same, func(int32) int32 { return -1 })},
		"read: 2 GiB":                   {opBackupReadFile, read(same, func(int32) int32 { return math.MaxInt32 })},
		"read: endless":                 {opBackupReadFile, read(same, same)},
		"read: nothing":                 {opBackupReadFile, read(same, func(int32) int32 { return 0 })},
		"read: one byte":                {opBackupReadFile, read(same, func(int32) int32 { return 1 })},
		"read: a smaller array":         {opBackupReadFile, read(func(cb int32) int32 { return cb / 2 }, func(cb int32) int32 { return cb / 2 })},
		"read: a larger array":          {opBackupReadFile, read(func(cb int32) int32 { return 2 * cb }, same)},
		"read: no array":                {opBackupReadFile, read(func(int32) int32 { return 0 }, same)},
		"read: a huge array":            {opBackupReadFile, read(func(int32) int32 { return 30 << 20 }, same)},
		"read: lying array":             {opBackupReadFile, func(_ *ndr.Decoder, out *ndr.Encoder) { out.Raw(words(math.MaxUint32, 0, 0, 0)) }},
		"locations: nonsense":           {opGetLocations, func(_ *ndr.Decoder, out *ndr.Encoder) { out.Raw(words(0x20000, math.MaxUint32)) }},
		"prepare: no answer":            {opBackupPrepare, func(*ndr.Decoder, *ndr.Encoder) {}},
	}
	ca := certsrvtest.Start(t, testCA, certsrv.Options{})
	take := func(t *testing.T, l *lie, abetting bool) (*folder.Store, error) {
		v := &odd{svc: ca.Service(certsrvtest.Root)}
		if l != nil {
			v.answer = func(op uint16, in *ndr.Decoder, out *ndr.Encoder) (bool, error) {
				if op != l.op {
					return abetting && abet(op, in, out), nil
				}
				l.answer(in, out)
				return true, nil
			}
		}
		top := t.TempDir()
		store := folder.Root(filepath.Join(top, "a", "b", "sets"), folder.Options{})
		_, err := taking.Take(t.Context(), taking.TakeOptions{Service: v.dial(t), Store: store, Name: "set", Type: taking.Full,
			OpenDynamic: func(context.Context, string) (io.ReadCloser, error) { return nil, os.ErrNotExist }})
		// Nothing was written elsewhere.
		for _, dir := range []string{top, filepath.Join(top, "a"), filepath.Join(top, "a", "b")} {
			entries, err := os.ReadDir(dir)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !slices.Contains([]string{"a", "b", "sets"}, e.Name()) {
					t.Errorf("%s is in %s", e.Name(), dir)
				}
			}
		}
		return store, err
	}
	sets := func(t *testing.T, s *folder.Store) int {
		entries, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	t.Run("the truth", func(t *testing.T) {
		store, err := take(t, nil, false)
		if err != nil || sets(t, store) != 1 {
			t.Fatalf("%d sets, %v", sets(t, store), err)
		}
	})
	if racing {
		delete(lies, "read: a huge array")
	}
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			store, err := take(t, &l, false)
			if err == nil || sets(t, store) != 0 {
				t.Errorf("%d sets, %v", sets(t, store), err)
			} else if strings.ContainsFunc(err.Error(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
				t.Errorf("the error has control characters of the server's: %q", err)
			}
		})
		if l.op != opBackupGetAttachments && l.op != opBackupGetLogs {
			continue
		}
		t.Run(name+", and stands by it", func(t *testing.T) {
			store, err := take(t, &l, true)
			if err == nil || sets(t, store) != 0 {
				t.Errorf("%d sets, %v", sets(t, store), err)
			} else if strings.ContainsFunc(err.Error(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
				t.Errorf("the error has control characters of the server's: %q", err)
			}
		})
	}
}

// Answers that end too early, or are none, are errors of that call with a code;
// later calls still work, for the connection is sound.
func TestNonsenseAnswers(t *testing.T) {
	for op := opBackupPrepare; op <= opGetLocations; op++ {
		if op == 28 {
			continue
		}
		for _, answer := range [][]byte{nil, {1}, words(0), words(1, 2), words(0x20000, 0xFFFFFFFF), words(7, 7, 7)} {
			if len(answer) == 4 && len(methods[op].outs) == 0 {
				continue // that is a success
			}
			v := &odd{f: newFake()}
			bad := true
			v.answer = func(o uint16, _ *ndr.Decoder, out *ndr.Encoder) (bool, error) {
				if o == op && bad {
					bad = false
					out.Raw(answer)
					return true, nil
				}
				return false, nil
			}
			cl, d := directClient(&settings{name: "Fake CA"}, v.f)
			cl.calls.p = answering{d, v.answer}
			err := backUp(t.Context(), cl)
			if op == opBackupGetDynamic {
				_, err = cl.DynamicFiles(t.Context())
			}
			if op == opGetLocations {
				_, err = cl.DatabaseLocations(t.Context())
			}
			if err == nil || certadm.CodeOf(err) == certadm.RPCServerUnavailable {
				t.Errorf("%s answers %x: %v", methods[op].name, answer, err)
			}
			cl.Close()
		}
	}
}

// answering is a proxy whose server answers something else.
type answering struct {
	proxy
	answer func(uint16, *ndr.Decoder, *ndr.Encoder) (bool, error)
}

func (a answering) Call(ctx context.Context, op uint16, buffer []byte, args func(*ndr.Encoder)) (*ndr.Decoder, error) {
	out := ndr.NewEncoder(nil)
	out.U64(0)
	done, err := a.answer(op, nil, out)
	if !done {
		return a.proxy.Call(ctx, op, buffer, args)
	}
	d := ndr.NewDecoder(out.Bytes())
	d.Bytes(8)
	return d, err
}

// Faults of all kinds are the server's refusal: they have their code, and the
// next call is served.
func TestFaults(t *testing.T) {
	for status, want := range map[uint32]certadm.HRESULT{
		5: certadm.EAccessDenied, 0x80070005: certadm.EAccessDenied, dcerpc.StatusOpRange: certadm.RPCNoSuchMethod,
		dcerpc.StatusTooBusy: certadm.RPCServerTooBusy, dcerpc.StatusBadStubData: certadm.RPCBadStubData, 0x80010108: 0x80010108,
		0xC80001F9: certadm.HrBackupInProgress, dcerpc.StatusFaultUnspecified: certadm.RPCCallFailed,
	} {
		v := &odd{answer: func(op uint16, _ *ndr.Decoder, _ *ndr.Encoder) (bool, error) {
			if op == opGetLocations {
				return true, &dcerpc.Fault{Status: status}
			}
			return false, nil
		}}
		c := v.dial(t)
		_, err := c.DatabaseLocations(t.Context())
		wantCode(t, err, want, "a fault")
		whole(t, c)
	}
}
