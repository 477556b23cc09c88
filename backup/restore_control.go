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
	"github.com/certkeep/certkeep/cadb/schema"
)

// takeOffline is step 3 of a service that the restore stops itself. What it may not
// do when it comes up again is withheld first, so that an interruption at any
// later point finds it withheld.
func (j *restoreJob) takeOffline(ctx context.Context) error {
	withheld, err := j.control.Withhold(ctx)
	if len(withheld.What) > 0 || len(withheld.Undo) > 0 {
		j.rep.Withheld = &withheld
	}
	if err != nil {
		return err
	}
	if err := j.control.StopService(ctx); err != nil {
		return err
	}
	if err := j.mustBeOffline(ctx); err != nil {
		return err
	}
	j.step(stepOffline).State = StepDone
	return j.finishGap(ctx)
}

// start is step 14. The authority is let publish and issue only if no revocation is
// known that its database lacks.
func (j *restoreJob) start(ctx context.Context) error {
	if j.rep.Gap.Closed() {
		// An authority that stays silent is better than one that does not run.
		if err := j.control.Release(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			j.rep.Findings = append(j.rep.Findings, cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeNotComplete, File: "registry",
				Message: fmt.Sprintf("letting the authority publish again: %v", err)})
		} else {
			j.rep.Withheld = nil
		}
	}
	if err := j.control.StartService(ctx); err != nil {
		return err
	}
	j.registered = false // it has been carried out
	if r, ok := j.control.(Remarker); ok {
		for _, remark := range r.Remarks() {
			j.rep.Findings = append(j.rep.Findings, cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeNotComplete, File: "service", Message: remark})
		}
	}
	j.step(stepStart).State = StepDone
	j.next()
	return nil
}

// next says what is left to do once the service runs.
func (j *restoreJob) next() {
	g := j.rep.Gap
	if len(g.Revoked) > 0 {
		j.rep.Next = append(j.rep.Next, fmt.Sprintf("revoke again what the gap lists (%s): certutil -revoke SERIAL REASON", count(len(g.Revoked), "certificate")))
		if g.Unreplayed {
			j.rep.Next = append(j.rep.Next, "some of them may be revoked already, by logs that could not be read here: to revoke once more changes nothing")
		}
	}
	if j.rep.Withheld != nil {
		if g.Blind {
			j.rep.Next = append(j.rep.Next, fmt.Sprintf("compare the revoked certificates (certutil -view -restrict Disposition=%d -out SerialNumber,Request.RevokedWhen) with the newest CRL that was published", int(schema.Revoked)))
		}
		when := "when you have looked at what the gap lists"
		if len(j.rep.Next) > 0 {
			when = "only then"
		}
		j.rep.Next = append(j.rep.Next, when+" let the authority publish and issue again: "+strings.Join(j.rep.Withheld.Undo, "; "))
	}
	if d := j.rep.Database; d != nil && g.CRLNumber > d.NewestCRL {
		j.rep.Next = append(j.rep.Next, fmt.Sprintf("see that the next CRL has a number above %d: one of that number was published, and the database knows CRL %d", g.CRLNumber, d.NewestCRL))
	}
	j.rep.Next = append(j.rep.Next, "take a full backup: sets from before the restore cannot be continued")
	if j.rep.Displaced.Dir != "" {
		j.rep.Next = append(j.rep.Next, "keep "+j.rep.Displaced.Dir+" until that backup has been verified")
	}
}

// wayBack says how a person undoes what a restore that failed has done so far.
func (j *restoreJob) wayBack(d Displaced, w *Withheld) []string {
	back := []string{"make sure that the service is stopped: net stop certsvc"}
	if j.registered || j.o.PlanOnly {
		back = append(back, "take back what is registered: certkeep restore --service --take-back")
	}
	if d.Dir != "" {
		back = append(back,
			fmt.Sprintf("move what is now in the place of the database (%s) and in the log directory (%s) elsewhere", j.local(j.places.Database), j.local(j.places.LogDir)),
			"move back what was set aside, each file into the directory that its own is named after: "+asideText(d))
	}
	if w != nil {
		back = append(back, w.Undo...)
	}
	back = append(back, "start the service: net start certsvc")
	if r, ok := j.control.(Remarker); ok {
		if stopped := r.StoppedDependents(); len(stopped) > 0 {
			back = append(back, "start what was stopped with it: net start "+strings.Join(stopped, "; net start "))
		}
	}
	return back
}

// follows checks that a log of the target's own goes on where the last log of the
// sets ends.
func (s *restoreSteps) follows(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := s.rec.Engine.ReadLog(f)
	if err != nil {
		return err
	}
	return s.rec.Engine.CheckChain([]cadb.LogInfo{s.rec.Logs[len(s.rec.Logs)-1].LogInfo, info})
}

// asideText names what was set aside.
func asideText(d Displaced) string {
	const most = 20
	var paths []string
	for i, f := range d.Files {
		if i == most {
			paths = append(paths, fmt.Sprintf("and %d more", len(d.Files)-most))
			break
		}
		if filepath.Base(f) == f {
			f = filepath.Join(d.Dir, f)
		}
		paths = append(paths, f)
	}
	if len(paths) == 0 {
		return d.Dir
	}
	return strings.Join(paths, ", ")
}

// local is a name of the target's as a person finds it.
func (j *restoreJob) local(unc string) string {
	if path, err := j.o.Target.LocalPath(unc); err == nil {
		return path
	}
	return unc
}

// copyNewer puts back the logs that go on where the sets end. Which these are is
// known when they have been set aside.
func (s *restoreSteps) copyNewer(ctx context.Context) error {
	keeper, ok := s.o.Target.(LogKeeper)
	if !ok || s.control == nil || s.rec.Engine.Replays() || !s.replaysNewer() || s.rep.Displaced.Dir == "" {
		return nil
	}
	paths, stopped, err := keeper.NewerLogs(ctx, s.rep.Displaced, s.rec.Target.Generation)
	if err == nil && len(paths) > 0 {
		if ferr := s.follows(paths[0]); ferr != nil {
			paths, stopped = nil, fmt.Sprintf("%s: %v", paths[0], ferr)
		}
	}
	if err != nil {
		return fmt.Errorf("logs after generation %s: %w", generation(s.rec.Target.Generation), err)
	}
	if stopped != "" {
		s.rep.Findings = append(s.rep.Findings, cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeChain, File: s.rep.Displaced.Dir,
			Message: "not all newer logs are replayed: " + stopped})
	}
	for _, path := range paths {
		dst, err := s.o.Target.LocalPath(strings.TrimSuffix(s.places.LogDir, `\`) + `\` + filepath.Base(path))
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		s.phase.Total += fi.Size()
		if err := s.putFile(ctx, MaterializedFile{Set: -1, File: backupset.File{Source: path}, Path: path}, dst); err != nil {
			return err
		}
		s.rep.NewerLogs = append(s.rep.NewerLogs, filepath.Base(path))
	}
	return nil
}
