package esetest

import (
	"fmt"
	"io"

	"github.com/certkeep/certkeep/ese"
)

// Places that every database has.
const (
	databaseRoot  = 1 // its trees of space are the next two pages, as with all roots
	catalogRoot   = 4
	nameRoot      = 7
	rootsRoot     = 10
	catalogLeaves = 13
	shadowRoot    = 24
	localesRoot   = 29
	firstFree     = 30
)

// Objects that every database has.
const (
	databaseObject = iota + 1
	catalogObject
	shadowObject
	nameObject
	rootsObject
	objectsObject
	localesObject
	firstObject
)

// Kinds of objects, which are also the types of rows of the catalog.
const (
	kindTable  = 1
	kindColumn = 2
	kindIndex  = 3
	longValues = 4
)

// Writer writes a database.
type Writer struct {
	o      Options
	out    io.WriterAt
	pages  uint32 // given out, from 1 on
	spare  []extent
	dbtime uint64
	kinds  []objectEntry // all objects
	tables []*Table
}

type objectEntry struct{ id, table, kind uint32 }

// Info is what a written database is like.
type Info struct {
	Pages     uint32 // without header, shadow and trailer
	Size      int64  // of the file, in bytes
	Signature ese.Signature
	DBTime    uint64
	Rows      map[string]uint64
}

// Create begins a database. Everything behind what is written must be zero: a new file.
func Create(out io.WriterAt, o Options) (*Writer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Writer{o: o, out: out, pages: firstFree - 1, dbtime: 0x40}
	w.kinds = []objectEntry{{catalogObject, catalogObject, kindTable}, {shadowObject, shadowObject, kindTable},
		{nameObject, catalogObject, kindIndex}, {rootsObject, catalogObject, kindIndex}}
	return w, w.createSystem()
}

// tick counts a change.
func (w *Writer) tick() uint64 {
	w.dbtime++
	return w.dbtime
}

// object returns the number of a new object.
func (w *Writer) object(kind, table uint32) uint32 {
	id := uint32(len(w.kinds)) + 2
	if kind == kindTable {
		table = id
	}
	w.kinds = append(w.kinds, objectEntry{id, table, kind})
	return id
}

func (w *Writer) write(number uint32, pages []byte) error {
	if _, err := w.out.WriteAt(pages, (int64(number)+1)*int64(w.o.PageSize)); err != nil {
		return fmt.Errorf("write page %d: %w", number, err)
	}
	return nil
}

// CreateTable begins a table.
func (w *Writer) CreateTable(spec TableSpec) (*Table, error) {
	object := w.object(kindTable, 0)
	t, err := w.newTable(spec, object, w.newTree(object, 0, nil))
	if err != nil {
		return nil, err
	}
	for _, x := range t.indexes[1:] {
		x.object = w.object(kindIndex, object)
		x.sorter = w.newSorter()
	}
	w.tables = append(w.tables, t)
	return t, nil
}

func (w *Writer) newSorter() *sorter { return &sorter{dir: w.o.TempDir, limit: w.o.SortBytes} }

// Abort gives up; it removes temporary files.
func (w *Writer) Abort() {
	for _, t := range w.tables {
		for _, x := range t.indexes[1:] {
			if x.sorter != nil {
				x.sorter.close()
			}
		}
	}
}

// growBytes is how much a database grows at a time.
const growBytes = 1 << 20

// Close writes what is left: the rest of the tables, their indexes, the catalog, the
// space and the header.
func (w *Writer) Close() (info Info, err error) {
	defer w.Abort()
	if err := w.finishObjects(); err != nil {
		return info, err
	}
	for _, t := range w.tables {
		if err := t.finish(); err != nil {
			return info, err
		}
	}
	for _, t := range w.tables {
		if err := t.finishIndexes(); err != nil {
			return info, err
		}
	}
	trees, err := w.writeCatalog()
	if err != nil {
		return info, err
	}
	for _, t := range w.tables {
		trees = append(trees, t.tree)
		if t.long != nil {
			trees = append(trees, t.long)
		}
		for _, x := range t.indexes[1:] {
			trees = append(trees, x.tree)
		}
	}
	for _, t := range trees {
		if err := t.writeSpace(t.free()); err != nil {
			return info, err
		}
	}
	if err := w.writeRoot(); err != nil {
		return info, err
	}
	info = Info{Pages: w.pages, Size: (int64(w.pages) + 2) * int64(w.o.PageSize), Signature: w.signature(), DBTime: w.dbtime, Rows: make(map[string]uint64)}
	for _, t := range w.tables {
		info.Rows[t.spec.Name] = t.rows
	}
	return info, w.writeHeader(&info)
}

// writeRoot writes the space of the whole database, which makes up whole steps of
// growth with its header.
func (w *Writer) writeRoot() error {
	step := uint32(growBytes / w.o.PageSize)
	used := w.pages
	w.pages = (used+2+step-1)/step*step - 2
	if w.pages > used {
		w.spare = append(w.spare, extent{used + 1, w.pages - used})
	}
	t := &tree{w: w, object: databaseObject, root: databaseRoot, extents: []extent{{1, w.pages}}, next: w.pages + 1, primary: w.pages}
	t.level(0)
	if err := t.finish(); err != nil {
		return err
	}
	if err := t.writeSpace(w.spare); err != nil {
		return err
	}
	if w.pages > used { // so that the file is as long as the database
		return w.write(w.pages, make([]byte, w.o.PageSize))
	}
	return nil
}
