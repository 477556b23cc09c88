package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
)

// findParent looks for the set that a new incremental one may continue: the
// newest of this authority, if it is confirmed and its chain is whole. Without
// one it says why.
func findParent(ctx context.Context, store backupset.Store, id certadm.Identity) (*parentSet, string, error) {
	entries, err := store.List(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("looking for earlier sets: %w", err)
	}
	cert := fingerprint(id.Certificate)
	chain, err := backupset.Parent(entries, func(m *backupset.Manifest) bool {
		return m.CA.CertificateSHA256 == cert && m.CA.SanitizedName == id.SanitizedName
	})
	switch {
	case errors.Is(err, backupset.ErrNotFound):
		return nil, fmt.Sprintf("there is no earlier set of %s here", id.Name), nil
	case err != nil:
		return nil, err.Error(), nil
	}
	tip := chain.Tip()
	if tip.Manifest.LastGeneration == 0 || tip.Manifest.Signature == "" {
		return nil, fmt.Sprintf("%s does not say where its logs end", tip.Label()), nil
	}
	last, err := lastLogHead(ctx, store, tip)
	if err != nil {
		return nil, fmt.Sprintf("the last log of %s cannot be read: %v", tip.Label(), err), nil
	}
	return &parentSet{tip, last}, "", nil
}

// parentSet is the set that an incremental one continues, with the header of
// its last log.
type parentSet struct {
	backupset.Entry
	last cadb.LogInfo
}

// lastLogHead reads the header of the newest log in a set.
func lastLogHead(ctx context.Context, store backupset.Store, e backupset.Entry) (h cadb.LogInfo, err error) {
	set, err := store.Open(ctx, e.ID)
	if err != nil {
		return h, err
	}
	for _, f := range set.Manifest().ByRole(backupset.RoleLog) {
		if g, ok := certadm.ParseLogGeneration(f.Name); !ok || g != e.Manifest.LastGeneration {
			continue
		}
		head, err := headOf(ctx, set, f)
		if err == nil {
			_, h, err = readLog(f.Name, head)
		}
		return h, err
	}
	return h, fmt.Errorf("generation %d: %w", e.Manifest.LastGeneration, backupset.ErrNotFound)
}

// headOf is how a log begins. Where this machine may not read what it has stored, the
// manifest says it.
func headOf(ctx context.Context, set backupset.Set, f backupset.File) ([]byte, error) {
	r, err := set.Open(ctx, f)
	if m := set.Manifest(); errors.Is(err, backupset.ErrSealed) && len(m.LastLogHead) > 0 {
		return m.LastLogHead, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	head := make([]byte, min(headSize, f.Size))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head, nil
}

// readLog reads the beginning of a log of whichever engine.
func readLog(name string, head []byte) (cadb.LogReader, cadb.LogInfo, error) {
	e, err := cadb.EngineFor(name, head)
	if err != nil {
		return nil, cadb.LogInfo{}, err
	}
	info, err := e.ReadLog(bytes.NewReader(head))
	if err != nil {
		return nil, info, fmt.Errorf("%s: %w", name, err)
	}
	return e, info, nil
}

// logChain follows the logs of a session as they arrive, and holds them against
// the set that they are to continue.
type logChain struct {
	parent   *parentSet
	first    cadb.LogInfo
	last     cadb.LogInfo
	earliest uint32
	head     []byte   // of last
	unread   []string // why a log's header could not be understood
}

// checkNames holds the list against the parent: the server's logs must reach
// back to its last generation + 1. Another tool may have truncated them, or
// the database may have been restored since.
func (c *logChain) checkNames(list certadm.FileList) error {
	gens, err := list.LogGenerations()
	if err != nil {
		return err
	}
	for i := 1; i < len(gens); i++ {
		if gens[i] != gens[i-1]+1 {
			return fmt.Errorf("log list: generation %d follows %d", gens[i], gens[i-1])
		}
	}
	if c.parent == nil {
		return nil
	}
	end := c.parent.Manifest.LastGeneration
	switch {
	case len(gens) == 0:
		return unusable("the server lists no logs")
	case gens[0] > end+1:
		return unusable(fmt.Sprintf("the server's logs begin at generation %d and the chain ends at %d: something else has truncated them", gens[0], end))
	case gens[len(gens)-1] < end:
		return unusable(fmt.Sprintf("the server's logs end at generation %d and the chain at %d: the database was restored or replaced", gens[len(gens)-1], end))
	}
	return nil
}

// add takes in one log that was copied, given its first bytes.
func (c *logChain) add(f backupset.File, head []byte) error {
	engine, log, err := readLog(f.Name, head)
	if errors.Is(err, cadb.ErrUnsupported) {
		return c.addUnread(f, err)
	}
	if err != nil {
		return fmt.Errorf("as the server sent it: %w", err)
	}
	if c.unread != nil {
		c.unread = append(c.unread, f.Name+": the log before it could not be read")
	} else if c.last.Generation != 0 {
		if err := engine.CheckChain([]cadb.LogInfo{c.last, log}); err != nil {
			return fmt.Errorf("as the server sent it: %s: %w", f.Name, err)
		}
	} else {
		c.first = log
	}
	if p := c.parent; p != nil {
		m := p.Manifest
		switch {
		case log.Signature != m.Signature:
			return unusable(fmt.Sprintf("the database has the signature %.16s…, the chain %.16s…: it was restored or replaced", log.Signature, m.Signature))
		case log.Generation == m.LastGeneration && f.SHA256 != digestOf(m, f.Name),
			log.Generation == m.LastGeneration+1 && engine.CheckChain([]cadb.LogInfo{p.last, log}) != nil:
			return unusable(fmt.Sprintf("log %s does not continue %s", f.Name, p.Label()))
		}
	}
	c.last, c.head = log, bytes.Clone(head)
	if log.EarliestTarget != 0 {
		c.earliest = log.EarliestTarget
	}
	return nil
}

// addUnread takes in a log of a version that is not known: the set has it, and
// with no signature can be nobody's parent.
func (c *logChain) addUnread(f backupset.File, err error) error {
	if c.parent != nil {
		return unusable(fmt.Sprintf("whether log %s continues %s cannot be told: %v", f.Name, c.parent.Label(), err))
	}
	g, _ := certadm.ParseLogGeneration(f.Name) // checkNames has seen it
	if c.first.Generation == 0 {
		c.first.Generation = g
	}
	c.last, c.head = cadb.LogInfo{Generation: g}, nil
	c.first.Signature = ""
	c.unread = append(c.unread, err.Error())
	return nil
}

// digestOf is the SHA-256 that a manifest has for a log.
func digestOf(m *backupset.Manifest, name string) string {
	for _, f := range m.ByRole(backupset.RoleLog) {
		if backupset.FoldName(f.Name) == backupset.FoldName(name) {
			return f.SHA256
		}
	}
	return ""
}

func fingerprint(der []byte) string {
	if len(der) == 0 {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
