package csra

import (
	"context"

	"github.com/certkeep/certkeep/certadm/certadmtest"
)

// wireClient makes single calls.
type wireClient struct{ c *Client }

var _ certadmtest.WireClient = wireClient{}

func (w wireClient) BackupPrepare(ctx context.Context, authority string, grbitJet, flags, clientID uint32) error {
	return w.c.calls.prepare(ctx, prepareArgs{authority: &authority, grbitJet: grbitJet, flags: flags, clientUnit: clientID})
}

func (w wireClient) BackupEnd(ctx context.Context) error {
	return w.c.calls.simple(ctx, opBackupEnd)
}

func (w wireClient) BackupCloseFile(ctx context.Context) error {
	return w.c.calls.simple(ctx, opBackupCloseFile)
}

func (w wireClient) BackupTruncateLogs(ctx context.Context) error {
	return w.c.calls.simple(ctx, opBackupTruncateLogs)
}

func (w wireClient) BackupGetAttachmentInformation(ctx context.Context) ([]uint16, error) {
	return w.c.calls.list(ctx, opBackupGetAttachments)
}

func (w wireClient) BackupGetBackupLogs(ctx context.Context) ([]uint16, error) {
	return w.c.calls.list(ctx, opBackupGetLogs)
}

func (w wireClient) BackupGetDynamicFiles(ctx context.Context) ([]uint16, error) {
	return w.c.calls.list(ctx, opBackupGetDynamic)
}

func (w wireClient) RestoreGetDatabaseLocations(ctx context.Context) ([]uint16, error) {
	return w.c.calls.list(ctx, opGetLocations)
}

func (w wireClient) BackupOpenFile(ctx context.Context, path string) (int64, error) {
	return w.c.calls.openFile(ctx, path)
}

func (w wireClient) BackupReadFile(ctx context.Context, cb int32) ([]byte, int32, error) {
	return w.c.calls.read(ctx, cb, nil)
}

func (w wireClient) Close() error { return w.c.Close() }
