package peertest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcom"
)

// job tells certadm_peer.py what to do.
type job struct {
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Authority string `json:"authority"`
	User      string `json:"user"`
	Domain    string `json:"domain"`
	Password  string `json:"password"`

	Kerberos bool   `json:"kerberos,omitempty"`
	Realm    string `json:"realm,omitempty"`
	CCache   string `json:"ccache,omitempty"`

	Options       string `json:"options,omitempty"`        // of Samba's binding
	Calls         []call `json:"calls,omitempty"`          // instead of a backup
	Alive         bool   `json:"alive"`                    // ask ServerAlive2 without security
	Jet           uint32 `json:"jet"`                      // grbitJet
	Flags         uint32 `json:"flags"`                    // dwBackupFlags
	Annotation    bool   `json:"annotation,omitempty"`     // send one
	Misuse        bool   `json:"misuse,omitempty"`         // calls out of order as well
	Truncate      bool   `json:"truncate,omitempty"`       // truncate the logs
	Sizes         []int  `json:"sizes"`                    // of buffers, each for every file
	DatabaseSizes []int  `json:"database_sizes,omitempty"` // the same, for databases only
	References    int    `json:"references,omitempty"`     // that activation gives
	Level         int    `json:"level,omitempty"`          // of protection, Impacket
	Debug         bool   `json:"debug,omitempty"`          // raise what it raises
	Log           int    `json:"log,omitempty"`            // Samba's log level
}

// report is what came of it. Numbers are return values, as they came.
type report struct {
	Error string

	Alive, ResolveOxid2 []string
	GetServerState      [2]uint32
	GetMyRoles          [2]uint32
	Certificate, GetCRL [2]any
	ServerControl       [2]uint32
	PublishCRL          uint32
	Ping                uint32
	PingNull            uint32 `json:"Ping null"`
	Ping2               uint32
	Query               []uint32
	WrongAuthority      uint32   `json:"wrong authority"`
	TooEarly            []uint32 `json:"lists before prepare"`
	BackupPrepare       uint32
	Lists               map[string]struct {
		Code  uint32
		Names [][2]string
	}
	Files              []readFile
	Misuse             map[string]json.RawMessage
	ComplexPing        [2]any
	SimplePing         uint32
	BackupTruncateLogs uint32
	BackupEnd          uint32
	BackupEndAgain     uint32 `json:"BackupEnd again"`
	AfterOneRelease    uint32 `json:"after one release"`
	RemAddRef          []uint32
	AfterRelease       string `json:"after release"`

	// Of single calls: the answers in hexadecimal digits, and faults.
	Answers []string
}

type readFile struct {
	Name, Type, SHA256 string
	Buffer             int
	Open, Read, Close  uint32
	Length, Total      int64
	Reads              int
	End                [2]uint32
}

func (a *authority) job(t *testing.T) job {
	t.Helper()
	host, port, err := net.SplitHostPort(a.resolver)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	return job{
		Host: host, Port: n, Authority: caName, User: caUser, Domain: caDomain, Password: caPassword,
		Alive: true, Sizes: []int{1 << 20}, References: 5,
	}
}

const (
	none       = 0
	sFalse     = 1 // S_FALSE: not all of it
	outOfOrder = uint32(certadm.EUnexpected)
)

// check compares a report with what a session is to be, whoever the peer is.
func (r *report) check(t *testing.T, a *authority, j job, full bool) {
	t.Helper()
	if r.Error != "" {
		t.Fatalf("the peer failed: %s", r.Error)
	}
	same := func(what string, got, want any) {
		t.Helper()
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		if string(g) != string(w) {
			t.Errorf("%s: %s, not %s", what, g, w)
		}
	}
	same("Ping", r.Ping, none)
	same("Ping without a name", r.PingNull, none)
	same("Ping2", r.Ping2, none)
	same("GetServerState", r.GetServerState, []int{0, 1})
	same("RemQueryInterface", r.Query, []uint32{sFalse, 0, uint32(dcom.ENoInterface)})
	same("GetMyRoles", r.GetMyRoles, []uint32{0, uint32(operator.Roles)})
	digest := func(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }
	same("GetCAProperty", r.Certificate, []any{0, digest(a.CACertificate().Raw)})
	crl, err := a.CRL()
	if err != nil {
		t.Fatal(err)
	}
	same("GetCRL", r.GetCRL, []any{0, digest(crl.Raw)})
	same("ServerControl", r.ServerControl, []uint32{0, uint32(certadm.EInvalidArg)})
	same("PublishCRL", r.PublishCRL, uint32(certadm.ENotImpl))
	same("BackupPrepare for another authority", r.WrongAuthority, uint32(certadm.EInvalidArg))
	same("lists before BackupPrepare", r.TooEarly, []uint32{uint32(certadm.HrInvalidBackupSequence), outOfOrder})
	same("BackupPrepare", r.BackupPrepare, none)
	same("ComplexPing", r.ComplexPing, []any{0, true})
	same("SimplePing", r.SimplePing, none)
	same("BackupEnd", r.BackupEnd, none)
	if r.BackupEndAgain == 0 {
		t.Error("BackupEnd succeeds twice")
	}
	if j.Truncate {
		same("BackupTruncateLogs", r.BackupTruncateLogs, none)
	}
	same("Ping after one reference was released", r.AfterOneRelease, none)
	same("RemAddRef", r.RemAddRef, []int{0})
	if r.AfterRelease == "" {
		t.Error("the object can be called after all of its references were released")
	}
	_, port, _ := net.SplitHostPort(a.exporter)
	if !slices.Contains(r.ResolveOxid2, "127.0.0.1["+port+"]") {
		t.Errorf("ResolveOxid2: %q, without port %s", r.ResolveOxid2, port)
	}
	if j.Alive && !slices.Contains(r.Alive, "127.0.0.1") {
		t.Errorf("ServerAlive2: %q, without the address", r.Alive)
	}
	r.lists(t, a, full)
	r.read(t, a, j, full)
}

// lists checks the lists of names.
func (r *report) lists(t *testing.T, a *authority, full bool) {
	t.Helper()
	var locations [][2]string
	for _, e := range a.Locations() {
		locations = append(locations, [2]string{string(rune(e.Type)), e.Path})
	}
	if l := r.Lists["RestoreGetDatabaseLocations"]; l.Code != 0 || !slices.Equal(l.Names, locations) {
		t.Errorf("RestoreGetDatabaseLocations: 0x%x %q, not %q", l.Code, l.Names, locations)
	}
	l := r.Lists["BackupGetAttachmentInformation"]
	unc, _ := a.Locations().Find(certadm.FileDatabase)
	switch database := [][2]string{{string(rune(certadm.FileDatabase)), unc}}; {
	case full && (l.Code != 0 || !slices.Equal(l.Names, database)):
		t.Errorf("BackupGetAttachmentInformation: 0x%x %q, not %q", l.Code, l.Names, database)
	case !full && (l.Code != uint32(certadm.HrInvalidBackupSequence) || len(l.Names) > 0):
		t.Errorf("BackupGetAttachmentInformation of an incremental backup: 0x%x %q", l.Code, l.Names)
	}
	if l := r.Lists["BackupGetBackupLogs"]; l.Code != 0 || len(l.Names) == 0 {
		t.Errorf("BackupGetBackupLogs: 0x%x %q", l.Code, l.Names)
	} else {
		for _, n := range l.Names {
			if _, ok := certadm.ParseLogGeneration(n[1]); n[0] != string(rune(certadm.FileLog)) || !ok {
				t.Errorf("BackupGetBackupLogs: %q", n)
			}
		}
	}
	if l := r.Lists["BackupGetDynamicFiles"]; l.Code != 0 || len(l.Names) == 0 {
		t.Errorf("BackupGetDynamicFiles: 0x%x %q", l.Code, l.Names)
	} else {
		for _, n := range l.Names {
			if n[0] != "" || !strings.HasPrefix(n[1], `\\`) {
				t.Errorf("BackupGetDynamicFiles: %q", n)
			}
		}
	}
}

// read compares what was read with the authority's files: each was read once
// with each size of buffer.
func (r *report) read(t *testing.T, a *authority, j job, full bool) {
	t.Helper()
	times, databases := map[string]int{}, 0
	for _, f := range r.Files {
		want := a.file(t, f.Name)
		times[f.Name]++
		if f.Type == string(rune(certadm.FileDatabase)) {
			databases++
		}
		if f.Open != 0 || f.Read != 0 || f.Close != 0 || f.End != [2]uint32{} {
			t.Errorf("%s with %d: open 0x%x, read 0x%x, close 0x%x, at the end %d", f.Name, f.Buffer, f.Open, f.Read, f.Close, f.End)
		}
		if got := (file{f.Total, f.SHA256}); got != want || f.Length != want.size {
			t.Errorf("%s with %d: %d bytes announced, read %v, and the file is %v", f.Name, f.Buffer, f.Length, got, want)
		}
		if want := int(f.Length)/f.Buffer + 1; f.Reads != want {
			t.Errorf("%s with %d: %d reads, not %d", f.Name, f.Buffer, f.Reads, want)
		}
	}
	count := func(list string, want int) {
		t.Helper()
		for _, n := range r.Lists[list].Names {
			if times[n[1]] != want {
				t.Errorf("%s was read %d times, not %d", n[1], times[n[1]], want)
			}
		}
	}
	count("BackupGetAttachmentInformation", len(j.Sizes)+len(j.DatabaseSizes))
	count("BackupGetBackupLogs", len(j.Sizes))
	if full != (databases > 0) {
		t.Errorf("databases were read %d times; a full backup: %v", databases, full)
	}
}

// call is one request, to the interface of this number in samba_peer.py.
type call struct {
	Interface int    `json:"interface"`
	Opnum     int    `json:"opnum"`
	Stub      string `json:"stub"` // hexadecimal digits
}

// wide encodes s as the protocols do.
func wide(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
