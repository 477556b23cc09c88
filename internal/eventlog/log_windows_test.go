package eventlog

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/windows/registry"
	winlog "golang.org/x/sys/windows/svc/eventlog"
)

// TestReport registers the source, reports each event, and reads the log.
func TestReport(t *testing.T) {
	if os.Getenv("CERTKEEP_TEST_EVENT_LOG") != "1" {
		t.Skip("skipped: it writes into this machine's event log; CERTKEEP_TEST_EVENT_LOG=1 allows that")
	}
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if l.Remark() != "" {
		t.Error(l.Remark())
	}
	t.Cleanup(func() {
		if err := winlog.Remove(Source); err != nil {
			t.Error(err)
		}
	})
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, sourceKey, registry.QUERY_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	file, kind, err := k.GetStringValue("EventMessageFile")
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err != nil || kind != registry.EXPAND_SZ || file != `%SystemRoot%\System32\EventCreate.exe` {
		t.Errorf("message file %q, %d, %v", file, kind, err)
	}
	for _, k := range Table {
		if err := l.Report(Event{ID: k.ID, What: "a test", Folder: `D:\backup`}); err != nil {
			t.Error(err)
		}
	}
	if err := l.Report(Event{ID: 99}); err == nil {
		t.Error("an event that does not exist was reported")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if l, err = Open(); err != nil || l.Remark() != "" { // registered already
		t.Errorf("%v", err)
	} else if err := l.Close(); err != nil {
		t.Error(err)
	}
	records, err := ESENT225(t.Context(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d events 225 in the last hour", len(records))
}
