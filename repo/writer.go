package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// partialEvery is how many new segments a run stores before it notes, for the case that
// it is interrupted, what they hold.
var partialEvery = 512

// writer is a set being written. It implements backupset.Writer.
type writer struct {
	r     *Repository
	keys  *caKeys
	b     *builder
	known *known
	lease *lease

	mu       sync.Mutex
	files    backupset.Written
	order    []*fileWriter
	open     int
	newBytes int64
	err      error
	done     bool
	noting   bool // a partial record is being made

	lists    errgroup.Group // being stored
	notes    sync.WaitGroup // of noting
	stopNote context.CancelFunc
}

// Create implements backupset.Store. The authority's keys are made when it is backed up for
// the first time.
func (r *Repository) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	// By what was last read, so that nothing is written in vain; and again once there is a lease.
	if err := r.mayBackUp(); err != nil {
		return nil, err
	}
	l, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{r: r, lease: l}
	w.lists.SetLimit(listsAtOnce)
	if err := w.prepare(ctx, o.CA); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

func (w *writer) prepare(ctx context.Context, ca backupset.CA) (err error) {
	// The state of after the lease: what is forgotten from now on is kept for this run.
	var there map[pack.ID]bool
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.r.refresh(gctx) })
	g.Go(func() (err error) { there, err = w.r.packsThere(gctx); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := w.r.mayBackUp(); err != nil {
		return err
	}
	if w.keys, err = w.r.keysFor(ctx, ca); err != nil {
		return err
	}
	to, err := w.r.recipient()
	if err != nil {
		return err
	}
	w.b = newBuilder(context.WithoutCancel(ctx), w.r, to)
	w.known, err = w.r.newKnown(ctx, w.b, w.keys.id, w.lease.began, there)
	return err
}

func (r *Repository) mayBackUp() error {
	if err := r.role(RoleBackup); err != nil {
		return err
	}
	return r.checkClock()
}

// checkClock refuses to write with a clock that is behind what this host wrote before: sets
// would sort wrongly, and retention would forget the wrong ones.
func (r *Repository) checkClock() error {
	author, _, err := r.author()
	if err != nil {
		return err
	}
	r.mu.Lock()
	j := r.journals[author]
	r.mu.Unlock()
	if j == nil || len(j.Entries) == 0 {
		return nil
	}
	last, now := j.Entries[len(j.Entries)-1].Time, r.o.Now()
	if last.Sub(now) > clockSlack {
		return hint.With(fmt.Errorf("%w: it is %s here, and this host wrote to the repository at %s", ErrClock,
			now.UTC().Format("2006-01-02 15:04:05Z"), last.UTC().Format("2006-01-02 15:04:05Z")), "set the clock of this machine")
	}
	return nil
}

// keysFor are the keys of the authority, made and published if there are none.
func (r *Repository) keysFor(ctx context.Context, ca backupset.CA) (*caKeys, error) {
	if r.o.Host == nil {
		return r.rootKeysFor(ctx, ca)
	}
	if c := r.o.Host.find(ca); c != nil {
		if r.now().cas[c.ID] == nil { // published too late, or deleted
			if err := r.publishCA(ctx, c); err != nil {
				return nil, err
			}
		}
		return r.keysOf(ctx, c.ID)
	}
	c, err := newCAKeys(ca)
	if err != nil {
		return nil, err
	}
	r.o.Host.add(c)
	if r.o.SaveHost != nil {
		if err := r.o.SaveHost(r.o.Host); err != nil {
			return nil, fmt.Errorf("host key: %w", err)
		}
	}
	if kept := r.o.Host.find(ca); kept != nil {
		c = *kept // another process was faster
	}
	if err := r.publishCA(ctx, &c); err != nil {
		return nil, err
	}
	return r.keysOf(ctx, c.ID)
}

// rootKeysFor are the keys of the authority for a restorer without a host's key.
func (r *Repository) rootKeysFor(ctx context.Context, ca backupset.CA) (*caKeys, error) {
	for _, rec := range r.now().cas {
		c, err := r.openCA(ctx, rec)
		if err != nil {
			return nil, err
		}
		if c.isFor(ca) {
			return r.keysOf(ctx, c.ID)
		}
	}
	c, err := newCAKeys(ca)
	if err != nil {
		return nil, err
	}
	if err := r.publishCA(ctx, &c); err != nil {
		return nil, err
	}
	return r.keysOf(ctx, c.ID)
}

func (r *Repository) publishCA(ctx context.Context, c *CAKeys) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	to, err := r.recipient()
	if err != nil {
		return err
	}
	ref, err := r.putSealed(ctx, b, to)
	if err != nil {
		return err
	}
	_, err = r.append(ctx, nil, caRecord{typeCA, c.ID, ref})
	return err
}

// CreateFile implements backupset.Writer.
func (w *writer) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.done:
		return nil, fs.ErrClosed
	case w.err != nil:
		return nil, w.err
	}
	if err := backupset.ValidateFile(role, name); err != nil {
		return nil, err
	}
	written, err := w.files.Add(role, name)
	if err != nil {
		return nil, err
	}
	f := &fileWriter{w: w, ctx: ctx, want: size, written: written, ids: w.keys.ids(), known: w.known.file(role, name),
		layout: fileLayout{Role: role, Name: name, ChunkSize: int64(chunkSize)}}
	// A store that hangs must not keep Write from noticing that nobody is interested any more.
	f.stop = context.AfterFunc(ctx, func() { w.b.cancel(ctx.Err()) })
	w.order = append(w.order, f)
	w.open++
	return f, nil
}

// fail keeps the first error.
func (w *writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed(err)
}

func (w *writer) failed(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

// fileWriter cuts a file into chunks.
type fileWriter struct {
	w       *writer
	ctx     context.Context
	want    int64
	written *backupset.WrittenFile
	ids     *ids
	known   *knownFile
	layout  fileLayout
	part    []byte            // of a chunk
	n       int64             // chunks
	chunks  []chunklist.Chunk // of the list being made
	lists   []*Ref            // made before
	closed  bool
	err     error
	stop    func() bool // watching ctx
}

func (f *fileWriter) Write(p []byte) (int, error) {
	if f.closed || f.w.isDone() {
		return 0, fs.ErrClosed
	}
	if f.err == nil {
		f.err = f.ctx.Err()
	}
	if f.err == nil && f.want >= 0 && f.written.Size+int64(len(p)) > f.want {
		f.err = fmt.Errorf("%s: more than the %d bytes that it was to have", f.layout.Name, f.want)
	}
	if f.err == nil {
		f.err = f.write(p)
	}
	if f.err != nil {
		return 0, f.w.fail(f.err)
	}
	return len(p), nil
}

func (f *fileWriter) write(p []byte) error {
	f.written.Size += int64(len(p))
	if len(f.part) > 0 {
		n := min(chunkSize-len(f.part), len(p))
		f.part = append(f.part, p[:n]...)
		p = p[n:]
		if len(f.part) < chunkSize {
			return nil
		}
		if err := f.chunk(f.part); err != nil {
			return err
		}
		f.part = f.part[:0]
	}
	for len(p) >= chunkSize {
		if err := f.chunk(p[:chunkSize]); err != nil {
			return err
		}
		p = p[chunkSize:]
	}
	f.part = append(f.part, p...)
	return nil
}

func (f *fileWriter) chunk(data []byte) error {
	id := f.ids.of(data)
	c, ok, err := f.known.find(f.ctx, f.n, id, len(data))
	if err != nil {
		return err
	}
	if !ok {
		if c, err = f.w.b.add(id, data); err != nil {
			return err
		}
		f.known.k.learn(c)
		f.w.addNew(int64(len(data)))
	}
	f.n++
	f.chunks = append(f.chunks, c)
	if len(f.chunks) == chunklist.MaxChunks {
		f.flush()
	}
	if f.n%int64(partialEvery) == 0 {
		f.w.partialAside(f.ctx)
	}
	return nil
}

// flush stores a list, beside what follows.
func (f *fileWriter) flush() {
	f.lists = append(f.lists, f.w.putList(chunklist.Encode(f.chunks)))
	f.chunks = f.chunks[:0]
}

func (f *fileWriter) Close() error {
	if f.closed || f.w.isDone() {
		return fs.ErrClosed
	}
	f.closed = true
	f.stop()
	if f.err == nil && f.want >= 0 && f.written.Size != f.want {
		f.err = fmt.Errorf("%s: %d bytes of the %d that it was to have", f.layout.Name, f.written.Size, f.want)
	}
	if f.err == nil && len(f.part) > 0 {
		f.err = f.chunk(f.part)
	}
	if f.err == nil {
		switch {
		case f.n <= maxInline:
			f.layout.List = string(chunklist.Encode(f.chunks))
		case len(f.chunks) > 0:
			f.flush()
		}
	}
	f.layout.Size = f.written.Size
	f.chunks, f.part = nil, nil
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.open--
	if f.err != nil {
		return f.w.failed(f.err)
	}
	return nil
}

func (w *writer) isDone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

func (w *writer) addNew(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newBytes += n
}

// listsAtOnce is how many chunk lists are stored at once, beside the packs. Each takes a few mebibytes.
const listsAtOnce = 2

// putList stores a chunk list. What it returns is good when w.lists has been waited for; what goes wrong ends the
// builder.
func (w *writer) putList(list []byte) *Ref {
	ref := new(Ref)
	w.lists.Go(func() (err error) {
		if *ref, err = w.r.putSealed(w.b.ctx, list, w.keys.metadata.Recipient()); err != nil {
			return w.b.fail(err)
		}
		return nil
	})
	return ref
}

// partialAside is partial beside the writing, unless the one before still goes on.
func (w *writer) partialAside(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noting {
		return
	}
	w.noting = true
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it may outlive the file
	w.stopNote = cancel
	w.notes.Go(func() {
		defer cancel()
		err := w.partial(ctx, partialEvery)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.noting = false
		if err != nil {
			_ = w.b.fail(w.failed(err))
		}
	})
}

// endNotes waits for partialAside, until ctx ends.
func (w *writer) endNotes(ctx context.Context) {
	w.mu.Lock()
	cancel := w.stopNote
	w.mu.Unlock()
	if cancel != nil {
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
	}
	w.notes.Wait()
}

// partial notes what the run has stored since the last note, if it is at least so many
// segments: a run that is interrupted is not all in vain.
func (w *writer) partial(ctx context.Context, atLeast int) error {
	if w.r.o.Host == nil {
		return nil
	}
	fresh, table := w.b.takeFresh(atLeast)
	if len(fresh) == 0 {
		return nil
	}
	p := partialRecord{Type: typePartial, CA: w.keys.id, Run: w.lease.run}
	g, gctx := errgroup.WithContext(ctx)
	for i := range table {
		if table[i].Pack == (pack.ID{}) {
			table[i].Used = 0 // on its way
		}
	}
	g.Go(func() (err error) { p.Table, err = w.r.putTable(gctx, table); return err })
	for len(fresh) > 0 {
		var chunks []chunklist.Chunk
		for len(fresh) > 0 && len(chunks)+len(fresh[0].chunks) <= chunklist.MaxChunks {
			chunks = append(chunks, fresh[0].chunks...)
			fresh = fresh[1:]
		}
		ref, err := w.r.putSealed(ctx, chunklist.Encode(chunks), w.keys.metadata.Recipient())
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		p.Lists = append(p.Lists, ref)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, err := w.r.append(ctx, nil, p)
	return err
}

// Commit implements backupset.Writer: the set is there once its record is in the journal.
func (w *writer) Commit(ctx context.Context, m *backupset.Manifest) error {
	w.mu.Lock()
	switch {
	case w.done:
		w.mu.Unlock()
		return fs.ErrClosed
	case w.err != nil:
		defer w.mu.Unlock()
		return w.err
	case w.open > 0:
		defer w.mu.Unlock()
		return w.failed(fmt.Errorf("set %s: %d files are still open", m.ID, w.open))
	}
	w.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return w.fail(err)
	}
	b, err := m.Encode()
	if err == nil {
		err = w.files.Compare(m)
	}
	if err != nil {
		return w.fail(err)
	}
	stop := context.AfterFunc(ctx, func() { w.b.cancel(ctx.Err()) })
	err = w.b.finish()
	if lerr := w.lists.Wait(); err == nil { // they end with the builder
		err = lerr
	}
	w.endNotes(ctx)
	stop()
	if err != nil {
		return w.fail(err)
	}
	w.mu.Lock()
	err = w.err // of a note
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.publish(ctx, m, b)
}

func (w *writer) publish(ctx context.Context, m *backupset.Manifest, manifest []byte) error {
	rec := setRecord{Type: typeSet, CA: w.keys.id, Set: m.ID, New: w.newBytes}
	table := w.b.table
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.putObjects(gctx, m, manifest, table, &rec) })
	g.Go(func() error { return again(w.r.whole(gctx, w.lease, table)) })
	if err := g.Wait(); err != nil {
		return w.fail(err)
	}
	if err := ctx.Err(); err != nil {
		return w.fail(err)
	}
	published, err := w.r.publish(ctx, w.lease, m.ID, table, rec)
	if err != nil {
		err = fmt.Errorf("set %s: %w", m.ID, err)
	}
	if !published {
		return w.fail(err)
	}
	w.mu.Lock()
	w.done = true // nothing can be taken back, only withdrawn
	w.mu.Unlock()
	lctx, done := lingering(ctx)
	defer done()
	return errors.Join(again(err), w.lease.end(lctx))
}

// again says what to do about a set that turned out not to be whole.
func again(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backupset.ErrDamaged):
		return hint.With(err, "run it again: what is missing will be stored anew")
	}
	return hint.With(err, "run it again: what was stored is used")
}

func (w *writer) putObjects(ctx context.Context, m *backupset.Manifest, manifest []byte, table []chunklist.Entry, rec *setRecord) error {
	l := layout{Schema: schema, Set: m.ID}
	for _, f := range w.order {
		for _, ref := range f.lists {
			f.layout.Lists = append(f.layout.Lists, *ref)
			rec.Stored += ref.Size
		}
		rec.Lists = append(rec.Lists, f.layout.Lists...)
		l.Files = append(l.Files, f.layout)
		rec.Bytes += f.layout.Size
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	to := w.keys.metadata.Recipient()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { rec.Layout, err = w.r.putSealed(gctx, b, to); return err })
	g.Go(func() (err error) { rec.Manifest, err = w.r.putSealed(gctx, manifest, to); return err })
	g.Go(func() (err error) { rec.Table, err = w.r.putTable(gctx, table); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	rec.Stored += w.b.stored + rec.Layout.Size + rec.Manifest.Size + rec.Table.Size
	return nil
}

// Abort implements backupset.Writer. What was stored is noted for the next run, and
// otherwise left for a prune.
func (w *writer) Abort() error {
	w.mu.Lock()
	if w.done {
		w.mu.Unlock()
		return nil
	}
	w.done = true
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if w.b != nil {
		w.b.abort()
		_ = w.lists.Wait()
		w.endNotes(ctx)
		_ = w.partial(ctx, partialEvery/16) // it only saves the next run some work
	}
	return w.lease.end(ctx)
}
