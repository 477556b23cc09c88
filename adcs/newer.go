package adcs

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// NewerLogs are the logs among what was set aside that continue a set.
type NewerLogs struct {
	// Logs follow each other, from the generation after the set's last one on. The
	// current log, edb.log, comes last.
	Logs []NewerLog

	// Stopped says why there are no more of them, if there are more files.
	Stopped string
}

// NewerLog is a log that was set aside.
type NewerLog struct {
	Path       string
	Generation uint32
	Current    bool // edb.log: its generation is in its header alone
	Header     ese.LogHeader
}

// NewerLogs lists the logs in what SetAside displaced that come after a
// generation: a restore that puts them back, unlike one that clears the log
// directory, replays what was issued after the set. Their headers are read and must
// follow each other. That the first one follows the set is checked if the log
// before it was set aside as well; else the caller has to, with that log of the
// set.
func (h *Host) NewerLogs(ctx context.Context, d backup.Displaced, after uint32) (NewerLogs, error) {
	var n NewerLogs
	var closed []NewerLog
	var prev *ese.LogHeader
	current := ""
	for _, name := range d.Files {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(d.Dir, name)
		}
		base := strings.ToLower(filepath.Base(path))
		if base == "edb.log" {
			current = path
			continue
		}
		g, ok := certadm.ParseLogGeneration(base)
		if !ok || !strings.HasPrefix(base, "edb") || g < after {
			continue
		}
		closed = append(closed, NewerLog{Path: path, Generation: g})
	}
	slices.SortFunc(closed, func(a, b NewerLog) int { return cmp.Compare(a.Generation, b.Generation) })
	next := after + 1
	for _, l := range closed {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if l.Generation > next {
			break
		}
		header, err := h.logHeader(l.Path)
		if err == nil && header.Generation != l.Generation {
			err = fmt.Errorf("generation %d by its header", header.Generation)
		}
		if l.Generation == after {
			if err == nil {
				prev = &header
			}
			continue
		}
		if err == nil && prev != nil {
			err = header.Follows(*prev)
		}
		if err != nil {
			n.Stopped = fmt.Sprintf("%s: %v", l.Path, err)
			return n, nil
		}
		l.Header, prev = header, &header
		n.Logs = append(n.Logs, l)
		next++
	}
	if last := len(closed) - 1; last >= 0 && closed[last].Generation >= next {
		n.Stopped = fmt.Sprintf("generation %d is missing, and there are later ones up to %d", next, closed[last].Generation)
		return n, nil
	}
	if current == "" {
		return n, nil
	}
	header, err := h.logHeader(current)
	switch {
	case err != nil:
	case header.Generation <= after:
		return n, nil // the set has it, or more
	case header.Generation != next:
		err = fmt.Errorf("it is of generation %d, and generation %d is missing", header.Generation, next)
	case prev != nil:
		err = header.Follows(*prev)
	}
	if err != nil {
		n.Stopped = fmt.Sprintf("%s: %v", current, err)
		return n, nil
	}
	n.Logs = append(n.Logs, NewerLog{current, header.Generation, true, header})
	return n, nil
}

func (h *Host) logHeader(path string) (ese.LogHeader, error) {
	f, err := h.fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return ese.LogHeader{}, err
	}
	defer f.Close()
	header, err := ese.ReadLogHeader(f)
	if err != nil {
		return header, err
	}
	if fi, err := f.Stat(); err != nil {
		return header, err
	} else if fi.Size() != header.Size {
		return header, fmt.Errorf("%d bytes, and its header says %d", fi.Size(), header.Size)
	}
	return header, nil
}
