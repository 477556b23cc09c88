package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"runtime"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
)

// segment is how much the bare pipeline seals together: as package repo does.
const segment = 1 << 20

// pipeline: FILE. What no backup of this kind can do without, and nothing else: the file is read and hashed, and each
// mebibyte compressed and encrypted on its own, on all cores. The result is dropped.
func pipeline(ctx context.Context, args []string) error {
	src, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer src.Close()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithWindowSize(segment),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	free, full := make(chan []byte, runtime.GOMAXPROCS(0)+2), make(chan []byte, 2)
	for range cap(free) {
		free <- make([]byte, 0, segment)
	}
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			packed, sealed := make([]byte, 0, segment+segment/128), bytes.NewBuffer(make([]byte, 0, segment+segment/128))
			for b := range full {
				packed = enc.EncodeAll(b, packed[:0])
				sealed.Reset()
				w, err := age.Encrypt(sealed, id.Recipient())
				if err != nil {
					return err
				}
				if _, err := w.Write(packed); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
				free <- b[:0]
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(full)
		s := &segmenter{ctx: gctx, free: free, full: full}
		if _, _, err := backupset.Copy(gctx, s, src); err != nil {
			return err
		}
		return s.send()
	})
	return g.Wait()
}

// segmenter cuts what is written into segments.
type segmenter struct {
	ctx        context.Context
	free, full chan []byte
	b          []byte
}

func (s *segmenter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if s.b == nil {
			select {
			case s.b = <-s.free:
			case <-s.ctx.Done():
				return n, s.ctx.Err()
			}
		}
		m := min(segment-len(s.b), len(p)-n)
		s.b = append(s.b, p[n:n+m]...)
		n += m
		if len(s.b) == segment {
			if err := s.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (s *segmenter) send() error {
	if len(s.b) == 0 {
		return nil
	}
	select {
	case s.full <- s.b:
		s.b = nil
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

var _ io.Writer = (*segmenter)(nil)
