package esetest

import (
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Fields of a database's header, by their offsets.
const (
	hdrMagic           = 4
	hdrVersion         = 8
	hdrDBTime          = 16
	hdrSignature       = 24
	hdrState           = 52
	hdrConsistent      = 56 // position, time
	hdrAttachTime      = 72
	hdrAttach          = 80
	hdrDetachTime      = 88
	hdrDetach          = 96
	hdrDBID            = 104
	hdrLogSignature    = 108
	hdrFullPrev        = 136
	hdrFullCur         = 184
	hdrLastObject      = 212
	hdrWindows         = 216
	hdrRevision        = 232
	hdrPageSize        = 236
	hdrMinRequired     = 296
	hdrMaxRequired     = 300
	hdrCreateVersion   = 340
	hdrCreateRevision  = 344
	hdrMaxCreated      = 348
	hdrMaxCommitted    = 416
	hdrMinConsistent   = 640
	hdrMinorRevision   = 644
	hdrFileType        = 667
	hdrMaxRequiredTime = 672
)

// Fields of the trailer.
const (
	trlBackup       = 40
	trlSignature    = 64
	trlLogSignature = 92
	trlMinRequired  = 120
	trlMaxRequired  = 124
	trlMaxCommitted = 128
	trlRequiredMade = 132
	trlCommitMade   = 140
)

const (
	magic   = 0x89abcdef
	version = 0x620
)

func (w *Writer) signature() ese.Signature { return NewSignature(w.o.Seed, w.o.Time) }

// putPosition writes an LGPOS.
func putPosition(b []byte, p ese.LogPosition) {
	le.PutUint16(b, p.Byte)
	le.PutUint16(b[2:], p.Sector)
	le.PutUint32(b[4:], p.Generation)
}

// putBackup writes a BKINFO.
func putBackup(b []byte, i ese.BackupInfo) {
	putPosition(b, i.Mark)
	copy(b[8:], i.Time[:])
	le.PutUint32(b[16:], i.GenLow)
	le.PutUint32(b[20:], i.GenHigh)
}

// backupMark is where a backup of generations low to high began: in the log that was
// current then.
func (o Options) backupMark(low, high uint32) ese.BackupInfo {
	return ese.BackupInfo{Mark: ese.LogPosition{Generation: high, Sector: 5, Byte: 0x40}, Time: o.Logs.within(high), GenLow: low, GenHigh: high}
}

// header is the header page without its checksum.
func (w *Writer) header(info *Info) []byte {
	o := w.o
	b := make([]byte, o.PageSize)
	u32 := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	put := func(at int, v []byte) { copy(b[at:], v) }
	made := LogTime(o.Time)
	u32(hdrMagic, magic)
	u32(hdrVersion, version)
	le.PutUint64(b[hdrDBTime:], info.DBTime)
	put(hdrSignature, info.Signature[:])
	u32(hdrState, uint32(o.State))
	put(hdrConsistent+8, made[:])
	put(hdrAttachTime, made[:])
	u32(hdrDBID, 1)
	u32(hdrLastObject, uint32(len(w.kinds))+1)
	for i, v := range []uint32{10, 0, 17763, 0} { // Windows Server 2019
		u32(hdrWindows+4*i, v)
	}
	u32(hdrRevision, o.Revision)
	u32(hdrPageSize, uint32(o.PageSize))
	u32(hdrCreateVersion, version)
	u32(hdrCreateRevision, 20)
	u32(hdrMinorRevision, o.MinorRevision)
	u32(hdrFileType, uint32(ese.FileDatabase))
	if s := o.Logs; s != nil {
		put(hdrLogSignature, s.Signature[:])
		attach := ese.LogPosition{Generation: 1, Sector: 2, Byte: 0x268}
		putPosition(b[hdrAttach:], attach)
		putPosition(b[hdrConsistent:], attach)
		if o.State == ese.CleanShutdown {
			end := ese.LogPosition{Generation: max(o.Committed, 1), Sector: 9, Byte: 0x30}
			putPosition(b[hdrConsistent:], end)
			putPosition(b[hdrDetach:], end)
			t := s.within(end.Generation)
			put(hdrConsistent+8, t[:])
			put(hdrDetachTime, t[:])
		} else {
			u32(hdrMinRequired, o.RequiredLow)
			u32(hdrMaxRequired, o.RequiredHigh)
			u32(hdrMaxCommitted, o.Committed)
			u32(hdrMinConsistent, o.RequiredLow)
			t := s.Created(o.Committed)
			put(hdrMaxCreated, t[:])
			if o.MinorRevision > 0 { // engines that have it
				t = s.Created(o.RequiredHigh)
				put(hdrMaxRequiredTime, t[:])
			}
		}
		if o.FullPrevLow != 0 {
			putBackup(b[hdrFullPrev:], o.backupMark(o.FullPrevLow, o.FullPrevHigh))
		}
		if o.Backup != nil {
			cur := o.backupMark(o.Backup.Low, o.Backup.High)
			cur.GenHigh = 0 // not known yet when the engine writes this
			putBackup(b[hdrFullCur:], cur)
		}
	}
	if o.Header != nil {
		o.Header(b)
	}
	return b
}

// writeHeader writes the header twice, and the trailer if there is one.
func (w *Writer) writeHeader(info *Info) error {
	b := w.header(info)
	SealHeader(b)
	for i := range int64(2) {
		if _, err := w.out.WriteAt(b, i*int64(len(b))); err != nil {
			return fmt.Errorf("write header: %w", err)
		}
	}
	o := w.o
	if o.Backup == nil {
		return nil
	}
	clear(b)
	putBackup(b[trlBackup:], o.backupMark(o.Backup.Low, o.Backup.High))
	copy(b[trlSignature:], info.Signature[:])
	copy(b[trlLogSignature:], o.Logs.Signature[:])
	if o.Backup.NewTrailer {
		le.PutUint32(b[trlMinRequired:], o.RequiredLow)
		le.PutUint32(b[trlMaxRequired:], o.Backup.High)
		le.PutUint32(b[trlMaxCommitted:], o.Backup.High)
		t := o.Logs.Created(o.Backup.High)
		copy(b[trlRequiredMade:], t[:])
		copy(b[trlCommitMade:], t[:])
	}
	if o.Trailer != nil {
		o.Trailer(b)
	}
	SealHeader(b)
	if _, err := w.out.WriteAt(b, info.Size); err != nil {
		return fmt.Errorf("write trailer: %w", err)
	}
	info.Size += int64(len(b))
	return nil
}
