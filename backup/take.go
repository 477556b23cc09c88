package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// TakeOptions are the options of [Take].
type TakeOptions struct {
	Service certadm.Service // the source
	Store   backupset.Store // the destination
	Name    string          // the set's name, where the Store names sets
	Force   bool            // replace a set of that name

	// Type is what is wanted; with Auto the job decides, and says why.
	Type TakeType

	// KeepLog leaves the server's logs alone. Without it they are truncated
	// after the set, full or incremental, has been made durable.
	KeepLog bool

	// OpenDynamic opens a dynamic file by the server's name for it. The
	// procedure only names these files; they are copied by other means (step
	// 13). With nil, or where it fails, the set says what is missing.
	OpenDynamic func(ctx context.Context, name string) (io.ReadCloser, error)

	// BadPages is what to do when a page of AD CS's database arrives damaged; empty
	// means [FailOnBadPages].
	BadPages PagePolicy

	// Logs looks at the server's logs by other means than the procedure, after they
	// were truncated; nil where that is not possible.
	Logs LogWatch

	// Companions are files beside what the procedure covers. Collect finds more,
	// once the logs are copied; it fails only when its context has ended, and what
	// it could not get does not fail the backup. See [Inspect].
	Companions []Companion
	Collect    func(ctx context.Context) (Collected, error)

	// PrivateKey, CAPolicy and Templates go into the completeness statement;
	// empty means that nobody looked. What Collect says of them wins.
	PrivateKey, CAPolicy, Templates backupset.Presence

	Tool     string         // what the manifest names as its maker
	Observe  func(Call)     // every call as it returns; may be nil
	Progress func(Progress) // may be nil; called from the copying goroutine
	Now      func() time.Time
}

// LogWatch looks at an authority's logs on its own machine.
type LogWatch interface {
	// Generations lists the closed logs in the log directory, in ascending order.
	Generations(ctx context.Context) ([]uint32, error)

	// Events returns what the engine has told the machine's own log since a time
	// about logs that could not be truncated, one sentence each.
	Events(ctx context.Context, since time.Time) ([]string, error)
}

// TakeType is the type of backup asked for.
type TakeType string

// The types of [Take].
const (
	// Auto is incremental if the chain is whole, the database still has its
	// signature, and the server's logs reach back to the end of the chain;
	// otherwise full.
	Auto        TakeType = "auto"
	Full        TakeType = "full"
	Incremental TakeType = "incremental"
)

// Progress is how far a job has come.
type Progress struct {
	Phase string // "database", "logs", "dynamic files"
	File  string
	Done  int64 // bytes of this phase
	Total int64 // bytes of this phase as far as known
}

// TakeResult is what [Take] did.
type TakeResult struct {
	Manifest *backupset.Manifest
	Receipt  *backupset.Receipt
	// Reason says why the type is what it is, when the type was Auto.
	Reason string
	// Bytes is what was read from the server, and Duration how long it took
	// until the set was durable.
	Bytes    int64
	Duration time.Duration

	// Skipped names companions that are there and could not be had.
	Skipped []string

	// Remarks are those of the receipt's truncation.
	Remarks []string

	// Unchecked says of files in the set what could not be checked, and why.
	Unchecked []string
}

// ErrUnusableParent is returned when an incremental backup was demanded and
// cannot be: the error says why, and a full backup is the way out.
var ErrUnusableParent = errors.New("no incremental backup is possible")

// endTimeout bounds the calls that must be made even after cancellation.
const endTimeout = 15 * time.Second

// Take takes one set: steps 3 to 16 of the procedure, in the order that
// docs/procedure.md explains. The set is made durable before the logs are
// truncated, and End is called whatever happens. On an error that comes after
// the set was committed both result and error are returned: the set is kept,
// unconfirmed.
func Take(ctx context.Context, o TakeOptions) (*TakeResult, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Type == "" {
		o.Type = Auto
	}
	t := &taker{o: o}
	t.svc = Traced(o.Service, func(c Call) {
		t.calls.add(c)
		if o.Observe != nil {
			o.Observe(c)
		}
	})
	online, err := t.svc.IsServerOnline(ctx)
	if err != nil {
		return nil, err
	}
	if !online {
		return nil, &certadm.Error{Op: certadm.FnIsServerOnline, Code: certadm.ErrorServiceNotActive,
			Err: errors.New("the service is suspended"), Hint: "resume Certificate Services, and try again"}
	}
	if id, ok := o.Service.(certadm.Identifier); ok {
		if t.identity, err = id.Identity(ctx); err != nil {
			return nil, err
		}
	}

	full, reason := true, ""
	var parent *parentSet
	if o.Type != Full {
		if parent, reason, err = findParent(ctx, o.Store, t.identity); err != nil {
			return nil, err
		}
		full = parent == nil
		if full && o.Type == Incremental {
			return nil, unusable(reason)
		}
	}
	if !full {
		res, err := t.run(ctx, parent)
		var no *unusableError
		if !errors.As(err, &no) || o.Type == Incremental {
			if res != nil {
				res.Reason = fmt.Sprintf("continues %s", parent.Label())
			}
			return res, err
		}
		// The server's side does not fit the chain. The session is over, and
		// nothing was kept.
		reason = no.reason
		t.reset()
	}
	res, err := t.run(ctx, nil)
	if res != nil && o.Type == Auto {
		res.Reason = reason
	}
	return res, err
}

// taker is one run of the job.
type taker struct {
	o        TakeOptions
	svc      certadm.Service
	identity certadm.Identity
	calls    callLog

	b      certadm.Backup
	w      backupset.Writer
	m      backupset.Manifest
	parent *parentSet
	listed certadm.FileList // the logs as the server listed them
	bytes  int64
	phase  Progress

	collected Collected
	unchecked []string
}

func (t *taker) reset() {
	*t = taker{o: t.o, svc: t.svc, identity: t.identity}
}

// run takes a full set, or an incremental one that continues parent.
func (t *taker) run(ctx context.Context, parent *parentSet) (res *TakeResult, err error) {
	started := t.o.Now()
	t.parent = parent
	bt := certadm.BackupFull
	if parent != nil {
		bt = certadm.BackupLogsOnly
	}
	// The place is claimed first: a refused folder should not cost the server
	// a session.
	t.w, err = t.o.Store.Create(ctx, backupset.CreateOptions{Name: t.o.Name, Force: t.o.Force, CA: t.ca()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.w.Abort()) }()

	t.b, err = t.svc.BackupPrepare(ctx, bt)
	if err != nil {
		if parent != nil && errors.Is(err, certadm.HrMissingFullBackup) {
			return nil, unusable("the server demands a full backup: " + err.Error())
		}
		return nil, err
	}
	// End also after a panic, an error, or Ctrl-C: a session left open would
	// keep everybody else out.
	ended := false
	end := func() error {
		ended = true
		ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		return t.b.End(ectx)
	}
	defer func() {
		if !ended {
			err = errors.Join(err, end())
		}
	}()

	t.m = backupset.Manifest{
		ID: backupset.NewID(started), Tool: t.o.Tool, Engine: t.identity.Engine, Type: backupset.Full, Start: started,
		CA: t.ca(),
	}
	if parent != nil {
		t.m.Type = backupset.Incremental
		t.m.Parent = parent.ID
	}
	if err := t.copyAll(ctx); err != nil {
		return nil, err
	}
	t.m.End = t.o.Now()
	t.m.Completeness = t.completeness()
	t.m.Calls = t.calls.take()
	if err := t.w.Commit(ctx, &t.m); err != nil {
		return nil, fmt.Errorf("keeping set %s: %w", t.m.ID, err)
	}

	// From here on there is a set, and errors no longer undo it.
	res = &TakeResult{Manifest: &t.m, Bytes: t.bytes, Duration: t.o.Now().Sub(started), Skipped: t.collected.Skipped, Unchecked: t.unchecked}
	rec := backupset.Receipt{SetID: t.m.ID}
	var truncErr error
	if !t.o.KeepLog {
		rec.Truncation, truncErr = t.truncate(ctx)
	}
	endErr := end()
	res.Remarks = rec.Truncation.Remarks
	rec.End = backupset.OutcomeOf(endErr)
	rec.Confirmed = endErr == nil
	rec.Finished = t.o.Now()
	rec.Calls = t.calls.take()
	// The receipt is written although the caller may have lost interest: it
	// records what has happened on the server.
	putErr := t.o.Store.PutReceipt(context.WithoutCancel(ctx), t.m.ID, rec)
	if putErr == nil {
		res.Receipt = &rec
	} else {
		putErr = fmt.Errorf("set %s stays unconfirmed, its receipt could not be written: %w", t.m.ID, putErr)
	}
	return res, errors.Join(truncErr, endErr, putErr)
}

// ca is the authority as its server names it.
func (t *taker) ca() backupset.CA {
	return backupset.CA{Name: t.identity.Name, SanitizedName: t.identity.SanitizedName, Host: t.identity.Host,
		CertificateSHA256: fingerprint(t.identity.Certificate)}
}

// copyAll makes steps 5 to 13.
func (t *taker) copyAll(ctx context.Context) error {
	if t.parent == nil {
		if err := t.copyLocations(ctx); err != nil {
			return err
		}
	}
	if err := t.copyDatabases(ctx); err != nil {
		return err
	}
	if err := t.copyLogs(ctx); err != nil {
		return err
	}
	if err := t.copyDynamic(ctx); err != nil {
		return err
	}
	return t.copyCompanions(ctx)
}

// copyLocations is step 5: the restore map, byte for byte.
func (t *taker) copyLocations(ctx context.Context) error {
	locs, err := t.b.DatabaseLocations(ctx)
	if err != nil {
		return err
	}
	for _, e := range locs {
		t.m.Locations = append(t.m.Locations, backupset.Location{Tag: e.Type, Path: e.Path})
	}
	raw, err := certadm.EncodeList(locs)
	if err != nil {
		return fmt.Errorf("restore map: %w", err)
	}
	_, err = t.store(ctx, backupset.RoleLocations, backupset.LocationsName, "", int64(len(raw)), bytes.NewReader(raw))
	return err
}

// copyDatabases is step 6, with 7 to 9 for each file. In an incremental
// session the same call proves the session's type: which parameter carries it
// on the wire is disputed (MS-CSRA 3.1.4.1.18), so what the server lists is
// believed, and not what was asked for.
func (t *taker) copyDatabases(ctx context.Context) error {
	names, err := t.b.DatabaseNames(ctx)
	if t.parent != nil {
		if err == nil && len(names) > 0 {
			return unusable(fmt.Sprintf("the server lists %d database files in an incremental session", len(names)))
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return &certadm.Error{Op: certadm.FnBackupGetDatabaseNames, Code: certadm.HrInvalidBackupSequence,
			Err: errors.New("a full backup without a database file")}
	}
	t.begin("database")
	for _, e := range names {
		if e.Type != certadm.FileDatabase {
			return fmt.Errorf("database list: %s has the tag %#x", e.Path, uint16(e.Type))
		}
		if _, _, err := t.copyFile(ctx, backupset.RoleDatabase, e.Path); err != nil {
			return err
		}
	}
	return nil
}

// copyLogs is step 10, with 7 to 9 for each file.
func (t *taker) copyLogs(ctx context.Context) error {
	list, err := t.b.Logs(ctx)
	if err != nil {
		return err
	}
	t.listed = list
	chain := logChain{parent: t.parent}
	if err := chain.checkNames(list); err != nil {
		return err
	}
	t.begin("logs")
	for _, e := range list {
		f, head, err := t.copyFile(ctx, backupset.RoleLog, e.Path)
		if err != nil {
			return err
		}
		if err := chain.add(f, head); err != nil {
			return err
		}
	}
	t.unchecked = append(t.unchecked, chain.unread...)
	t.m.Signature = chain.first.Signature
	t.m.FirstGeneration, t.m.LastGeneration = chain.first.Generation, chain.last.Generation
	t.m.LastLogHead = chain.head
	if t.parent == nil {
		t.m.EarliestTarget = chain.earliest
	}
	return nil
}

// copyDynamic is steps 12 and 13. A file that cannot be copied does not fail
// the backup: the manifest names it with the reason.
func (t *taker) copyDynamic(ctx context.Context) error {
	names, err := t.b.DynamicFiles(ctx)
	if err != nil {
		return err
	}
	t.begin("dynamic files")
	var taken backupset.Names
	for _, name := range names {
		d := backupset.DynamicFile{Source: name}
		data, err := t.readDynamic(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			d.Error = err.Error()
		} else {
			d.File = taken.Add(name)
			if _, err := t.store(ctx, backupset.RoleDynamic, d.File, name, int64(len(data)), bytes.NewReader(data)); err != nil {
				return err
			}
		}
		t.m.DynamicFiles = append(t.m.DynamicFiles, d)
	}
	return nil
}

// copyCompanions stores what the procedure does not know of.
func (t *taker) copyCompanions(ctx context.Context) (err error) {
	if t.o.Collect != nil {
		if t.collected, err = t.o.Collect(ctx); err != nil {
			return err
		}
	}
	t.begin("companions")
	var taken backupset.Names
	for _, c := range slices.Concat(t.o.Companions, t.collected.Companions) {
		name := taken.Add(c.Name)
		if _, err := t.store(ctx, backupset.RoleCompanion, name, c.Source, int64(len(c.Data)), bytes.NewReader(c.Data)); err != nil {
			return err
		}
	}
	return nil
}

// maxDynamicFile bounds a dynamic file, in bytes: a CRL of a million entries
// has about 40 MiB.
const maxDynamicFile = 256 << 20

func (t *taker) readDynamic(ctx context.Context, name string) (data []byte, err error) {
	if t.o.OpenDynamic == nil {
		return nil, errors.New("not attempted: it is only named, and cannot be read from here")
	}
	f, err := t.o.OpenDynamic(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxDynamicFile+1))
	if err == nil && len(data) > maxDynamicFile {
		err = fmt.Errorf("larger than %d bytes", maxDynamicFile)
	}
	return data, err
}

func (t *taker) completeness() backupset.Completeness {
	or := func(p backupset.Presence) backupset.Presence {
		if p == "" {
			return backupset.NotAttempted
		}
		return p
	}
	c := backupset.Completeness{
		Database: backupset.Present, RestoreMap: backupset.Present, Logs: backupset.Present,
		DynamicFiles: backupset.Present, CACertificate: backupset.Absent, Configuration: backupset.Absent,
		PrivateKey: or(t.o.PrivateKey), CAPolicy: or(t.o.CAPolicy), Templates: or(t.o.Templates),
	}
	if t.parent != nil {
		c.Database, c.RestoreMap = backupset.Absent, backupset.Absent
	}
	if t.m.LastGeneration == 0 {
		c.Logs = backupset.Absent
	}
	if t.o.OpenDynamic == nil { // the configuration is one of them
		c.DynamicFiles, c.Configuration = backupset.NotAttempted, backupset.NotAttempted
	}
	for _, d := range t.m.DynamicFiles {
		switch {
		case t.o.OpenDynamic == nil:
		case d.Error != "":
			c.DynamicFiles = backupset.Absent
		case strings.HasSuffix(strings.ToLower(d.File), ".crt"):
			c.CACertificate = backupset.Present
		case strings.HasSuffix(strings.ToLower(d.File), ".json"):
			c.Configuration = backupset.Present
		}
	}
	if len(t.m.DynamicFiles) == 0 {
		c.DynamicFiles = backupset.Absent
	}
	for _, f := range t.m.ByRole(backupset.RoleCompanion) {
		if strings.HasSuffix(strings.ToLower(f.Name), ".crt") {
			c.CACertificate = backupset.Present
		}
	}
	for _, found := range []struct {
		is   backupset.Presence
		part *backupset.Presence
	}{
		{t.collected.Configuration, &c.Configuration}, {t.collected.PrivateKey, &c.PrivateKey},
		{t.collected.CAPolicy, &c.CAPolicy}, {t.collected.Templates, &c.Templates},
	} {
		if found.is != "" {
			*found.part = found.is
		}
	}
	return c
}

// ToolName is the default for TakeOptions.Tool.
func ToolName(version string) string {
	return fmt.Sprintf("certkeep %s %s/%s", version, runtime.GOOS, runtime.GOARCH)
}
