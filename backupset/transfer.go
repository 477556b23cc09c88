package backupset

import (
	"cmp"
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
// there already is ErrExists, and nothing is copied.
//
// A synthesized manifest, of a folder that certutil wrote, has no hashes: its files are read
// twice, to hash them and to copy them. The set gets an id whose second half is made of its
// content, so that it is not taken in twice, whatever has become of the files' times. It
// has no receipt: nobody knows how its session ended.
func Transfer(ctx context.Context, dst Store, src Set, o TransferOptions) (*Manifest, error) {
	m, copied, err := transfer(ctx, dst, src, o)
	if err == nil && !copied {
		return nil, fmt.Errorf("set %s: %w", m.ID, ErrExists)
	}
	return m, err
}

// transfer also returns the manifest of a set that is there already.
func transfer(ctx context.Context, dst Store, src Set, o TransferOptions) (m *Manifest, copied bool, err error) {
	c := *src.Manifest()
	c.Files = slices.Clone(c.Files)
	m = &c
	var there *Manifest
	if m.Synthesized {
		if err := adopt(m, o.Parent); err != nil {
			return nil, false, fmt.Errorf("%s: %w", src.Location(), err)
		}
		if err := hashFiles(ctx, src, m); err != nil {
			return nil, false, err
		}
		m.ID, m.Synthesized = contentID(m), false
		there, err = sameContent(ctx, dst, m)
	} else {
		there, err = present(ctx, dst, m.ID)
	}
	if err != nil || there != nil {
		return there, false, err
	}
	rec, err := src.Receipt()
	if err != nil && !errors.Is(err, ErrUnconfirmed) {
		return nil, false, err
	}
	w, err := dst.Create(ctx, CreateOptions{Name: o.Name, CA: m.CA})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	if err := transferFiles(ctx, w, src, m, o); err != nil {
		return nil, false, err
	}
	if err := w.Commit(ctx, m); err != nil {
		return nil, false, fmt.Errorf("set %s: %w", m.ID, err)
	}
	if rec == nil {
		return m, true, nil
	}
	return m, true, dst.PutReceipt(ctx, m.ID, *rec)
}

// present is the manifest of a set that is in dst; nil if it is not.
func present(ctx context.Context, dst Store, id string) (*Manifest, error) {
	set, err := dst.Open(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("set %s: %w", id, err)
	}
	return set.Manifest(), nil
}

// sameContent finds the set in dst that has the content of m, by the second half of its id.
func sameContent(ctx context.Context, dst Store, m *Manifest) (*Manifest, error) {
	es, err := dst.List(ctx)
	if err != nil {
		return nil, err
	}
	_, content, _ := strings.Cut(m.ID, "-")
	for _, e := range es {
		if _, has, _ := strings.Cut(e.ID, "-"); has != content {
			continue
		}
		if e.Manifest == nil { // the error says why it cannot be read
			return present(ctx, dst, e.ID)
		}
		same := func(a, b File) bool {
			return a.Role == b.Role && a.Name == b.Name && a.Size == b.Size && a.SHA256 == b.SHA256
		}
		if slices.EqualFunc(inOrder(e.Manifest), inOrder(m), same) {
			return e.Manifest, nil
		}
	}
	return nil, nil
}

// inOrder is a manifest's files in an order that the folder they lie in does not change.
func inOrder(m *Manifest) []File {
	return slices.SortedFunc(slices.Values(m.Files), func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name))
	})
}

// hashFiles fills in the hashes of the files.
func hashFiles(ctx context.Context, src Set, m *Manifest) error {
	for i, f := range m.Files {
		r, err := src.Open(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		_, sum, err := Copy(ctx, io.Discard, &exactly{r: r, size: f.Size})
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		m.Files[i].SHA256 = sum
	}
	return nil
}

func transferFiles(ctx context.Context, w Writer, src Set, m *Manifest, o TransferOptions) error {
	total, done := m.Size(), int64(0)
	for i, f := range m.Files {
		r, err := src.Open(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		in := &exactly{r: r, size: f.Size}
		if o.Progress != nil {
			in.add = func(n int) { done += int64(n); o.Progress(f.Name, done, total) }
		}
		got, err := Add(ctx, w, f.Role, f.Name, f.Source, f.Size, in)
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%s: %s: %w", src.Location(), f.Name, err)
		}
		if f.SHA256 != "" && got.SHA256 != f.SHA256 {
			return fmt.Errorf("%s: %s: %w: its SHA-256 is not the manifest's", src.Location(), f.Name, ErrDamaged)
		}
		m.Files[i] = got
	}
	return nil
}

// exactly reads a file that must be as long as the manifest says: the Store that takes it would
// refuse it otherwise, and could not say that the source is damaged.
type exactly struct {
	r       io.Reader
	n, size int64
	add     func(int) // may be nil
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.n += int64(n)
	switch {
	case e.n > e.size:
		return 0, fmt.Errorf("%w: more than the %d bytes that the manifest says", ErrDamaged, e.size)
	case err == io.EOF && e.n < e.size:
		return n, fmt.Errorf("%w: %d bytes, and the manifest says %d", ErrDamaged, e.n, e.size)
	}
	if e.add != nil {
		e.add(n)
	}
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

// contentID makes the id of a set: its time, which is that of files and may change, and what is
// in it.
func contentID(m *Manifest) string {
	h := sha256.New()
	for _, f := range inOrder(m) {
		fmt.Fprintf(h, "%s/%s %d %s\n", f.Role, f.Name, f.Size, f.SHA256)
	}
	text := strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))
	return m.Start.UTC().Format(idTime) + "-" + text[:idRandom]
}

// TransferChain copies the sets of a chain that are not there yet, the full one first. It
// returns the manifests of all of them, as they are in dst, and how many were copied.
func TransferChain(ctx context.Context, dst, src Store, chain Chain, o TransferOptions) (ms []*Manifest, copied int, err error) {
	for _, e := range chain {
		set, err := src.Open(ctx, e.Key())
		if err != nil {
			return ms, copied, err
		}
		if len(ms) > 0 {
			o.Parent = ms[len(ms)-1]
		}
		m, isNew, err := transfer(ctx, dst, set, o)
		if err != nil {
			return ms, copied, err
		}
		if isNew {
			copied++
		}
		ms = append(ms, m)
	}
	return ms, copied, nil
}
