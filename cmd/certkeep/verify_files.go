package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
)

// sideBySide is how many sets of an authority are read through at once: what they share is read and opened once for
// all of them. Each takes memory.
const sideBySide = 8

// files reads the sets' files through, or recovers their databases. A set that others continue is read with them, once;
// only if they are not good it is looked at for itself.
func (v *repositoryVerifier) files(ctx context.Context, from backupset.Store) error {
	ids, parents := v.ids, map[string]string{}
	if len(ids) == 0 {
		ids, parents = tips(v.entries)
	}
	authorities := map[string]string{}
	for _, e := range v.entries {
		if e.Manifest != nil {
			authorities[e.ID] = authorityKey(e.Manifest.CA)
		}
	}
	done := map[string]bool{}
	for len(ids) > 0 {
		var batch []string
		batch, ids = v.batch(ids, authorities, done)
		reports, errs := v.together(ctx, from, batch)
		for n, id := range batch {
			good, err := v.read(id, reports[n], errs[n])
			if err != nil {
				return err
			}
			if good {
				continue
			}
			v.bad[id] = true
			if parent := parents[id]; parent != "" {
				ids = append(ids, parent)
			}
		}
	}
	return nil
}

// batch takes the first that is not done from a list, and others of its authority that are read beside it; a set whose
// authority is not known is read alone.
func (v *repositoryVerifier) batch(ids []string, authorities map[string]string, done map[string]bool) (batch, rest []string) {
	most := 1
	if v.level == backup.LevelContent {
		most = sideBySide
	}
	ca := ""
	for _, id := range ids {
		switch of := authorities[id]; {
		case done[id]:
		case len(batch) == 0, len(batch) < most && of != "" && of == ca:
			batch, ca, done[id] = append(batch, id), of, true
		default:
			rest = append(rest, id)
		}
	}
	return batch, rest
}

// together verifies the files of sets side by side.
func (v *repositoryVerifier) together(ctx context.Context, from backupset.Store, ids []string) ([]*backup.VerifyReport, []error) {
	var mu sync.Mutex
	at := make([]backup.Progress, len(ids))
	list := make([]backup.VerifyOptions, len(ids))
	step := fmt.Sprintf("sets %d to %d", v.begun+1, v.begun+len(ids))
	v.begun += len(ids)
	for n, id := range ids {
		o := v.options
		o.Source, o.Progress = backup.Source{Store: from, ID: id}, v.meter.job
		if len(ids) > 1 {
			o.Progress = func(p backup.Progress) {
				mu.Lock()
				defer mu.Unlock()
				at[n] = p
				var done, total int64
				for _, p := range at {
					done, total = done+p.Done, total+p.Total
				}
				v.meter.Set(step, done, total)
			}
		}
		list[n] = o
	}
	return backup.VerifyTogether(ctx, list)
}

// read notes what came of a set; good is false if its files are damaged.
func (v *repositoryVerifier) read(id string, report *backup.VerifyReport, err error) (good bool, _ error) {
	switch {
	case errors.Is(err, backupset.ErrChain):
		v.report.Findings = append(v.report.Findings, repositoryFinding{Set: id, Message: err.Error()})
		return false, nil
	case err != nil:
		return false, err
	}
	v.report.Reports = append(v.report.Reports, report)
	if report.OK && v.level == backup.LevelDatabase {
		for _, s := range report.Sets { // the tip's database stands on the contents of all
			if s.ID != id {
				v.through = append(v.through, s.ID)
			}
		}
	}
	return report.OK, nil
}

// tips are the sets that no other continues; parents are what those that are listed continue, as far as that is listed.
func tips(entries []backupset.Entry) (ids []string, parents map[string]string) {
	listed, continued := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		listed[e.ID] = true
	}
	parents = map[string]string{}
	for _, e := range entries {
		if e.Manifest != nil && listed[e.Manifest.Parent] {
			parents[e.ID], continued[e.Manifest.Parent] = e.Manifest.Parent, true
		}
	}
	for _, e := range entries {
		if !continued[e.ID] {
			ids = append(ids, e.ID)
		}
	}
	return ids, parents
}

// authorityKey tells authorities apart.
func authorityKey(ca backupset.CA) string { return ca.Host + "/" + ca.SanitizedName }
