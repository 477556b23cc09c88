package certadmtest

import (
	"context"

	"github.com/certkeep/certkeep/certadm"
)

// wireClient is conn as a WireClient.
type wireClient struct{ c *conn }

func locked[T any](c *conn, fn func() (T, certadm.HRESULT)) (T, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	v, code := fn()
	if code != certadm.SOK {
		return v, code
	}
	return v, nil
}

func lockedCode(c *conn, fn func() certadm.HRESULT) error {
	_, err := locked(c, func() (struct{}, certadm.HRESULT) { return struct{}{}, fn() })
	return err
}

func units(l certadm.FileList, err error) ([]uint16, error) {
	if err != nil {
		return nil, err
	}
	return certadm.EncodeListUnits(l)
}

func (w wireClient) BackupPrepare(_ context.Context, authority string, grbit, flags, id uint32) error {
	return lockedCode(w.c, func() certadm.HRESULT { return w.c.prepare(authority, grbit, flags, id) })
}
func (w wireClient) BackupEnd(context.Context) error          { return lockedCode(w.c, w.c.end) }
func (w wireClient) BackupCloseFile(context.Context) error    { return lockedCode(w.c, w.c.closeFile) }
func (w wireClient) BackupTruncateLogs(context.Context) error { return lockedCode(w.c, w.c.truncate) }
func (w wireClient) BackupGetAttachmentInformation(context.Context) ([]uint16, error) {
	return units(locked(w.c, w.c.attachments))
}
func (w wireClient) BackupGetBackupLogs(context.Context) ([]uint16, error) {
	return units(locked(w.c, w.c.logs))
}
func (w wireClient) BackupOpenFile(_ context.Context, path string) (int64, error) {
	return locked(w.c, func() (int64, certadm.HRESULT) { return w.c.openFile(path) })
}
func (w wireClient) BackupReadFile(_ context.Context, cb int32) (buf []byte, n int32, err error) {
	err = lockedCode(w.c, func() (code certadm.HRESULT) { buf, n, code = w.c.readFile(cb); return })
	return buf, n, err
}
func (w wireClient) BackupGetDynamicFiles(context.Context) ([]uint16, error) {
	return certadm.EncodeStringsUnits(w.c.f.dynamicFiles())
}
func (w wireClient) RestoreGetDatabaseLocations(context.Context) ([]uint16, error) {
	return certadm.EncodeListUnits(w.c.f.locations())
}
func (w wireClient) Close() error {
	w.c.f.mu.Lock()
	defer w.c.f.mu.Unlock()
	w.c.f.endSession(w.c.mine())
	return nil
}
