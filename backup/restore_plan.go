package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/internal/durable"
)

// The steps of "Restoring Certificate Services from Backup", with the
// verification before them.
const (
	stepVerify = iota
	stepLoad
	stepAddresses
	stepOffline
	stepPrepare
	stepLocations
	stepMap
	stepSetAside
	stepCopy
	stepRegister
	stepComplete
	stepIncrementals
	stepDynamic
	stepEnd
	stepStart
)

var stepTitles = [...]string{
	stepVerify:       "verify the set in a temporary directory",
	stepLoad:         "load the library",
	stepAddresses:    "get its functions",
	stepOffline:      "make sure that the service is stopped",
	stepPrepare:      "begin a restore session",
	stepLocations:    "find the locations saved with the set",
	stepMap:          "build the restore map",
	stepSetAside:     "set aside what is in the active directories",
	stepCopy:         "copy the full set's files",
	stepRegister:     "register the full set",
	stepComplete:     "complete the registration",
	stepIncrementals: "copy, register and complete each incremental set",
	stepDynamic:      "copy the dynamic files back",
	stepEnd:          "end the session",
	stepStart:        "start the service, and take a full backup",
}

// step returns the report's step of that number.
func (j *restoreJob) step(n int) *RestoreStep { return &j.rep.Steps[n] }

// plan writes down every step before any is taken.
func (j *restoreJob) plan() {
	j.rep.Steps = make([]RestoreStep, len(stepTitles))
	for i, title := range stepTitles {
		j.rep.Steps[i] = RestoreStep{Number: i, Title: title, State: StepPlanned}
	}
	say := func(n int, format string, args ...any) {
		s := j.step(n)
		s.Detail = append(s.Detail, fmt.Sprintf(format, args...))
	}
	for _, n := range []int{stepVerify, stepLoad, stepAddresses, stepOffline, stepLocations, stepMap} {
		j.step(n).State = StepDone
	}
	j.step(stepStart).State = StepOpen

	r := j.rec
	switch d := j.rep.Database; {
	case d != nil && r.Unreplayed:
		say(stepVerify, "no fault was found, and the logs follow each other to generation %s; the service replays them as it starts. Read without them: %s", generation(r.Target.Generation), counts(d.Dispositions))
	case d != nil:
		say(stepVerify, "recovered to generation %s, closed %s: %s", generation(r.Target.Generation), when(r.Target.Closed), counts(d.Dispositions))
	default:
		say(stepVerify, "every file is what the manifest says, and the logs follow each other to generation %s; the service replays them as it starts", generation(r.Target.Generation))
	}
	if j.control == nil {
		say(stepOffline, "CertSrvIsServerOnline fails, as it must")
	} else {
		j.planControl(say)
	}
	say(stepPrepare, "CertSrvRestorePrepare(CSRESTORE_TYPE_FULL)")
	say(stepLocations, "database %s, logs %s", j.saved.Database, j.saved.LogDir)
	say(stepMap, "%s → %s", j.saved.Database, j.places.Database)
	say(stepSetAside, "whatever is in the place of %s and in %s is moved aside, nothing is deleted", j.places.Database, j.places.LogDir)
	for i, run := range j.runs {
		n := stepIncrementals
		if i == 0 {
			n = stepCopy
			say(n, "%s (%d bytes) → %s", r.databaseLabel(), r.DatabaseFile.Size, j.places.Database)
			say(stepRegister, "CertSrvRestoreRegister, %s", generations(run.low, run.high))
			say(stepComplete, "CertSrvRestoreRegisterComplete(S_OK)")
		}
		say(n, "%s: %s, %s → %s", run.label, count(len(run.logs), "log"),
			generations(run.logs[0].Generation, run.logs[len(run.logs)-1].Generation), j.places.LogDir)
	}
	if len(j.runs) == 1 {
		say(stepIncrementals, "there is none")
	}
	for _, c := range j.dyn {
		say(stepDynamic, "%s: %s", r.Label(c.src), c.what)
	}
	say(stepEnd, "CertSrvRestoreEnd")
	if j.control != nil {
		return // what comes next depends on the gap, see start
	}
	say(stepStart, "the service recovers as it starts; request ids and CRL numbers jump ahead")
	j.rep.Next = append(j.rep.Next, "start the service: it recovers, and answers nobody before that is done")
	if g := j.rep.Gap; g.Open() {
		j.rep.Next = append(j.rep.Next, fmt.Sprintf("revoke again what the gap lists (%s), or accept the gap; until then no CRL is published", count(len(g.Revoked), "certificate")))
	}
	j.rep.Next = append(j.rep.Next, "take a full backup: sets from before the restore cannot be continued")
}

// planControl plans the stop and the start of the service.
func (j *restoreJob) planControl(say func(int, string, ...any)) {
	j.step(stepOffline).State, j.step(stepStart).State = StepPlanned, StepPlanned
	say(stepOffline, "keep the authority from publishing CRLs and from issuing: it may do both as it starts")
	if j.running {
		say(stepOffline, "stop the service, and wait until it has stopped")
	} else {
		say(stepOffline, "the service does not answer; it is stopped if it runs")
	}
	if _, ok := j.o.Target.(LogKeeper); ok && !j.rec.Engine.Replays() {
		if j.replaysNewer() {
			say(stepCopy, "logs after generation %s that the log directory has are copied back, and replayed; --clear-logs leaves them aside", generation(j.rec.Target.Generation))
		} else {
			say(stepCopy, "logs after generation %s stay aside, and are not replayed", generation(j.rec.Target.Generation))
		}
	}
	say(stepStart, "start the service, wait until it has recovered and answers")
	say(stepStart, "publishing and issuing stay off unless the revocations are known to be complete")
	if j.o.PlanOnly {
		j.rep.WayBack = j.wayBack(Displaced{Dir: "the directory that step 7 names"}, &Withheld{Undo: []string{"undo what step 3 changed in the registry, by the commands that it prints"}})
	}
}

// replaysNewer reports whether logs after the sets' are to be replayed.
func (j *restoreJob) replaysNewer() bool {
	return !j.o.ClearLogs && j.rec.Target.Generation == j.rec.Latest.Generation
}

// dynamicCopy is what will be done with a dynamic file.
type dynamicCopy struct {
	src  MaterializedFile
	dst  string // empty: nothing will be done
	what string
}

// planDynamic looks where the dynamic files belong. Only what this authority
// signed is put back: a set that somebody tampered with must not bring files of
// his making to places of his choice. What the target has is kept: its CRL may
// be newer than the set's.
func (j *restoreJob) planDynamic(ctx context.Context) error {
	seen := make(map[string]bool)
	for i := len(j.rec.Dynamic) - 1; i >= 0; i-- { // those of the last set first
		f := j.rec.Dynamic[i]
		if seen[f.File.Source] {
			continue
		}
		seen[f.File.Source] = true
		c := dynamicCopy{src: f}
		err := j.ours(f)
		var path string
		if err == nil {
			path, err = j.o.Target.LocalPath(j.translate(f.File.Source))
		}
		if err != nil {
			c.what = fmt.Sprintf("not copied: %v", err)
			sev := cadb.Warning
			if errors.Is(err, errNotPublished) || errors.Is(err, errCompanion) {
				sev = cadb.Note
			}
			j.rep.Findings = append(j.rep.Findings, cadb.Finding{Severity: sev, Code: cadb.CodeNotComplete, File: j.rec.Label(f), Message: c.what})
			j.dyn = append(j.dyn, c)
			continue
		}
		sum, _, err := digest(ctx, path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			c.dst, c.what = path, "→ "+path
		case err != nil:
			return err
		case sum == f.SHA256:
			c.what = path + " is the same already"
		default:
			c.what = path + " differs and is kept"
		}
		j.dyn = append(j.dyn, c)
	}
	return nil
}

// errCompanion: the server was asked for its contents, and nobody knows in which
// file it lies there.
var errCompanion = errors.New("it is no file of the authority's; it stays in the set")

var errNotPublished = errors.New("only CRLs and CA certificates are put back; it stays in the set")

// ours accepts CRLs that the target's CA certificate signed, and that
// certificate itself.
func (j *restoreJob) ours(f MaterializedFile) error {
	if f.File.Role == backupset.RoleCompanion {
		return errCompanion
	}
	ext := strings.ToLower(filepath.Ext(f.File.Name))
	if ext != ".crl" && ext != ".crt" || !strings.EqualFold(filepath.Ext(f.File.Source), ext) {
		return errNotPublished
	}
	raw, err := durable.ReadFile(durable.OS, f.Path, maxSmall)
	if err != nil {
		return err
	}
	if ext == ".crl" {
		crl, err := parseCRL(raw)
		if err == nil {
			err = j.cas.signed(crl.CheckSignatureFrom)
		}
		return err
	}
	cert, err := parseCertificate(raw)
	if err == nil && !j.cas.has(cert) {
		err = errors.New("it is not the target's CA certificate")
	}
	return err
}

// translate turns a name of the authority that was backed up into one of the
// target: the share that held the database then is the one that holds it now.
func (j *restoreJob) translate(unc string) string {
	from, to := shareOf(j.saved.Database), shareOf(j.places.Database)
	if from != "" && to != "" && len(unc) > len(from) && strings.EqualFold(unc[:len(from)], from) && unc[len(from)] == '\\' {
		return to + unc[len(from):]
	}
	return unc
}

// shareOf is \\HOST\SHARE of a UNC name.
func shareOf(unc string) string {
	rest, ok := strings.CutPrefix(unc, `\\`)
	if !ok {
		return ""
	}
	parts := strings.SplitN(rest, `\`, 3)
	if len(parts) < 3 || parts[0] == "" || parts[1] == "" {
		return ""
	}
	return `\\` + parts[0] + `\` + parts[1]
}

// Chain names the sets of a report in words.
func (rep *RestoreReport) Chain() string {
	switch n := len(rep.Sets); n {
	case 0:
		return "no set"
	case 1:
		return string(backupset.Full) + " set " + rep.Sets[0]
	default:
		return fmt.Sprintf("full set %s and %d incremental ones, the last %s", rep.Sets[0], n-1, rep.Sets[n-1])
	}
}
