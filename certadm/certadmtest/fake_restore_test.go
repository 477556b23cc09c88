package certadmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// pendingSet is a registered set.
type pendingSet struct {
	reg      certadm.Registration
	complete bool
}

func (s *client) RestorePrepare(_ context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	f := s.c.f
	err := s.use("RestorePrepare", func() certadm.HRESULT {
		switch {
		case t != certadm.RestoreFull && !f.is("any restore type"):
			return certadm.EInvalidArg
		case s.c.caller.Rights&Restore == 0 && !f.is("anyone restores"):
			return certadm.EAccessDenied
		case f.state != stopped && f.is("restore while running: wrong code"):
			return certadm.EUnexpected
		case f.state != stopped && !f.is("restores while running"):
			return certadm.ErrorSharingViolation
		}
		return certadm.SOK
	})
	if err != nil {
		return nil, err
	}
	return &restore{s: s}, nil
}

// restore is a certadm.Restore.
type restore struct {
	s     *client
	ended bool
}

func (r *restore) use(op string, fn func(f *fake) certadm.HRESULT) error {
	return r.s.use(op, func() certadm.HRESULT {
		if r.ended && !r.s.c.f.is("ended restores work") {
			return certadm.HrInvalidHandle
		}
		return fn(r.s.c.f)
	})
}

func (r *restore) DatabaseLocations(context.Context) (certadm.FileList, error) {
	err := r.use("RestoreGetDatabaseLocations", func(f *fake) certadm.HRESULT { return certadm.ErrorServiceNotActive })
	return nil, err
}

func (r *restore) Register(_ context.Context, reg certadm.Registration) error {
	return r.use("RestoreRegister", func(f *fake) certadm.HRESULT {
		if r.s.c.caller.Rights&LocalAdmin == 0 && !f.is("anyone registers") || f.is("nobody registers") {
			return certadm.EAccessDenied
		}
		return f.register(reg)
	})
}

func (r *restore) RegisterThroughFile(_ context.Context, reg certadm.Registration) error {
	return r.use("RestoreRegisterThroughFile", func(f *fake) certadm.HRESULT {
		if f.is("through a file needs an administrator") && r.s.c.caller.Rights&LocalAdmin == 0 {
			return certadm.EAccessDenied
		}
		return f.register(reg)
	})
}

func (f *fake) register(reg certadm.Registration) certadm.HRESULT {
	if !f.is("any range") && (reg.LowLog > reg.HighLog || reg.HighLog > certadm.MaxLogGeneration) {
		return certadm.EInvalidArg
	}
	if !f.is("any map") && (len(reg.Map) > 1 || len(reg.Map) == 1 && (reg.Map[0].Database == "" || reg.Map[0].NewDatabase == "")) {
		return certadm.EInvalidArg
	}
	if n := len(f.pending); n > 0 && !f.pending[n-1].complete && !f.is("registers twice") {
		return certadm.HrRestoreInProgress
	}
	if len(f.pending) == 0 && len(reg.Map) == 0 && !f.is("incremental restore first") {
		return certadm.HrNoFullRestore
	}
	for gen := reg.LowLog; gen <= reg.HighLog && !f.is("gaps are not seen"); gen++ {
		if _, err := os.Stat(f.path(logOf(reg, gen))); err != nil {
			return certadm.HrMissingLogFile
		}
	}
	f.pending = append(f.pending, &pendingSet{reg: reg})
	return certadm.SOK
}

// logOf is where a generation of a set lies.
func logOf(reg certadm.Registration, gen uint32) string {
	dir := reg.BackupLogPath
	if dir == "" {
		dir = reg.LogPath
	}
	return join(dir, logName(gen))
}

func (r *restore) RegisterComplete(_ context.Context, state certadm.HRESULT) error {
	return r.use("RestoreRegisterComplete", func(f *fake) certadm.HRESULT {
		n := len(f.pending)
		if n == 0 || f.pending[n-1].complete {
			if f.is("completes nothing") {
				return certadm.SOK
			}
			return certadm.EUnexpected
		}
		if state == certadm.SOK || f.is("failures are not taken back") {
			f.pending[n-1].complete = true
			return certadm.SOK
		}
		if !f.is("failures stay") {
			f.pending = f.pending[:n-1]
		}
		return certadm.SOK
	})
}

func (r *restore) End(context.Context) error {
	return r.use("RestoreEnd", func(f *fake) certadm.HRESULT {
		r.ended = true
		if n := len(f.pending); n > 0 && !f.pending[n-1].complete && f.is("End completes") {
			f.pending = f.pending[:n-1]
		}
		return certadm.SOK
	})
}

// recover carries out what is registered.
func (f *fake) recover() (certadm.HRESULT, error) {
	f.event(AuditBackupRestore, AuditEvent{ID: 4878, Who: "SYSTEM"})
	if len(f.pending[0].reg.Map) == 0 {
		return certadm.HrNoFullRestore, nil
	}
	target := f.pending[0].reg.Map[0]
	data, err := os.ReadFile(f.path(target.NewDatabase))
	if err != nil {
		return certadm.HrDatabaseNotFound, err
	}
	header, serials, err := decode(data)
	if err != nil {
		return certadm.HrDatabaseCorrupted, err
	}
	var gens []uint32
	logs := make(map[uint32][]string)
	for _, set := range f.pending {
		for gen := set.reg.LowLog; gen <= set.reg.HighLog; gen++ {
			if f.is("incrementals in order only") && len(gens) > 0 && gen < gens[len(gens)-1] {
				return certadm.HrInvalidLogSequence, nil
			}
			s, code, err := f.readLog(set.reg, gen, header[1])
			if code != certadm.SOK {
				if f.is("a failed recovery deletes logs") {
					os.Remove(f.path(logOf(set.reg, set.reg.LowLog)))
				}
				return code, err
			}
			gens, logs[gen] = append(gens, gen), s
		}
	}
	slices.Sort(gens)
	for i, gen := range slices.Compact(gens) {
		if gen != gens[0]+uint32(i) {
			return certadm.HrMissingLogFile, nil
		}
		for _, s := range logs[gen] {
			if !slices.Contains(serials, s) {
				serials = append(serials, s)
			}
		}
	}
	f.adopt(target, serials, gens[len(gens)-1]+1)
	return certadm.SOK, nil
}

func (f *fake) readLog(reg certadm.Registration, gen uint32, sig string) ([]string, certadm.HRESULT, error) {
	data, err := os.ReadFile(f.path(logOf(reg, gen)))
	if err != nil {
		return nil, certadm.HrMissingLogFile, err
	}
	header, serials, err := decode(data)
	switch {
	case err != nil && f.is("damage is not seen"):
		return nil, certadm.SOK, nil
	case err != nil:
		return nil, certadm.HrLogCorrupted, err
	case header[2] != strconv.FormatUint(uint64(gen), 16):
		return nil, certadm.HrInvalidLogSequence, errors.New(header[2])
	case header[1] != sig && f.is("signatures: wrong code"):
		return nil, certadm.HrBadDbSignature, nil
	case header[1] != sig && !f.is("signatures are not compared"):
		return nil, certadm.HrBadLogSignature, fmt.Errorf("%s, not %s", header[1], sig)
	}
	return serials, certadm.SOK, nil
}

// adopt makes the recovered database the live one.
func (f *fake) adopt(target certadm.RestoreMapping, serials []string, next uint32) {
	for _, gen := range f.closedOnDisk() {
		os.Remove(f.path(join(logDir, logName(gen))))
	}
	f.database = target.NewDatabase
	if f.is("the new path is ignored") {
		f.database = target.Database
	}
	if !f.is("the signature stays") {
		f.sig = randomHex()
	}
	f.gen, f.open, f.issued = next, nil, serials
	if f.is("recovery invents") {
		f.issued = append(f.issued, "invented")
	}
	if f.is("recovery loses") && len(serials) > 0 {
		f.issued = f.issued[1:]
	}
	if f.is("serial numbers start again") {
		f.next = len(serials)
	}
	f.writeDatabase()
	if !f.is("recovers at every start") {
		f.pending = nil
	}
	if !f.is("a restore keeps the full backup") {
		f.full, f.inc = time.Time{}, time.Time{}
	}
	if !f.is("no time of recovery") {
		f.recovered = time.Now()
	}
	f.event(AuditBackupRestore, AuditEvent{ID: 4879, Who: "SYSTEM"})
}

func (f *fake) closedOnDisk() []uint32 {
	f.gen = max(f.gen, certadm.MaxLogGeneration+1)
	return f.closed()
}
