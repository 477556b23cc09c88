package certadmtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/certkeep/certkeep/certadm"
)

// listItems are items 1 to 10: constants, lists and codes. They are about package
// certadm and the same for every Service, save that item 4 also sends a real list
// through.
func listItems() []item {
	return []item{
		{1, []part{{"types and control flags", func(p *probe) {
			for what, v := range map[string][2]uint32{
				"BackupFull": {uint32(certadm.BackupFull), 1}, "BackupLogsOnly": {uint32(certadm.BackupLogsOnly), 2}, "BackupTypeMask": {uint32(certadm.BackupTypeMask), 3},
				"RestoreFull": {uint32(certadm.RestoreFull), 1}, "RestoreOnline": {uint32(certadm.RestoreOnline), 2}, "RestoreCatchup": {uint32(certadm.RestoreCatchup), 4}, "RestoreTypeMask": {uint32(certadm.RestoreTypeMask), 5},
				"ControlShutdown": {uint32(certadm.ControlShutdown), 1}, "ControlSuspend": {uint32(certadm.ControlSuspend), 2}, "ControlRestart": {uint32(certadm.ControlRestart), 3},
			} {
				if v[0] != v[1] {
					p.Errorf("%s = %d, want %d", what, v[0], v[1])
				}
			}
		}}}},
		{2, []part{{"tags", func(p *probe) {
			for tag, want := range map[certadm.FileType]uint16{
				certadm.FileDatabase: 0x44, certadm.FileLog: 0x21, certadm.FilePatch: 0x25,
				certadm.FileLogDir: 0x82, certadm.FileCheckpointDir: 0x83, certadm.FileUnknown: 0x0F,
			} {
				directory := want == 0x82 || want == 0x83
				if uint16(tag) != want || (tag&certadm.FlagDirectory != 0) != directory {
					p.Errorf("tag %#x, want %#x, with the directory flag %v", tag, want, directory)
				}
			}
		}}}},
		{3, []part{{"tagged list", func(p *probe) {
			l, err := certadm.DecodeList(utf16le("D\\\\S\\a\x00!\\\\S\\b\x00\x00"))
			if want := (certadm.FileList{{Type: certadm.FileDatabase, Path: `\\S\a`}, {Type: certadm.FileLog, Path: `\\S\b`}}); err != nil || !slices.Equal(l, want) {
				p.Errorf("decoded to %v, %v, want %v", l, err, want)
			}
		}}}},
		{4, []part{
			{"byte for byte", func(p *probe) {
				p.sameBytes(utf16le("D\\\\S\\a\x00\u0082\\\\S\\b\x00\u0083\\\\S\\c\x00\x00"))
			}},
			{"the service's own list", func(p *probe) {
				b := p.prepare(p.connect(operator), certadm.BackupFull)
				l, _ := p.locations(b)
				encoded, err := certadm.EncodeLocations(l)
				if err != nil {
					p.Fatalf("%v", err)
				}
				p.sameBytes(encoded)
			}},
		}},
		{5, []part{{"bytes and WCHARs", func(p *probe) {
			l := certadm.FileList{{Type: certadm.FileDatabase, Path: `\\S\Ü😀`}}
			b, err1 := certadm.EncodeList(l)
			units, err2 := certadm.EncodeListUnits(l)
			// the tag, five WCHARs and a pair, two NULs
			if err1 != nil || err2 != nil || len(units) != 1+5+2+2 || len(b) != 2*len(units) {
				p.Errorf("%d bytes, %d WCHARs, want 20 and 10 (%v, %v)", len(b), len(units), err1, err2)
			}
		}}}},
		{6, []part{{"empty list", func(p *probe) {
			for _, none := range [][]byte{nil, {}} {
				l, err := certadm.DecodeList(none)
				s, err2 := certadm.DecodeStrings(none)
				if len(l)+len(s) != 0 || err != nil || err2 != nil {
					p.Errorf("decoded to %v, %v, %v, %v", l, s, err, err2)
				}
			}
			if units, err := certadm.EncodeListUnits(nil); len(units) != 0 || err != nil {
				p.Errorf("encoded to %v, %v", units, err)
			}
		}}}},
		{7, []part{{"malformed lists", func(p *probe) {
			for what, b := range map[string][]byte{
				"without its final NUL":      utf16le("D\\\\S\\a\x00"),
				"without any NUL":            utf16le("D\\\\S\\a"),
				"with an odd length":         append(utf16le("D\\\\S\\a\x00\x00"), 0),
				"with a tag without a path":  utf16le("D\\\\S\\a\x00!\x00\x00"),
				"with bytes after its end":   utf16le("D\\\\S\\a\x00\x00!"),
				"with half a surrogate pair": {'D', 0, 0x00, 0xD8, 0, 0, 0, 0},
			} {
				if l, err := certadm.DecodeList(b); err == nil {
					p.Errorf("a list %s decodes to %v", what, l)
				}
			}
		}}}},
		{8, []part{{"untagged list", func(p *probe) {
			want := []string{`\\S\a.crl`, `D\\S\b`, "!"}
			l, err := certadm.DecodeStrings(utf16le(strings.Join(want, "\x00") + "\x00\x00"))
			if err != nil || !slices.Equal(l, want) {
				p.Errorf("decoded to %q, %v, want %q", l, err, want)
			}
		}}}},
		{9, []part{{"ESE numbers", func(p *probe) {
			for n := 1; n <= 0xFFFF; n++ {
				e, w := certadm.ESE(-n), certadm.ESE(n)
				if uint32(e) != 0xC8000000|uint32(n) || uint32(w) != 0x88000000|uint32(n) {
					p.Fatalf("ESE %d is %v, and the warning %v", n, e, w)
				}
				en, ok1 := e.ESE()
				wn, ok2 := w.ESE()
				if en != -n || wn != n || !ok1 || !ok2 {
					p.Fatalf("%v is ESE %d, %v is ESE %d", e, en, w, wn)
				}
			}
		}}}},
		{10, []part{{"names of codes", func(p *probe) {
			for code, name := range headerCodes() {
				s := code.String()
				if code.Name() == "" || !strings.Contains(s, code.Name()) || !strings.Contains(s, fmt.Sprintf("0x%08X", uint32(code))) {
					p.Errorf("%s prints as %q", name, s)
				}
				n, ese := code.ESE()
				if ese != (uint32(code)&0x7FFF0000 == 0x48000000 || uint32(code)&0x7FFF0000 == 0x08000000) || ese && !strings.Contains(s, fmt.Sprint("ESE ", n)) {
					p.Errorf("%s prints as %q, without its ESE number", name, s)
				}
			}
		}}}},
	}
}

// sameBytes decodes a list and encodes it again.
func (p *probe) sameBytes(b []byte) {
	l, err := certadm.DecodeList(b)
	if err != nil {
		p.Fatalf("%v", err)
	}
	again, err := certadm.EncodeList(l)
	if err != nil || !bytes.Equal(again, b) || !bytes.HasSuffix(b, []byte{0, 0, 0, 0}) {
		p.Errorf("%x became %x, %v", b, again, err)
	}
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// headerCodes are the codes of ntdsbmsg.h with their names there, kept apart from
// the table they are compared with.
func headerCodes() map[certadm.HRESULT]string {
	codes := make(map[certadm.HRESULT]string)
	for name := range strings.FieldsSeq(ntdsbmsg) {
		name, hex, _ := strings.Cut(name, "=")
		var n uint32
		if _, err := fmt.Sscanf(hex, "%x", &n); err != nil {
			panic(name)
		}
		codes[certadm.HRESULT(n)] = name
	}
	return codes
}

const ntdsbmsg = `
hrNyi=C0000001 hrInvalidParam=C7FF0001 hrError=C7FF0002 hrInvalidHandle=C7FF0003 hrRestoreInProgress=C7FF0004 hrAlreadyOpen=C7FF0005
hrInvalidRecips=C7FF0006 hrCouldNotConnect=C7FF0007 hrRestoreMapExists=C7FF0008 hrIncrementalBackupDisabled=C7FF0009
hrLogFileNotFound=C7FF000A hrCircularLogging=C7FF000B hrNoFullRestore=C7FF000C hrCommunicationError=C7FF000D
hrFullBackupNotTaken=C7FF000E hrMissingExpiryToken=C7FF000F hrUnknownExpiryTokenFormat=C7FF0010 hrContentsExpired=C7FF0011
hrAlreadyListening=800706B1
hrFileClose=C8000066 hrOutOfThreads=C8000067 hrTooManyIO=C8000069 hrLogFileCorrupt=C80001F5 hrNoBackupDirectory=C80001F7
hrBackupDirectoryNotEmpty=C80001F8 hrBackupInProgress=C80001F9 hrMissingPreviousLogFile=C80001FD hrLogWriteFail=C80001FE
hrBadLogVersion=C8000202 hrInvalidLogSequence=C8000203 hrLoggingDisabled=C8000204 hrLogBufferTooSmall=C8000205
hrLogSequenceEnd=C8000207 hrNoBackup=C8000208 hrInvalidBackupSequence=C8000209 hrBackupNotAllowedYet=C800020B
hrDeleteBackupFileFail=C800020C hrMakeBackupDirectoryFail=C800020D hrInvalidBackup=C800020E hrRecoveredWithErrors=C800020F
hrMissingLogFile=C8000210 hrLogDiskFull=C8000211 hrBadLogSignature=C8000212 hrBadDbSignature=C8000213
hrBadCheckpointSignature=C8000214 hrCheckpointCorrupt=C8000215 hrDatabaseInconsistent=C8000226 hrConsistentTimeMismatch=C8000227
hrPatchFileMismatch=C8000228 hrRestoreLogTooLow=C8000229 hrRestoreLogTooHigh=C800022A hrGivenLogFileHasBadSignature=C800022B
hrGivenLogFileIsNotContiguous=C800022C hrMissingRestoreLogFiles=C800022D hrExistingLogFileHasBadSignature=8800022E
hrExistingLogFileIsNotContiguous=8800022F hrMissingFullBackup=C8000230 hrBadBackupDatabaseSize=C8000231 hrTermInProgress=C80003E8
hrInvalidParameter=C80003EB hrOutOfMemory=C80003F3 hrReadVerifyFailure=C80003FA hrDiskIO=C80003FE hrInvalidPath=C80003FF
hrInvalidDatabase=C8000404 hrNotInitialized=C8000405 hrAlreadyInitialized=C8000406 hrFileAccessDenied=C8000408
hrBufferTooSmall=C800040E hrDatabaseNotFound=C80004B3 hrDatabaseCorrupted=C80004B6 hrDiskFull=C8000710 hrPermissionDenied=C8000711
hrFileNotFound=C8000713 hrFileOpenReadOnly=88000715 hrAfterInitialization=C800073A hrLogCorrupted=C800073C
hrInvalidOperation=C8000772 hrAccessDenied=C8000773`
