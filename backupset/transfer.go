package backupset

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// TransferOptions are the options of Transfer.
type TransferOptions struct {
	// Name is the set's name in a Store that names sets.
	Name string
	// Parent is the imported set that a synthesized incremental one continues.
	Parent *Manifest
	// Progress is told of bytes as they are copied; may be nil.
	Progress func(file string, done, total int64)
}

// Transfer copies a whole set into a Store, its receipt too. Every file is held against
// the manifest on the way: a set that is damaged is refused, with ErrDamaged. A set that is
// there already is ErrExists.
//
// A synthesized manifest, of a folder that certutil wrote, has no hashes; they are made
// while copying, and the set gets an id that is made of its content, so that it is not
// taken in twice. It has no receipt: nobody knows how its session ended.
func Transfer(ctx context.Context, dst Store, src Set, o TransferOptions) (m *Manifest, err error) {
	c := *src.Manifest()
	c.Files = slices.Clone(c.Files)
	m = &c
	if m.Synthesized {
		if err := adopt(m, o.Parent); err != nil {
			return nil, fmt.Errorf("%s: %w", src.Location(), err)
		}
	} else if err := absent(ctx, dst, m.ID); err != nil {
		return nil, err
	}
	rec, err := src.Receipt()
	if err != nil && !errors.Is(err, ErrUnconfirmed) {
		return nil, err
	}
	w, err := dst.Create(ctx, CreateOptions{Name: o.Name, CA: m.CA})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	if err := transferFiles(ctx, w, src, m, o); err != nil {
		return nil, err
	}
	if src.Manifest().Synthesized {
		m.ID = contentID(m)
		m.Synthesized = false
		if err := absent(ctx, dst, m.ID); err != nil {
			return nil, err
		}
	}
	if err := w.Commit(ctx, m); err != nil {
		return nil, fmt.Errorf("set %s: %w", m.ID, err)
	}
	if rec == nil {
		return m, nil
	}
	return m, dst.PutReceipt(ctx, m.ID, *rec)
}

func absent(ctx context.Context, dst Store, id string) error {
	_, err := dst.Open(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = ErrExists
	}
	return fmt.Errorf("set %s: %w", id, err)
}

func transferFiles(ctx context.Context, w Writer, src Set, m *Manifest, o TransferOptions) error {
	total, done := m.Size(), int64(0)
	for i, f := range m.Files {
		r, err := src.Open(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		var in io.Reader = r
		if o.Progress != nil {
			in = &counting{r, func(n int) { done += int64(n); o.Progress(f.Name, done, total) }}
		}
		got, err := Add(ctx, w, f.Role, f.Name, f.Source, f.Size, in)
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		switch {
		case got.Size != f.Size:
			return fmt.Errorf("%s: %s: %w: %d bytes, and the manifest says %d", src.Location(), f.Name, ErrDamaged, got.Size, f.Size)
		case f.SHA256 != "" && got.SHA256 != f.SHA256:
			return fmt.Errorf("%s: %s: %w: its SHA-256 is not the manifest's", src.Location(), f.Name, ErrDamaged)
		}
		m.Files[i] = got
	}
	return nil
}

type counting struct {
	r   io.Reader
	add func(int)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.add(n)
	return n, err
}

// adopt makes a synthesized manifest one that can be stored.
func adopt(m *Manifest, parent *Manifest) error {
	m.Tool = "imported; " + m.Tool
	for _, f := range m.ByRole(RoleDynamic) {
		m.DynamicFiles = append(m.DynamicFiles, DynamicFile{Source: f.Name, File: f.Name})
	}
	if m.Type == Full {
		m.EarliestTarget = m.LastGeneration
		return nil
	}
	if parent == nil {
		return fmt.Errorf("%w: an incremental set, and the set that it continues was not given", ErrChain)
	}
	m.Parent, m.CA, m.Signature = parent.ID, parent.CA, parent.Signature
	return nil
}

// contentID makes the id of a set out of what is in it.
func contentID(m *Manifest) string {
	h := sha256.New()
	for _, f := range m.Files {
		fmt.Fprintf(h, "%s/%s %d %s\n", f.Role, f.Name, f.Size, f.SHA256)
	}
	text := strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))
	return m.Start.UTC().Format(idTime) + "-" + text[:idRandom]
}

// TransferChain copies the sets of a chain that are not there yet, the full one first. It
// returns the manifests of all of them, as they are in dst, and how many were copied.
func TransferChain(ctx context.Context, dst, src Store, chain Chain, o TransferOptions) (ms []*Manifest, copied int, err error) {
	for _, e := range chain {
		id := e.ID
		if id == "" {
			id = e.Name
		}
		set, err := src.Open(ctx, id)
		if err != nil {
			return ms, copied, err
		}
		if len(ms) > 0 {
			o.Parent = ms[len(ms)-1]
		}
		m, err := Transfer(ctx, dst, set, o)
		switch {
		case errors.Is(err, ErrExists):
			if m, err = there(ctx, dst, set, o); err != nil {
				return ms, copied, err
			}
		case err != nil:
			return ms, copied, err
		default:
			copied++
		}
		ms = append(ms, m)
	}
	return ms, copied, nil
}

// there is the manifest of a set that dst has already.
func there(ctx context.Context, dst Store, src Set, o TransferOptions) (*Manifest, error) {
	id := src.Manifest().ID
	if src.Manifest().Synthesized {
		m := *src.Manifest()
		m.Files = slices.Clone(m.Files)
		if err := adopt(&m, o.Parent); err != nil {
			return nil, err
		}
		for i, f := range m.Files {
			r, err := src.Open(ctx, f)
			if err != nil {
				return nil, err
			}
			_, sum, err := Copy(ctx, io.Discard, r)
			if err = errors.Join(err, r.Close()); err != nil {
				return nil, err
			}
			m.Files[i].SHA256 = sum
		}
		id = contentID(&m)
	}
	set, err := dst.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return set.Manifest(), nil
}
