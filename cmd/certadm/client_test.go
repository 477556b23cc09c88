package main_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
)

func str(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return "x" + hex.EncodeToString(b)
}

// optional is a string of which "" stands for NULL.
func optional(s string) string {
	if s == "" {
		return "-"
	}
	return str(s)
}

func num[N ~int | ~int64 | ~uint32 | ~uint64](n N) string {
	return strconv.FormatUint(uint64(n), 16)
}

// client is a process with the library as a Service.
type client struct {
	*host
	server     string // the name that the process gives it
	restorable string // and where it restores
	authority  *certsrv.Server

	smu    sync.Mutex
	active *backup
}

func fail(fn, path string, code certadm.HRESULT, err error) error {
	switch {
	case err != nil:
		return &certadm.Error{Op: fn, Path: path, Code: certadm.RPCCallFailed, Err: err}
	case code != certadm.SOK:
		return &certadm.Error{Op: fn, Path: path, Code: code}
	}
	return nil
}

// do makes a call for a caller who may have closed the client, or given up.
func (c *client) do(ctx context.Context, fn, path string, data bool, words ...string) (uint64, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, &certadm.Error{Op: fn, Code: certadm.ErrorCancelled, Err: err}
	}
	for _, w := range words {
		if strings.Contains(w, "0000") && hasNUL(w) { // C would not see what comes after it
			return 0, nil, &certadm.Error{Op: fn, Path: path, Code: certadm.EInvalidArg, Err: errors.New("there is a NUL in the name")}
		}
	}
	code, n, b, err := c.call(data, words...)
	if errors.Is(err, errGone) {
		return 0, nil, &certadm.Error{Op: fn, Code: certadm.HrInvalidHandle, Err: err}
	}
	if err := fail(fn, path, code, err); err != nil {
		if n != 0 || len(b) > 0 {
			err = fmt.Errorf("%w; and it returned %d, where a failure returns 0", err, n)
		}
		return 0, nil, err
	}
	return n, b, nil
}

func hasNUL(word string) bool {
	if !strings.HasPrefix(word, "x") {
		return false
	}
	for i := 1; i+4 <= len(word); i += 4 {
		if word[i:i+4] == "0000" {
			return true
		}
	}
	return false
}

func (c *client) IsServerOnline(ctx context.Context) (bool, error) {
	n, _, err := c.do(ctx, "CertSrvIsServerOnline", "", false, "online", str(c.server))
	return n == 1, err
}

func (c *client) ServerControl(ctx context.Context, control certadm.Control) ([]byte, error) {
	_, b, err := c.do(ctx, "CertSrvServerControl", "", true, "control", str(c.server), num(control))
	return b, err
}

func (c *client) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	h, _, err := c.do(ctx, "CertSrvBackupPrepare", "", false, "prepare", str(c.server), num(t))
	if err != nil {
		return nil, err
	}
	b := &backup{c: c, h: num(h)}
	c.smu.Lock()
	c.active = b
	c.smu.Unlock()
	return b, nil
}

func (c *client) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	h, _, err := c.do(ctx, "CertSrvRestorePrepare", "", false, "restore", str(c.restorable), num(t))
	if err != nil {
		return nil, err
	}
	return &restore{c, num(h)}, nil
}

// Close ends the process, and returns when the server knows that it is gone.
func (c *client) Close() error {
	err := c.leave()
	c.awaitLoss()
	return err
}

// awaitLoss waits until the server has ended the session of a process that is
// gone.
func (c *client) awaitLoss() {
	c.smu.Lock()
	active := c.active
	c.active = nil
	c.smu.Unlock()
	for active != nil {
		st, err := c.authority.Status(context.Background())
		if err != nil || st.BackupBy == "" {
			return
		}
		time.Sleep(time.Millisecond) // there is no event for it; nothing is decided by the time
	}
}

// backup is a backup context.
type backup struct {
	c *client
	h string

	mu   sync.Mutex
	open *backupFile
}

func (b *backup) list(ctx context.Context, fn, word string) (certadm.FileList, error) {
	_, data, err := b.c.do(ctx, fn, "", true, word, b.h)
	if err != nil {
		return nil, err
	}
	return certadm.DecodeList(data)
}

func (b *backup) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return b.list(ctx, "CertSrvRestoreGetDatabaseLocations", "locations")
}

func (b *backup) DatabaseNames(ctx context.Context) (certadm.FileList, error) {
	return b.list(ctx, "CertSrvBackupGetDatabaseNames", "names")
}

func (b *backup) Logs(ctx context.Context) (certadm.FileList, error) {
	return b.list(ctx, "CertSrvBackupGetBackupLogs", "logs")
}

func (b *backup) DynamicFiles(ctx context.Context) ([]string, error) {
	_, data, err := b.c.do(ctx, "CertSrvBackupGetDynamicFileList", "", true, "dynamic", b.h)
	if err != nil {
		return nil, err
	}
	return certadm.DecodeStrings(data)
}

func (b *backup) OpenFile(ctx context.Context, name string, readHint int) (certadm.BackupFile, error) {
	size, _, err := b.c.do(ctx, "CertSrvBackupOpenFile", "", false, "open", b.h, str(name), num(uint32(max(readHint, 0))))
	if err != nil {
		return nil, err
	}
	f := &backupFile{b: b, ctx: ctx, size: int64(size)}
	b.mu.Lock()
	b.open = f
	b.mu.Unlock()
	return f, nil
}

func (b *backup) TruncateLogs(ctx context.Context) error {
	_, _, err := b.c.do(ctx, "CertSrvBackupTruncateLogs", "", false, "truncate", b.h)
	return err
}

func (b *backup) End(ctx context.Context) error {
	_, _, err := b.c.do(context.WithoutCancel(ctx), "CertSrvBackupEnd", "", false, "end", b.h)
	b.c.smu.Lock()
	if b.c.active == b {
		b.c.active = nil
	}
	b.c.smu.Unlock()
	return err
}

// backupFile is a file of a context. C has no handle for it: a call for a file
// that was closed would be one for the file that is open.
type backupFile struct {
	b    *backup
	ctx  context.Context
	size int64
}

func (f *backupFile) current(fn string) error {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	if f.b.open != nil && f.b.open != f {
		return &certadm.Error{Op: fn, Code: certadm.EUnexpected, Err: errors.New("another file is open")}
	}
	return nil
}

func (f *backupFile) Size() int64 { return f.size }

func (f *backupFile) Read(p []byte) (int, error) {
	if err := f.current("CertSrvBackupRead"); err != nil {
		return 0, err
	}
	_, data, err := f.b.c.do(f.ctx, "CertSrvBackupRead", "", true, "read", f.b.h, num(len(p)))
	if err != nil {
		return 0, err
	}
	if n := copy(p, data); n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, io.EOF
}

func (f *backupFile) Close() error {
	if err := f.current("CertSrvBackupClose"); err != nil {
		return err
	}
	f.b.mu.Lock()
	f.b.open = nil
	f.b.mu.Unlock()
	_, _, err := f.b.c.do(context.WithoutCancel(f.ctx), "CertSrvBackupClose", "", false, "close", f.b.h)
	return err
}

// restore is a restore context.
type restore struct {
	c *client
	h string
}

func (r *restore) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	_, data, err := r.c.do(ctx, "CertSrvRestoreGetDatabaseLocations", "", true, "locations", r.h)
	if err != nil {
		return nil, err
	}
	return certadm.DecodeList(data)
}

func (r *restore) register(ctx context.Context, fn, word string, reg certadm.Registration) error {
	words := []string{word, r.h, optional(reg.CheckpointPath), optional(reg.LogPath), optional(reg.BackupLogPath),
		num(reg.LowLog), num(reg.HighLog), num(len(reg.Map))}
	for _, m := range reg.Map {
		words = append(words, optional(m.Database), optional(m.NewDatabase))
	}
	_, _, err := r.c.do(ctx, fn, "", false, words...)
	return err
}

func (r *restore) Register(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, "CertSrvRestoreRegister", "register", reg)
}

func (r *restore) RegisterThroughFile(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, "CertSrvRestoreRegisterThroughFile", "registerfile", reg)
}

func (r *restore) RegisterComplete(ctx context.Context, state certadm.HRESULT) error {
	_, _, err := r.c.do(ctx, "CertSrvRestoreRegisterComplete", "", false, "complete", r.h, num(uint32(state)))
	return err
}

func (r *restore) End(ctx context.Context) error {
	_, _, err := r.c.do(context.WithoutCancel(ctx), "CertSrvRestoreEnd", "", false, "restoreend", r.h)
	return err
}
