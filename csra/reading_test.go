package csra

import (
	"context"
	"errors"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// A file is read on one connection. When that is lost, before, during or after a
// read, some of it may not have arrived: who goes on with the same object on
// another connection can neither read on, nor close the file as if it were whole,
// nor truncate; but the session can be ended, and the object lives.
func TestReadingEndsWithItsConnection(t *testing.T) {
	read := func(o *object, conn context.Context, call context.Context) certadm.HRESULT {
		out := ndr.NewEncoder(nil)
		if err := o.serve(call, arrivalOf(conn, iidICertAdminD2, opBackupReadFile), ndr.NewDecoder(words(4096)), out); err != nil {
			t.Fatal(err)
		}
		return wellFormed(t, methods[opBackupReadFile], out.Bytes())
	}
	for name, lose := range map[string]func(o *object, f *fake, conn context.Context, cut func()){
		"before the read": func(o *object, _ *fake, conn context.Context, cut func()) {
			cut()
			if code := read(o, conn, conn); code != certadm.ErrorCancelled {
				t.Errorf("a read on a lost connection: %v", code)
			}
		},
		"during the read": func(o *object, f *fake, conn context.Context, cut func()) {
			f.on(func(call string) {
				if call == "read" {
					cut()
				}
			})
			defer f.on(nil)
			read(o, conn, conn)
		},
		"after the read": func(o *object, _ *fake, conn context.Context, cut func()) {
			if code := read(o, conn, conn); code != certadm.SOK {
				t.Errorf("a read: %v", code)
			}
			cut()
		},
		"on another connection": func(o *object, _ *fake, conn context.Context, cut func()) {
			for range 2 { // the file was opened on o's own
				if code := read(o, conn, conn); code != certadm.SOK {
					t.Errorf("a read: %v", code)
				}
			}
			cut()
		},
		"by giving up the call": func(o *object, f *fake, conn context.Context, _ func()) {
			call, cancel := context.WithCancel(conn)
			f.on(func(string) { cancel() })
			defer f.on(nil)
			read(o, conn, call)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, f, d := fakeObject(t, nil)
			openAll(t, d.o)
			file := d.o.session.file.BackupFile.(*fakeFile)
			conn, cut := context.WithCancel(t.Context())
			defer cut()
			lose(d.o, f, conn, cut)
			if name == "before the read" {
				// Nothing was read on it, and nothing is lost.
				if _, n, err := c.read(t.Context(), 4096, nil); err != nil || n != 4096 {
					t.Errorf("the next read: %d bytes, %v", n, err)
				}
				return
			}
			<-file.ctx.Done()
			_, _, err := c.read(t.Context(), 4096, nil)
			if err == nil {
				t.Error("the reading goes on")
			}
			wantCode(t, c.simple(t.Context(), opBackupCloseFile), certadm.EUnexpected, "BackupCloseFile")
			wantCode(t, c.simple(t.Context(), opBackupTruncateLogs), certadm.EUnexpected, "BackupTruncateLogs")
			_, err = c.openFile(t.Context(), fakeDB)
			wantCode(t, err, certadm.EUnexpected, "BackupOpenFile")
			wantCode(t, c.simple(t.Context(), opBackupEnd), certadm.SOK, "BackupEnd")
			if f.closed {
				t.Error("the service was closed")
			}
		})
	}
}

// A file that was closed in order is not touched when its connection ends later,
// nor is the next one.
func TestReadingClosedInOrder(t *testing.T) {
	c, _, d := fakeObject(t, nil)
	openAll(t, d.o)
	conn, cut := context.WithCancel(t.Context())
	d.o.session.file.tie(conn)
	if err := c.simple(t.Context(), opBackupCloseFile); err != nil {
		t.Fatal(err)
	}
	openAll(t, d.o)
	cut()
	if _, n, err := c.read(t.Context(), 4096, nil); err != nil || n != 4096 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Who gives up BackupPrepare while the server is at it does not keep others out:
// the session that nobody knows of is ended at once.
func TestPrepareGivenUp(t *testing.T) {
	_, f, d := fakeObject(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f.on(func(call string) {
		if call == "prepare" {
			cancel()
		}
	})
	e, out := ndr.NewEncoder(nil), ndr.NewEncoder(nil)
	encodePrepare(e, prepareArgs{flags: 1})
	if err := d.o.serve(ctx, arrivalOf(t.Context(), iidICertAdminD2, opBackupPrepare), ndr.NewDecoder(e.Bytes()), out); err != nil {
		t.Fatal(err)
	}
	if code := wellFormed(t, methods[opBackupPrepare], out.Bytes()); code != certadm.ErrorCancelled {
		t.Errorf("BackupPrepare: %v", code)
	}
	if got := f.calls(); got != "prepare end" {
		t.Errorf("the service saw: %s", got)
	}
	f.on(nil)
	if err := d.calls().prepare(t.Context(), prepareArgs{flags: 1}); err != nil {
		t.Errorf("the next BackupPrepare: %v", err)
	}
}

// A call that waits for its turn and is given up has done nothing.
func TestTurnGivenUp(t *testing.T) {
	_, f, d := fakeObject(t, nil)
	leave, err := d.o.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := d.o.take(ctx)
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("take: %v", err)
	}
	leave()
	if _, err := d.o.take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("take, given up before: %v", err)
	}
	if f.calls() != "" {
		t.Errorf("the service saw: %s", f.calls())
	}
}
