package repo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// PublishMany publishes so many sets like the one of a manifest, whose database has so many bytes: what a run would have
// written but for the packs, which hold nothing, and chunk lists and a table that all sets share.
func (r *Repository) PublishMany(ctx context.Context, m *backupset.Manifest, sets int, size int64) error {
	keys, err := r.keysFor(ctx, m.CA)
	if err != nil {
		return err
	}
	table := make([]chunklist.Entry, size/int64(segmentSize))
	var p pack.ID
	for i := range table {
		if i%16 == 0 {
			p = pack.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))
			if _, err := r.blob.Put(ctx, pack.Key(p), []byte("x"), r.putOptions()); err != nil {
				return err
			}
		}
		table[i] = chunklist.Entry{Segment: pack.Sum(binary.BigEndian.AppendUint64([]byte("s"), uint64(i))), Pack: p, Used: ^uint64(0)}
	}
	var objs objects
	if objs.Table, err = r.putMeta(ctx, seal.Compress(chunklist.EncodeTable(table), nil)); err != nil {
		return err
	}
	var chunks []chunklist.Chunk
	per := segmentSize / chunkSize
	for i := range size / int64(chunkSize) {
		sum := pack.Sum(binary.BigEndian.AppendUint64([]byte("c"), uint64(i)))
		c := chunklist.Chunk{Segment: uint32(int(i) / per), Offset: uint32(int(i) % per * chunkSize), Length: uint32(chunkSize)}
		copy(c.ID[:], sum[:])
		if chunks = append(chunks, c); len(chunks) == chunklist.MaxChunks || i == size/int64(chunkSize)-1 {
			ref, err := r.putSealed(ctx, chunklist.Encode(chunks), keys.metadata.Recipient())
			if err != nil {
				return err
			}
			objs.Lists, chunks = append(objs.Lists, ref), chunks[:0]
		}
	}
	start := m.Start
	for n := range sets {
		s := *m
		s.Start, s.End = start.Add(time.Duration(n)*time.Hour), start.Add(time.Duration(n)*time.Hour+time.Minute)
		s.ID = backupset.NewID(s.Start)
		l := layout{Schema: schema, Set: s.ID}
		s.Files = append([]backupset.File(nil), m.Files...)
		for i := range s.Files {
			f := fileLayout{Role: s.Files[i].Role, Name: s.Files[i].Name, ChunkSize: int64(chunkSize)}
			if f.Role == backupset.RoleDatabase {
				s.Files[i].Size, f.Size, f.Lists = size, size, objs.Lists
			}
			l.Files = append(l.Files, f)
		}
		if err := r.publishOne(ctx, keys, &s, l, objs); err != nil {
			return fmt.Errorf("set %d: %w", n, err)
		}
	}
	return nil
}

func (r *Repository) publishOne(ctx context.Context, keys *caKeys, m *backupset.Manifest, l layout, objs objects) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if objs.Layout, err = r.putSealed(ctx, b, keys.metadata.Recipient()); err != nil {
		return err
	}
	if b, err = m.Encode(); err != nil {
		return err
	}
	rec := setRecord{Type: typeSet, CA: keys.id, Set: m.ID, objects: objs, Bytes: m.Size()}
	if rec.Manifest, err = r.putSealed(ctx, b, keys.metadata.Recipient()); err != nil {
		return err
	}
	_, err = r.append(ctx, nil, rec)
	return err
}
