package certdll

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/certkeep/certkeep/certadm"
)

func (d *fakeDLL) list(export string, h handle, get func(*fakeSession) ([]byte, error)) (buffer, uint32, certadm.HRESULT) {
	s, leave, hr := d.enter(export, h)
	defer leave()
	if hr != certadm.SOK {
		return 0, 0, hr
	}
	raw, err := get(s)
	return d.returns(export, raw, err)
}

func encoded(l certadm.FileList, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return certadm.EncodeList(l)
}

func (d *fakeDLL) databaseLocations(h handle) (buffer, uint32, certadm.HRESULT) {
	return d.list(expLocations, h, func(s *fakeSession) ([]byte, error) {
		if s.r != nil {
			return encoded(s.r.DatabaseLocations(context.Background()))
		}
		return encoded(s.b.DatabaseLocations(context.Background()))
	})
}

func (d *fakeDLL) databaseNames(h handle) (buffer, uint32, certadm.HRESULT) {
	return d.list(expNames, h, func(s *fakeSession) ([]byte, error) { return encoded(s.b.DatabaseNames(context.Background())) })
}

func (d *fakeDLL) backupLogs(h handle) (buffer, uint32, certadm.HRESULT) {
	return d.list(expLogs, h, func(s *fakeSession) ([]byte, error) { return encoded(s.b.Logs(context.Background())) })
}

func (d *fakeDLL) dynamicFiles(h handle) (buffer, uint32, certadm.HRESULT) {
	return d.list(expDynamic, h, func(s *fakeSession) ([]byte, error) {
		l, err := s.b.DynamicFiles(context.Background())
		if err != nil {
			return nil, err
		}
		return certadm.EncodeStrings(l)
	})
}

func (d *fakeDLL) openFile(h handle, name string, readHint uint32) (int64, certadm.HRESULT) {
	s, leave, hr := d.enter(expOpen, h)
	defer leave()
	if hr != certadm.SOK {
		return 0, hr
	}
	f, err := s.b.OpenFile(context.Background(), name, int(readHint))
	if err != nil {
		return 0, certadm.CodeOf(err)
	}
	s.f = f
	if d.size != nil {
		return d.size(f.Size()), certadm.SOK
	}
	return f.Size(), certadm.SOK
}

func (d *fakeDLL) read(h handle, p []byte) (uint32, certadm.HRESULT) {
	s, leave, hr := d.enter(expRead, h)
	defer leave()
	if hr != certadm.SOK {
		return 0, hr
	}
	if s.f == nil {
		return 0, certadm.EUnexpected
	}
	n, err := io.ReadFull(s.f, p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, certadm.CodeOf(err)
	}
	if d.count != nil {
		return d.count(uint32(n)), certadm.SOK
	}
	return uint32(n), certadm.SOK
}

func (d *fakeDLL) closeFile(h handle) certadm.HRESULT {
	s, leave, hr := d.enter(expClose, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	if s.f == nil {
		return certadm.EUnexpected
	}
	f := s.f
	s.f = nil
	return certadm.CodeOf(f.Close())
}

func (d *fakeDLL) truncateLogs(h handle) certadm.HRESULT {
	s, leave, hr := d.enter(expTruncate, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	return certadm.CodeOf(s.b.TruncateLogs(context.Background()))
}

func (d *fakeDLL) backupEnd(h handle) certadm.HRESULT {
	return d.over(expEnd, h, func(s *fakeSession) error { return s.b.End(context.Background()) })
}

func (d *fakeDLL) restoreEnd(h handle) certadm.HRESULT {
	return d.over(expRestoreEnd, h, func(s *fakeSession) error { return s.r.End(context.Background()) })
}

func (d *fakeDLL) over(export string, h handle, end func(*fakeSession) error) certadm.HRESULT {
	s, leave, hr := d.enter(export, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	hr = certadm.CodeOf(end(s))
	s.svc.Close()
	d.mu.Lock()
	delete(d.sessions, h)
	d.mu.Unlock()
	return hr
}

func (d *fakeDLL) restorePrepare(server string, flags uint32) (handle, certadm.HRESULT) {
	_, leave, _ := d.enter(expRestorePrepare, 0)
	defer leave()
	svc, err := d.connect(server)
	if err != nil {
		return 0, certadm.CodeOf(err)
	}
	r, err := svc.RestorePrepare(context.Background(), certadm.RestoreType(flags))
	if err != nil {
		svc.Close()
		return 0, certadm.CodeOf(err)
	}
	return d.register(&fakeSession{svc: svc, r: r}), certadm.SOK
}

func (d *fakeDLL) restoreRegister(h handle, r certadm.Registration) certadm.HRESULT {
	s, leave, hr := d.enter(expRegister, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	return certadm.CodeOf(s.r.Register(context.Background(), r))
}

func (d *fakeDLL) restoreRegisterThroughFile(h handle, r certadm.Registration) certadm.HRESULT {
	s, leave, hr := d.enter(expRegisterFile, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	return certadm.CodeOf(s.r.RegisterThroughFile(context.Background(), r))
}

func (d *fakeDLL) restoreRegisterComplete(h handle, state certadm.HRESULT) certadm.HRESULT {
	s, leave, hr := d.enter(expRegisterComplete, h)
	defer leave()
	if hr != certadm.SOK {
		return hr
	}
	return certadm.CodeOf(s.r.RegisterComplete(context.Background(), state))
}

// units is a list of raw WCHARs.
func units(u ...uint16) []byte {
	var b []byte
	for _, x := range u {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}
