package backupset

import (
	"fmt"
	"strings"
	"time"
)

var when = time.Date(2026, 3, 14, 9, 15, 0, 123456789, time.UTC)

func digestOf(c string) string { return strings.Repeat(c, 64) }

const (
	idA = "20260314T091500.123Z-aaaaaaaaaa"
	idB = "20260314T091600.123Z-bbbbbbbbbb"
	idC = "20260314T091700.123Z-cccccccccc"
	idD = "20260314T091800.123Z-dddddddddd"
)

// fullSet is a valid manifest of a full set with the generations given.
func fullSet(id string, first, last uint32) *Manifest {
	m := &Manifest{
		Schema: Schema, ID: id, Tool: "certkeep test", Type: Full, Engine: "sqlite",
		CA:    CA{Name: "Test <CA> & Söhne", SanitizedName: "Test !003cCA!003e", CertificateSHA256: digestOf("c"), Host: "host.example"},
		Start: when, End: when.Add(time.Minute),
		Signature: "00112233445566778899aabbccddeeff", FirstGeneration: first, LastGeneration: last, EarliestTarget: last,
		Locations: []Location{{0x44, `\\host\CA$\database\CA.db`}, {0x82, `\\host\CA$\log`}, {0x83, `\\host\CA$\system`}},
		DynamicFiles: []DynamicFile{{Source: `\\host\CA$\published\CA.crl`, File: "CA.crl"},
			{Source: `\\host\CA$\published\CA.crt`, Error: "access denied"}},
		Completeness: Completeness{Present, Present, Present, Present, Absent, InHSM, NotAttempted, NotAttempted, NotAttempted},
		Calls:        []Call{{"CertSrvBackupPrepare", "", 0, when, 1500 * time.Microsecond}, {"CertSrvBackupOpenFile", `\\host\x`, 0xC8000230, when, 0}},
	}
	m.Files = append(m.Files, File{RoleDatabase, "CA.db", `\\host\CA$\database\CA.db`, 4096, digestOf("d")})
	m.Files = append(m.Files, logs(first, last)...)
	m.Files = append(m.Files, File{RoleLocations, LocationsName, "", 100, digestOf("e")}, File{RoleDynamic, "CA.crl", "", 10, digestOf("f")})
	return m
}

func logs(first, last uint32) (fs []File) {
	for g := first; g <= last; g++ {
		fs = append(fs, File{RoleLog, fmt.Sprintf("log%05x.log", g), "", int64(g), digestOf("1")})
	}
	return fs
}

func incrementalSet(id, parent string, first, last uint32) *Manifest {
	m := fullSet(id, first, last)
	m.Type, m.Parent, m.EarliestTarget, m.Locations, m.DynamicFiles = Incremental, parent, 0, nil, nil
	m.Files = logs(first, last)
	m.Start, m.End = when.Add(time.Duration(last)*time.Hour), when.Add(time.Duration(last)*time.Hour+time.Minute)
	m.Completeness.Database, m.Completeness.RestoreMap = Absent, Absent
	return m
}

func goodReceipt(m *Manifest) *Receipt {
	return &Receipt{
		Schema: Schema, SetID: m.ID, ManifestSHA256: digestOf("a"), Confirmed: true,
		Truncation: Truncation{Requested: true, Outcome: Outcome{}, Before: Generations{1, 2, 3, 0x10}, After: Generations{0x10}, Removed: Generations{1, 2, 3}},
		Finished:   when.Add(2 * time.Minute),
		Calls:      []Call{{"CertSrvBackupEnd", "", 0, when, time.Millisecond}},
	}
}
